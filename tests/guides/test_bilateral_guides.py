"""Guides: conjugate recovery, what is kept and when, and the delta guide's log-joint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import Tiny, both_sides
from scipy import special, stats

from pyrorec.guides import BilateralGuide, DeltaGuide, bilateral
from pyrorec.guides.inputs import RowInput
from pyrorec.guides.posterior import SidePosterior
from pyrorec.inference.elbo import MonteCarloELBO
from pyrorec.models.bilateral import Bilateral, BilateralModel
from pyrorec.models.families import Bernoulli, Cloglog, Family, Gaussian, Outcome, Poisson
from pyrorec.models.posterior_families import GammaPosterior, NormalPosterior
from pyrorec.models.predictors import Additive, LogAdditive, Plain, Predictor
from pyrorec.models.rows import SparseRows


def still(fit: Tiny) -> None:
    """Makes every encoder answer zero factors with no spread."""
    with torch.no_grad():
        for encoder in fit.guide.encoder.values():
            encoder.factors_head.mean.weight.zero_()
            encoder.factors_head.mean.bias.zero_()
            encoder.factors_head.raw_sd.weight.zero_()
            encoder.factors_head.raw_sd.bias.fill_(-50.0)


def dense(rows: SparseRows) -> tuple[np.ndarray, np.ndarray]:
    """Value and trials, a missing cell having one trial and no value."""
    value, trials = np.zeros(tuple(rows.shape)), np.ones(tuple(rows.shape))
    value[rows.row, rows.column], trials[rows.row, rows.column] = rows.value, rows.trials
    return value, trials


def level_of(fit: Tiny) -> float:
    return float(fit.model.level.intercept.detach())


def frailties(fit: Tiny, side: str) -> tuple[np.ndarray, np.ndarray]:
    kept = fit.guide.posterior[side]
    return kept.first.numpy(), kept.second.numpy()


@pytest.mark.parametrize(("side", "other"), [("item", "user"), ("user", "item")])
def test_frailty_recovers_its_conjugate_posterior(tiny: Callable[..., Tiny], side: str, other: str) -> None:
    """With no affinity, z_i | y ~ Gamma(alpha + n_i, alpha + sum_u E w_u exp(b0))."""
    fit = tiny(LogAdditive(), Poisson())
    still(fit)
    for phase in (other, side):
        fit.guide.refresh(fit.model, phase, fit.rows[phase])
    a, b = frailties(fit, other)
    alpha = float(getattr(fit.model, side).effect.fixed().shape)
    level = np.exp(level_of(fit))
    shape, rate = frailties(fit, side)
    np.testing.assert_allclose(shape, alpha + dense(fit.rows[side])[0].sum(1), rtol=1e-6)
    np.testing.assert_allclose(rate, alpha + (a / b).sum() * level, rtol=1e-6)


def test_frailty_counts_trials_masks_and_weights(tiny: Callable[..., Tiny]) -> None:
    """Exposure multiplies a cell's rate, a masked cell has none, a missing cell has the missing weight."""
    shape = (3, 2)
    row, column = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 0, 1])
    value, trials = torch.tensor([2.0, 1, 0, 4]).double(), torch.tensor([3.0, 1, 0, 2]).double()
    rows = both_sides(row, column, value, trials, shape)
    torch.manual_seed(0)
    model = Bilateral(BilateralModel(factors=2, hidden=(3,)), *shape, missing_weight=0.3, level=0.5).double()
    fit = Tiny(model, BilateralGuide(model, rows).double(), rows)
    still(fit)
    for side in ("user", "item"):
        fit.guide.refresh(model, side, rows[side])
    a, b = frailties(fit, "user")
    exposure = np.array([[3.0, 1.0], [0.0, 0.3], [0.3, 2.0]])  # users x items
    got_shape, got_rate = frailties(fit, "item")
    np.testing.assert_allclose(got_shape, 1 + np.array([2.0, 5.0]), rtol=1e-6)
    np.testing.assert_allclose(got_rate, 1 + np.exp(0.5) * ((a / b) @ exposure), rtol=1e-6)


