"""Replicates on a leading axis: their law, their posteriors and what is said of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from pyrorec.inference.elbo import AnalyticELBO
from pyrorec.inference.train import module_local
from pyrorec.models.distributions import Gamma, LogNormal
from pyrorec.models.families import Bernoulli, Cloglog, Poisson
from pyrorec.models.predictors import Additive, LogAdditive, Odds, Plain, ProductSaturation, UnfitPair
from pyrorec.simulation.replicates import Design, MeanField, Replicates, SmallModel, fit_replicates
from pyrorec.simulation.replicates.fit import Steps
from pyrorec.simulation.replicates.measures import estimates, measures

MODELS = {
    "additive": SmallModel(),
    "counts": SmallModel(Additive(popularity_effect=0.4), Poisson()),
    "cloglog": SmallModel(LogAdditive(), Cloglog(), LogNormal(sd=0.8)),
    "frailty": SmallModel(LogAdditive(), Poisson(), Gamma(shape=2.0)),
    "odds": SmallModel(Odds(), Bernoulli(), Gamma(shape=2.0)),
    "product": SmallModel(ProductSaturation(), Bernoulli(), Gamma(shape=2.0), intercept=1.0),
}


def small(spec: SmallModel, replicates: int = 3, records: int = 60) -> Replicates:
    return Replicates(spec, Design.drawn(records, 2, 5, seed=1).to(torch.float64), replicates)


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS.keys())
def test_log_prob_and_its_gradient_are_those_of_the_cells_one_by_one(spec: SmallModel) -> None:
    model = small(spec)
    latents, outcomes = model.draw(seed=3)
    latents = {name: value.requires_grad_() for name, value in latents.items()}
    law = model.records(latents)
    found = law.log_prob(outcomes)
    assert torch.allclose(law.log_prob(outcomes.values), found)
    gradients = torch.autograd.grad(found.sum(), list(latents.values()), retain_graph=True)

    total = []
    for r in range(model.size):
        one = small(spec, replicates=1).records({name: value[r : r + 1] for name, value in latents.items()})
        affinity = latents["coefficients"][r] @ model.design.affinity.T
        shown = latents["popularity"][r][model.design.item]
        cells = one.predictor.log_prob(spec.family, outcomes.values[r], torch.ones(len(model.design)), affinity, shown)
        total.append(cells.sum())
    assert found.detach().numpy() == pytest.approx(torch.stack(total).detach().numpy(), rel=1e-10)
    by_cell = torch.autograd.grad(torch.stack(total).sum(), list(latents.values()))
    for ours, theirs in zip(gradients, by_cell, strict=True):
        assert ours.numpy() == pytest.approx(theirs.numpy(), rel=1e-8, abs=1e-10)


def test_a_replicate_does_not_depend_on_its_neighbours() -> None:
    """The gradient of the ELBO by one replicate's parameters is the same whatever the others observed."""
    model = small(MODELS["additive"])
    _, outcomes = model.draw(seed=5)
    other = outcomes.values.clone()
    other[1:] = 1 - other[1:]

    def slopes(values: torch.Tensor) -> list[torch.Tensor]:
        with torch.random.fork_rng(), module_local():
            torch.manual_seed(0)
            q = MeanField(model)
            AnalyticELBO().differentiable_loss(model, q, model.outcomes(values)).backward()
        return [p.grad for p in q.parameters()]

    for before, after in zip(slopes(outcomes.values), slopes(other), strict=True):
        assert torch.allclose(before[0], after[0], rtol=1e-10)
        assert not torch.allclose(before[1], after[1]) or float(before[1].abs().max()) == 0.0


def test_mean_field_finds_the_conjugate_posterior() -> None:
    """Poisson counts, coefficients nearly known: z of an item is Gamma(shape + n, shape + E) (maths 3.1)."""
    spec = SmallModel(LogAdditive(), Poisson(), Gamma(shape=2.0), intercept=0.0, coefficient_sd=1e-4)
    design = Design(torch.zeros(200, 1, dtype=torch.float64), torch.arange(200) % 4, 4)
    model = Replicates(spec, design, 20)
    _, outcomes = model.draw(seed=4)
    fitted = fit_replicates(model, outcomes, MeanField, Steps(1500, 0.05))
    counts = torch.stack([outcomes.values[:, design.item == i].sum(1) for i in range(4)], 1)
    assert isinstance(fitted.guide, MeanField)
    law = fitted.guide.laws()["popularity"].base_dist
    assert law.mean.detach().numpy() == pytest.approx(((2 + counts) / 52).numpy(), rel=0.04)
    assert law.stddev.detach().numpy() == pytest.approx(((2 + counts).sqrt() / 52).numpy(), rel=0.1)


def test_measures_by_hand() -> None:
    """Two replicates of two numbers: errors 1, -1 and 3, 1; three of four intervals hold the truth."""
    table = pd.DataFrame(
        {
            "site": "popularity",
            "index": [0, 1, 0, 1],
            "replicate": [0, 0, 1, 1],
            "truth": [0.0, 0.0, 0.0, 0.0],
            "mean": [1.0, -1.0, 3.0, 1.0],
            "sd": [1.0, 1.0, 2.0, 2.0],
            "lower": [-1.0, -3.0, 0.5, -1.0],
            "upper": [3.0, 1.0, 5.5, 3.0],
        }
    )
    row = measures(table).iloc[0]
    assert (row.intervals, row.replicates) == (4, 2)
    assert (row.bias, row.coverage, row.width, row.posterior_sd) == (1.0, 0.75, 4.25, 1.5)
    assert row.rmse == pytest.approx(np.sqrt(12 / 4))
    assert row.bias_mcse == pytest.approx(np.std([0.0, 2.0], ddof=1) / np.sqrt(2))
    assert row.coverage_mcse == pytest.approx(np.std([1.0, 0.5], ddof=1) / np.sqrt(2))
    assert row.standard_error == pytest.approx(np.sqrt((2.0 + 2.0) / 2))  # variances 2 of (1, 3) and of (-1, 1)


def test_intervals_of_estimates_are_quantiles_of_draws() -> None:
    draws = {"popularity": torch.linspace(0, 1, 1001)[:, None, None].expand(1001, 2, 3)}
    table = estimates(draws, {"popularity": torch.full((2, 3), 0.2)}, level=0.8)
    assert len(table) == 6
    assert table.lower.to_numpy() == pytest.approx(0.1)
    assert table.upper.to_numpy() == pytest.approx(0.9)
    assert table.replicate.tolist() == [0, 0, 0, 1, 1, 1]


def test_draws_of_a_model_are_the_same_for_the_same_seed() -> None:
    model = small(MODELS["additive"])
    first, again, other = model.draw(1)[1].values, model.draw(1)[1].values, model.draw(2)[1].values
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_predictors_without_popularity_are_refused() -> None:
    with pytest.raises(UnfitPair, match="predictor with popularity"):
        SmallModel(Plain())
