"""The two ELBO estimators against each other, against Pyro, and against formulas written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from conftest import FITTING_IDS, Tiny
from pyro import poutine
from pyro.infer import Trace_ELBO
from scipy import special

from pyrorec.inference.elbo import AnalyticELBO, MonteCarloELBO
from pyrorec.models.bilateral import Batch
from pyrorec.models.families import Family, Gaussian, Poisson
from pyrorec.models.predictors import LogAdditive, Plain, Predictor

DRAWS = 200
BATCHES: dict[str, tuple[str, list[int] | None, float]] = {
    "all users": ("user", None, 1.0),
    "two items, half the KL": ("item", [3, 1], 0.5),
    "three users, half the KL": ("user", [4, 0, 2], 0.5),
}
every_batch = pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)


def evaluate(elbo: Any, fit: Tiny, batch: Batch, seed: int) -> float:
    torch.manual_seed(seed)
    with torch.no_grad():
        return float(elbo.differentiable_loss(fit.model, fit.q, batch))


def signed(terms: dict[str, torch.Tensor]) -> float:
    """The loss that the terms add up to."""
    return float(sum(-v if name == "value" else v for name, v in terms.items()))


def test_both_estimators_agree(tiny: Callable[..., Tiny], predictor: Predictor, family: Family) -> None:
    """With one seed both see the same draw, so they differ by the sampled against the exact divergences.

    Families take turns with the batches, so that each predictor, on which the kinds of divergence depend, meets both.
    """
    batch = list(BATCHES.values())[FITTING_IDS.index(f"{predictor.name}-{family.name}") % 2]
    fit, analytic, sampled = tiny(predictor, family), AnalyticELBO(), MonteCarloELBO()
    drawn: dict[str, list[float]] = {}
    difference = []
    for seed in range(DRAWS):
        loss = evaluate(sampled, fit, fit.batch(*batch), seed)
        if seed < 3:
            exact = evaluate(analytic, fit, fit.batch(*batch), seed)
            assert float(analytic.terms["value"]) == float(sampled.terms["value"])
            divergences = {k: float(v) for k, v in analytic.terms.items() if k != "value"}
            assert abs(exact) == pytest.approx(abs(signed(analytic.terms)), rel=1e-12)
        difference.append(loss + float(sampled.terms["value"]) - sum(divergences.values()))
        for name, value in sampled.terms.items():
            drawn.setdefault(name, []).append(float(value))
    assert set(drawn) == {*divergences, "value"}
    assert abs(np.mean(difference)) < 4 * np.std(difference) / DRAWS**0.5
    for name, exact in divergences.items():
        assert exact > 0
        assert abs(np.mean(drawn[name]) - exact) < 4 * np.std(drawn[name]) / DRAWS**0.5, name


@every_batch
def test_monte_carlo_is_pyros_own_with_the_same_seed(
    tiny: Callable[..., Tiny], predictor: Predictor, family: Family, batch: tuple
) -> None:
    fit, ours = tiny(predictor, family), MonteCarloELBO()
    loss = evaluate(ours, fit, fit.batch(*batch), 7)
    assert loss == evaluate(Trace_ELBO(), fit, fit.batch(*batch), 7)
    assert loss == pytest.approx(signed(ours.terms), rel=1e-12)


def gradients(elbo: Any, fit: Tiny, batch: Batch) -> dict[str, torch.Tensor]:
    named = {**dict(fit.model.named_parameters()), **dict(fit.guide.named_parameters())}
    torch.manual_seed(5)
    loss = elbo.differentiable_loss(fit.model, fit.q, batch)
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: g for name, g in zip(named, found, strict=True) if g is not None}


def test_monte_carlo_gradients_are_pyros_own(tiny: Callable[..., Tiny]) -> None:
    fit = tiny(LogAdditive(), Poisson())
    ours, pyros = (gradients(e, fit, fit.batch("user")) for e in (MonteCarloELBO(), Trace_ELBO()))
    assert ours.keys() == pyros.keys()
    assert all(torch.equal(ours[name], pyros[name]) for name in ours)


@every_batch
def test_analytic_gradients_are_those_of_the_written_out_loss(tiny: Callable[..., Tiny], batch: tuple) -> None:
    """Loss = -value + sum over sites of scale x KL, with the KLs of maths 4.2 and 6.1 written here."""
    fit = tiny(LogAdditive(), Poisson())
    of_elbo = gradients(AnalyticELBO(), fit, fit.batch(*batch))
    of_hand = gradients(ByHand(), fit, fit.batch(*batch))
    assert {n for n, g in of_hand.items() if g.any()} == {n for n, g in of_elbo.items() if g.any()}
    for name, g in of_elbo.items():
        torch.testing.assert_close(g, of_hand[name], rtol=1e-9, atol=1e-11)


class ByHand:
    """The loss of a log-additive model from one draw, divergences by formula."""

    def differentiable_loss(self, model: Any, guide: Any, batch: Batch) -> torch.Tensor:
        drawn = poutine.trace(guide).get_trace(batch)
        seen = poutine.trace(poutine.replay(model, drawn)).get_trace(batch)
        active, passive = model.sides(batch.side)
        share = active.size / len(batch.ids)
        value = share * seen.nodes["value"]["fn"].log_prob(batch.rows).sum()
        own = normal_kl(drawn.nodes[f"{active.name}_factors"]["fn"].base_dist, active.scale)
        other = normal_kl(drawn.nodes[f"{passive.name}_factors"]["fn"].base_dist, passive.scale)
        q, shape = drawn.nodes[passive.effect_name]["fn"], passive.effect.log_values["shape"].exp()
        return -value + batch.kl_weight * (share * own + other + gamma_kl(q.concentration, q.rate, shape, shape))


def normal_kl(q: Any, scale: float) -> torch.Tensor:
    """Sum of KL(N(m, s) || N(0, scale))."""
    ratio = (q.scale / scale) ** 2
    return 0.5 * (ratio - 1 - ratio.log() + (q.loc / scale) ** 2).sum()


def gamma_kl(a: torch.Tensor, b: torch.Tensor, a0: torch.Tensor, b0: torch.Tensor) -> torch.Tensor:
    """Sum of KL(Gamma(a, b) || Gamma(a0, b0)), rates."""
    return ((a - a0) * a.digamma() - a.lgamma() + a0.lgamma() + a0 * (b / b0).log() + a * (b0 / b - 1)).sum()


@every_batch
def test_analytic_terms_match_the_formulas(tiny: Callable[..., Tiny], batch: tuple) -> None:
    fit, elbo = tiny(LogAdditive(), Poisson()), AnalyticELBO()
    evaluate(elbo, fit, fit.batch(*batch), 0)
    side, _, weight = batch
    other, effect = {"user": ("item", "popularity"), "item": ("user", "activity")}[side]
    kept = fit.guide.posterior[other]
    a, b = kept.first.numpy(), kept.second.numpy()
    shape = float(getattr(fit.model, other).effect.fixed().shape)
    kl = (a - shape) * special.digamma(a) - special.gammaln(a) + special.gammaln(shape)
    kl = kl + shape * np.log(b / shape) + a * (shape / b - 1)
    assert float(elbo.terms[effect]) == pytest.approx(weight * kl.sum(), rel=1e-6)
    assert set(elbo.terms) == {"value", "user_factors", "item_factors", effect}


@pytest.mark.parametrize("side", ["user", "item"])
def test_the_mean_over_all_minibatches_is_the_full_batch(tiny: Callable[..., Tiny], side: str) -> None:
    """Factors and effects at points, so that nothing is random but the choice of rows."""
    from pyrorec.guides import DeltaGuide

    fit, elbo = tiny(LogAdditive(), Poisson(), guide=DeltaGuide), MonteCarloELBO()
    size = len(fit.rows[side])
    whole = evaluate(elbo, fit, fit.batch(side), 0)
    single = [evaluate(elbo, fit, fit.batch(side, [i]), 0) for i in range(size)]
    assert np.mean(single) == pytest.approx(whole, rel=1e-10)


def test_analytic_loss_is_minus_the_elbo(tiny: Callable[..., Tiny]) -> None:
    fit, elbo = tiny(Plain(), Gaussian()), AnalyticELBO()
    loss = evaluate(elbo, fit, fit.batch("user"), 0)
    assert loss == pytest.approx(signed(elbo.terms), rel=1e-12)


def test_analytic_loss_without_gradient_is_the_same_estimator(tiny: Callable[..., Tiny]) -> None:
    fit, elbo = tiny(Plain(), Gaussian()), AnalyticELBO()
    evaluate(elbo, fit, fit.batch("user"), 0)
    expected = signed(elbo.terms)
    torch.manual_seed(0)
    assert elbo.loss(fit.model, fit.q, fit.batch("user")) == pytest.approx(expected, rel=1e-12)


def test_terms_sum_to_the_loss_with_several_particles(tiny: Callable[..., Tiny]) -> None:
    fit, elbo = tiny(Plain(), Poisson()), MonteCarloELBO(num_particles=3)
    assert evaluate(elbo, fit, fit.batch("user"), 0) == pytest.approx(signed(elbo.terms), rel=1e-10)


def test_analytic_refuses_a_pair_without_closed_form() -> None:
    def model() -> None:
        pyro.sample("z", dist.Normal(torch.tensor(0.0), torch.tensor(1.0)))

    def guide() -> None:
        pyro.sample("z", dist.StudentT(torch.tensor(4.0)))

    with pytest.raises(NotImplementedError, match=r"site 'z': no closed-form KL\(StudentT \|\| Normal\).*MonteCarlo"):
        AnalyticELBO().differentiable_loss(model, guide)
    assert np.isfinite(float(MonteCarloELBO().differentiable_loss(model, guide)))