def test_frailty_uses_the_expected_rate_not_the_rate_of_the_expectation(tiny: Callable[..., Tiny]) -> None:
    """E exp(theta.beta) ~ exp(mean + variance / 2), coordinates being independent normals."""
    fit = tiny(LogAdditive(), Poisson())
    fit.guide.refresh(fit.model, "item", fit.rows["item"])
    users, items = fit.guide.posterior["user"], fit.guide.posterior["item"]
    m, s = (users.mean - fit.model.user.centre).numpy(), users.sd.numpy()
    b, t = items.mean.numpy(), items.sd.numpy()
    mean = np.einsum("uk,ik->ui", m, b)
    variance = sum(np.einsum("uk,ik->ui", x, y) for x, y in ((m**2, t**2), (s**2, b**2), (s**2, t**2)))
    rate = np.exp(level_of(fit) + mean + variance / 2)
    w_shape, w_rate = frailties(fit, "user")
    alpha = float(fit.model.item.effect.fixed().shape)  # type: ignore[union-attr]
    np.testing.assert_allclose(frailties(fit, "item")[1], alpha + (w_shape / w_rate) @ rate, rtol=1e-6)


def test_the_kept_rates_are_close_to_those_of_the_draws(tiny: Callable[..., Tiny]) -> None:
    """At small sds the second cumulant is all there is."""
    fit = tiny(LogAdditive(), Poisson())
    for kept in fit.guide.posterior.values():
        kept.sd.mul_(0.3)
    fit.guide.posterior["item"].set_effect(
        fit.guide.frailty_posterior(fit.model, fit.model.item, fit.rows["item"], torch.arange(5))
    )
    torch.manual_seed(0)
    users, items = (fit.guide.posterior[s].factors.sample((20_000,)) for s in ("user", "item"))
    eta = (users - fit.model.user.centre) @ items.transpose(-1, -2) + level_of(fit)
    w = fit.guide.posterior["user"].effect.mean  # type: ignore[union-attr]
    draws = (w[:, None] * eta.exp()).sum(1) + fit.model.item.effect.fixed().shape  # type: ignore[union-attr]
    error = 4 * draws.std(0) / 20_000**0.5 + 2e-3 * draws.mean(0)
    assert ((fit.guide.posterior["item"].second - draws.mean(0)).abs() < error).all()


@pytest.mark.parametrize("family", [Poisson(), Cloglog()], ids=lambda f: f.name)
def test_refresh_in_chunks_is_refresh_at_once(
    tiny: Callable[..., Tiny], monkeypatch: pytest.MonkeyPatch, family: Family
) -> None:
    whole, parts = tiny(LogAdditive(), family), tiny(LogAdditive(), family)
    monkeypatch.setattr(bilateral, "CHUNK_CELLS", 10)  # two rows of five
    parts.guide.refresh(parts.model, "user", parts.rows["user"])
    monkeypatch.undo()
    whole.guide.refresh(whole.model, "user", whole.rows["user"])
    for name in ("mean", "sd", "first", "second"):
        torch.testing.assert_close(
            getattr(parts.guide.posterior["user"], name), getattr(whole.guide.posterior["user"], name)
        )


def test_the_centre_is_the_mean_of_all_posterior_means(tiny: Callable[..., Tiny]) -> None:
    for predictor, centred in ((LogAdditive(), True), (Plain(), False)):
        fit = tiny(predictor, Poisson())
        kept = fit.guide.posterior["user"].mean
        expected = kept.mean(0) if centred else torch.zeros(2).double()
        torch.testing.assert_close(fit.model.user.centre, expected)
        assert kept.mean(0).abs().max() > 1e-3
        assert not fit.model.item.centre.any()


