"""Priors of the factors: what each gives its rows, what is learned of it, and what a centred side takes off."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyrorec.models.bilateral import Bilateral, BilateralModel
from pyrorec.models.component import Component
from pyrorec.models.factor_priors import Cap, FactorPrior, LearnedScale, RowPrior, Standard
from pyrorec.models.families import Poisson
from pyrorec.models.predictors import LogAdditive

FEATURES = torch.tensor([[1.0, 0.0], [-0.5, 2.0], [0.3, -1.0], [2.0, 1.0]])
every_prior = pytest.mark.parametrize("cls", list(FactorPrior.registry), ids=lambda c: c.name)


def built(prior: FactorPrior, centred: bool = False, seed: int = 0) -> RowPrior:
    """A prior of three factors on four rows, its parameters moved away from where they start."""
    torch.manual_seed(seed)
    rows = prior.build(3, 0.5, FEATURES.clone() if prior.reads_features else None, centred)
    with torch.no_grad():
        for parameter in rows.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return rows


@every_prior
def test_every_prior_starts_as_the_standard_one(cls: type[FactorPrior]) -> None:
    prior = cls.example()
    rows = prior.build(3, 0.5, FEATURES if prior.reads_features else None, False)
    law = rows(torch.tensor([2, 0]))
    assert (law.batch_shape, law.event_shape) == ((2,), (3,))
    assert not law.mean.any()
    torch.testing.assert_close(law.stddev, torch.full((2, 3), 0.5))
    assert rows.variance() == pytest.approx(0.25)


@every_prior
def test_a_row_and_a_stranger_with_its_features_have_one_prior(cls: type[FactorPrior]) -> None:
    rows = built(cls.example())
    own, stranger = rows(torch.arange(4)), rows.of(FEATURES)
    torch.testing.assert_close(own.mean, stranger.mean)
    torch.testing.assert_close(own.stddev, stranger.stddev)


@every_prior
def test_every_parameter_of_a_prior_has_a_gradient(cls: type[FactorPrior]) -> None:
    rows = built(cls.example())
    rows(torch.arange(4)).log_prob(torch.ones(4, 3, requires_grad=True)).sum().backward()
    learned = [p for p in rows.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.any() for p in learned)
    assert bool(learned) == (cls is not Standard)


def test_a_linear_cap_is_a_linear_function_and_an_mlp_is_not() -> None:
    weights = built(Cap()).last
    by_hand = FEATURES.numpy() @ weights.weight.detach().numpy().T + weights.bias.detach().numpy()
    np.testing.assert_allclose(built(Cap()).mean(torch.arange(4)).detach(), by_hand, rtol=1e-6)
    network = built(Cap(hidden=(5, 4)))
    middle = network.of((FEATURES[:1] + FEATURES[1:2]) / 2).mean
    ends = network.of(FEATURES[:2]).mean
    assert not torch.allclose(middle[0], ends.mean(0), atol=1e-3)


def test_a_centred_cap_has_mean_zero_over_the_side() -> None:
    rows = built(Cap(hidden=(4,)), centred=True)
    assert rows.mean(torch.arange(4)).mean(0).abs().max() > 1e-2
    before = rows.mean(torch.arange(4))
    rows.recentre()
    after = rows.mean(torch.arange(4))
    torch.testing.assert_close(after.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(after - after[0], before - before[0])
    free = built(Cap(hidden=(4,)), centred=False)
    free.recentre()
    torch.testing.assert_close(free.mean(torch.arange(4)), before)


def test_scales_are_shared_or_a_factors_own() -> None:
    one, many = built(LearnedScale()), built(LearnedScale(per_factor=True))
    assert one(torch.arange(2)).stddev.unique().numel() == 1
    assert many(torch.arange(2)).stddev[0].unique().numel() == 3
    torch.testing.assert_close(many.scale, many.log_scale.exp())  # type: ignore[operator,union-attr]


def test_the_scale_of_a_cap_moves_only_where_it_is_learned() -> None:
    assert not built(Cap()).log_scale.requires_grad  # type: ignore[union-attr]
    assert built(Cap(learned_scale=True)).log_scale.requires_grad  # type: ignore[union-attr]


def test_features_are_no_part_of_the_saved_state() -> None:
    assert "features" not in built(Cap()).state_dict()


def test_bad_caps_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden widths must be above zero"):
        Cap(hidden=(0,))
    with pytest.raises(ValueError, match="reads features"):
        Cap().build(3, 0.5, None, False)


def test_a_side_takes_its_centre_off_a_strangers_prior() -> None:
    spec = BilateralModel(factors=3, family=Poisson(), predictor=LogAdditive(), user_prior=Cap())
    model = Bilateral(spec, 4, 5, 1.0, 0.0, {"user": FEATURES})
    with torch.no_grad():
        model.user.prior.last.weight.normal_()
        model.user.centre.fill_(0.25)
    torch.testing.assert_close(model.user.stranger(FEATURES).mean, model.user.factor_prior().mean - 0.25)
    assert isinstance(spec.item_prior, Component)