def test_refresh_ignores_dropout_and_restores_the_training_mode(tiny: Callable[..., Tiny]) -> None:
    fit = tiny(LogAdditive(), Poisson())
    before = fit.guide.posterior["user"].mean.clone()
    for encoder in fit.guide.encoder.values():
        encoder.dropout = 0.9
    fit.guide.train()
    fit.guide.refresh(fit.model, "user", fit.rows["user"])
    assert fit.guide.training
    torch.testing.assert_close(fit.guide.posterior["user"].mean, before)


def test_a_masked_cell_is_not_seen_by_the_encoder(
    tiny: Callable[..., Tiny], predictor: Predictor, family: Family
) -> None:
    """Masking a cell gives the posterior of the row from which the cell is missing."""
    fit = tiny(predictor, family)
    rows = fit.rows["user"]
    ids = torch.arange(len(rows.column)) != 1
    masked = SparseRows(rows.start, rows.column, rows.value * ids, rows.trials * ids, rows.columns)
    removed = SparseRows.from_cells(
        rows.row[ids], rows.column[ids], rows.value[ids], rows.trials[ids], tuple(rows.shape)
    )  # type: ignore[arg-type]
    with torch.no_grad():
        a, b, c = (fit.guide.encoder["user"](r) for r in (masked, removed, rows))
    torch.testing.assert_close(a.factors.mean, b.factors.mean)
    torch.testing.assert_close(a.factors.stddev, b.factors.stddev)
    if a.effect is not None:
        torch.testing.assert_close(a.effect.mean, b.effect.mean)
    assert not torch.allclose(a.factors.mean, c.factors.mean)


def test_encoder_inputs_by_hand() -> None:
    rows = SparseRows.from_cells(
        torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), torch.tensor([6.0, 1, 3]), torch.tensor([2.0, 1, 1]), (2, 2)
    )
    inputs = RowInput(rows, Outcome.RATING)  # 3, 1 and 3 per trial: mean 7/3, sd sqrt(4/3)
    pattern, value = inputs(rows)
    np.testing.assert_allclose(pattern, [2**-0.5, 2**-0.5, 1.0], rtol=1e-6)
    standard = (np.array([3.0, 1, 3]) - 7 / 3) / np.sqrt(4 / 3)
    np.testing.assert_allclose(value, standard * pattern.numpy(), rtol=1e-5)
    expected = [[np.log(3), np.log(8), standard[:2].mean()], [np.log(2), np.log(4), standard[2]]]
    np.testing.assert_allclose(inputs.summary(rows), expected, rtol=1e-5, atol=1e-7)
    ones = SparseRows(rows.start, rows.column, torch.ones(3), torch.ones(3), 2)
    assert RowInput(ones, Outcome.CLICK)(ones)[1] is None  # values that do not vary say nothing


@pytest.mark.parametrize("guide", [BilateralGuide, DeltaGuide])
def test_one_user_and_one_item_are_enough(tiny: Callable[..., Tiny], guide: type[BilateralGuide]) -> None:
    """No warning and no NaN from sds of a single value."""
    fit = tiny(Additive(), Gaussian(), shape=(1, 1), guide=guide)
    with torch.no_grad():
        loss = MonteCarloELBO().differentiable_loss(fit.model, fit.q, fit.batch("user"))
    assert bool(torch.isfinite(loss))


def normal(x: torch.Tensor, scale: float) -> float:
    return float(stats.norm.logpdf(x.detach().numpy(), 0, scale).sum())


def delta_loss(fit: Tiny) -> float:
    with torch.no_grad():
        return float(MonteCarloELBO().differentiable_loss(fit.model, fit.q, fit.batch("user")))


def test_delta_loss_is_minus_the_log_joint_of_a_plain_model(tiny: Callable[..., Tiny]) -> None:
    fit = tiny(Plain(), Bernoulli(), guide=DeltaGuide)
    users, items = fit.guide.posterior["user"].mean, fit.guide.posterior["item"].mean
    value, _ = dense(fit.rows["user"])
    p = special.expit(level_of(fit) + (users @ items.T).numpy())
    joint = normal(users, fit.model.user.scale) + normal(items, fit.model.item.scale)
    assert delta_loss(fit) == pytest.approx(-(joint + stats.bernoulli.logpmf(value, p).sum()), rel=1e-6)


def test_delta_loss_is_minus_the_log_joint_of_a_frailty_model(tiny: Callable[..., Tiny]) -> None:
    """Users' activity is integrated out: each row's total is negative binomial and splits multinomially."""
    fit = tiny(LogAdditive(), Poisson(), guide=DeltaGuide)
    users, items = fit.guide.posterior["user"].mean, fit.guide.posterior["item"].mean
    shape, rate = frailties(fit, "item")
    z = shape / rate
    centred = (users - fit.model.user.centre).numpy()
    rates = z * np.exp(level_of(fit) + centred @ items.numpy().T)
    alpha_item, alpha_user = (float(s.effect.fixed().shape) for s in (fit.model.item, fit.model.user))  # type: ignore[union-attr]
    joint = normal(users, fit.model.user.scale) + normal(items, fit.model.item.scale)
    joint += stats.gamma.logpdf(z, alpha_item, scale=1 / alpha_item).sum()
    value, _ = dense(fit.rows["user"])
    for y, r in zip(value, rates, strict=True):
        joint += stats.nbinom.logpmf(y.sum(), alpha_user, alpha_user / (alpha_user + r.sum()))
        joint += stats.multinomial.logpmf(y, int(y.sum()), r / r.sum())
    assert delta_loss(fit) == pytest.approx(-joint, rel=1e-6)


def test_delta_loss_is_minus_the_log_joint_of_an_additive_model(tiny: Callable[..., Tiny]) -> None:
    fit = tiny(Additive(), Gaussian(), guide=DeltaGuide)
    user, item = fit.guide.posterior["user"], fit.guide.posterior["item"]
    centred = (user.mean - fit.model.user.centre).numpy()
    by_user, by_item = (float(s.predictor.fixed().popularity_effect) for s in (fit.model.user, fit.model.item))
    eta = level_of(fit) + centred @ item.mean.numpy().T
    eta = eta + by_user * user.first.numpy()[:, None] + by_item * item.first.numpy()
    joint = normal(user.mean, fit.model.user.scale) + normal(item.mean, fit.model.item.scale)
    joint += normal(user.first, 1.0) + normal(item.first, 1.0)
    value, _ = dense(fit.rows["user"])
    joint += stats.norm.logpdf(value, eta, float(fit.model.family.fixed().sd)).sum()
    assert delta_loss(fit) == pytest.approx(-joint, rel=1e-6)


def test_delta_keeps_no_spread_of_factors(tiny: Callable[..., Tiny]) -> None:
    fit = tiny(Additive(), Gaussian(), guide=DeltaGuide)
    assert not fit.guide.posterior["user"].sd.any()


def test_delta_keeps_no_spread_of_sampled_effects(tiny: Callable[..., Tiny]) -> None:
    fit = tiny(Additive(), Gaussian(), guide=DeltaGuide)
    assert float(fit.guide.posterior["item"].second.max()) < 1e-6


def test_side_posterior_keeps_laws_by_row() -> None:
    from pyro.distributions import Gamma as GammaLaw
    from pyro.distributions import Normal as NormalLaw

    kept = SidePosterior(3, 2, 0.5, GammaPosterior())
    kept.set_effect(GammaLaw(torch.tensor([4.0]), torch.tensor([8.0])), torch.tensor([1]))
    assert kept.effect.mean.tolist() == [1.0, 0.5, 1.0]  # type: ignore[union-attr]
    kept = SidePosterior(3, 2, 0.5, NormalPosterior())
    kept.set_effect(NormalLaw(torch.tensor([4.0]), torch.tensor([8.0])), torch.tensor([2]))
    assert kept.effect.mean.tolist() == [0.0, 0.0, 4.0]  # type: ignore[union-attr]
    assert kept.effect.stddev.tolist() == [1.0, 1.0, 8.0]  # type: ignore[union-attr]
    assert kept.factors.stddev.unique().tolist() == [0.5]
    assert SidePosterior(3, 2, 0.5, None).effect is None
