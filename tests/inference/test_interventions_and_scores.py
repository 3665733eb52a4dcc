"""Moments, interventions and readings against brute-force draws of every latent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from conftest import Tiny
from scipy import special, stats

from pyrorec.data import InputError
from pyrorec.inference.intervention import Deconfound, Intervention, Observe, SetPopularity, Temper, power
from pyrorec.inference.posterior import Posterior, quantiles, read_posterior
from pyrorec.inference.scores import PlugIn, Predictive, Quantile, Reading, Thompson, pair_surface, surface
from pyrorec.models.distributions import Scale
from pyrorec.models.families import Bernoulli, Cloglog, Family, Gaussian, Poisson, Probit
from pyrorec.models.predictors import Additive, LogAdditive, Plain, Predictor

DRAWS = 20_000
RESPONSE = {
    "poisson": np.exp,
    "bernoulli": special.expit,
    "cloglog": lambda e: -np.expm1(-np.exp(e)),
    "probit": special.ndtr,
    "gaussian": lambda e: e,
}
USERS, ITEMS = pd.Index([f"u{i}" for i in range(6)]), pd.Index([f"i{i}" for i in range(5)])
EVERYONE = torch.arange(6)
POPULAR = [
    (LogAdditive(), Poisson()),
    (LogAdditive(), Cloglog()),
    (Additive(), Poisson()),
    (Additive(), Bernoulli()),
    (Additive(), Probit()),
    (Additive(), Gaussian()),
]
with_popularity = pytest.mark.parametrize(
    ("predictor_", "family_"), POPULAR, ids=[f"{p.name}-{f.name}" for p, f in POPULAR]
)
Build = Callable[[Predictor, Family], Posterior]


@pytest.fixture
def posterior(tiny: Callable[..., Tiny]) -> Build:
    """A posterior whose factors are known to within a quarter of what the tiny fit says."""

    def build(predictor: Predictor, family: Family) -> Posterior:
        fit = tiny(predictor, family)
        found = read_posterior(fit.model, fit.guide, USERS, ITEMS)
        return replace(found, user_sd=0.25 * found.user_sd, item_sd=0.25 * found.item_sd)

    return build


def drawn_predictor(p: Posterior, effect: float | None = 1.0) -> np.ndarray:
    """Draws (draws, users, items) of the linear predictor, popularity weighed by `effect` (None: left out)."""
    draws = p.draws(DRAWS, seed=1)
    eta = float(p.intercept) + draws["user_factors"] @ draws["item_factors"].transpose(0, 2, 1)
    for name, side in (("activity", p.user_effect), ("popularity", p.item_effect)):
        if name not in draws or (name == "popularity" and effect is None):
            continue
        gamma = getattr(side.predictor, "popularity_effect", None)
        offset = np.log(draws[name]) if gamma is None else gamma * draws[name]
        eta = eta + (offset[:, :, None] if name == "activity" else effect * offset[:, None, :])  # type: ignore[operator]
    return eta


WIDE = dict.fromkeys(("hurdle-gamma", "exponential", "gamma", "negative-binomial"), 0.3)
"""Families whose standard deviations feel the tail of e^eta, where a dot product is not the normal it is taken for."""


def responses(family: Family, eta: np.ndarray) -> np.ndarray:
    """The mean at drawn linear predictors, written down anew where there is a formula, else the family's own."""
    own = lambda x: family.mean(torch.as_tensor(x)).numpy()  # noqa: E731
    return RESPONSE.get(family.name, own)(eta)


def standard_error(draws: np.ndarray) -> np.ndarray:
    return draws.std(0) / DRAWS**0.5


def score(reading: Reading, p: Posterior, intervention: Intervention) -> np.ndarray:
    return reading.score(surface(reading.prepare(p), intervention, EVERYONE)).numpy()


def test_draws_are_reproducible_and_follow_the_posterior(posterior: Build) -> None:
    p = posterior(LogAdditive(), Poisson())
    state = torch.random.get_rng_state()
    first, again, other = p.draws(DRAWS, 1), p.draws(DRAWS, 1), p.draws(DRAWS, 2)
    assert torch.equal(state, torch.random.get_rng_state())
    assert set(first) == {"user_factors", "item_factors", "activity", "popularity"}
    assert all(np.array_equal(first[k], again[k]) and not np.array_equal(first[k], other[k]) for k in first)
    law = p.popularity
    assert law is not None
    assert (np.abs(first["popularity"].mean(0) - law.mean.numpy()) < 4 * standard_error(first["popularity"])).all()
    assert (
        np.abs(first["user_factors"].mean(0) - p.user_mean.numpy()) < 4.5 * standard_error(first["user_factors"])
    ).all()


@pytest.mark.parametrize(("predictor_", "family_"), [(Plain(), Poisson()), (Additive(), Bernoulli())])
def test_linear_moments_match_draws(posterior: Build, predictor_: Predictor, family_: Family) -> None:
    p = posterior(predictor_, family_)
    p = replace(p, user_sd=4 * p.user_sd, item_sd=4 * p.item_sd)
    mean, variance = p.linear_mean(EVERYONE).numpy(), p.linear_variance(EVERYONE).numpy()
    eta = drawn_predictor(p, effect=None)
    assert (np.abs(eta.mean(0) - mean) < 4.5 * standard_error(eta)).all()
    squares = (eta - mean) ** 2
    assert (np.abs(squares.mean(0) - variance) < 4.5 * standard_error(squares)).all()


def test_activity_of_a_frailty_enters_with_its_mean_rate(posterior: Build) -> None:
    """exp(location + spread / 2) is E w, and exp(spread) - 1 its squared coefficient of variation."""
    p = posterior(LogAdditive(), Poisson())
    assert isinstance(p.activity, dist.Gamma)
    location, spread = p.user_effect.matched_moments()
    torch.testing.assert_close((location + spread / 2).exp(), p.activity.concentration / p.activity.rate)
    torch.testing.assert_close(spread.expm1(), 1 / p.activity.concentration)


def test_pairs_are_cells_of_the_surface(posterior: Build, predictor: Predictor, family: Family) -> None:
    p = posterior(predictor, family)
    users, items = torch.tensor([5, 0, 0, 3]), torch.tensor([1, 4, 2, 2])
    for reading in (PlugIn(), Predictive(), Quantile(0.2)):
        whole = reading.score(surface(p, Observe(), EVERYONE))
        torch.testing.assert_close(reading.score(pair_surface(p, Observe(), users, items)), whole[users, items])
    torch.testing.assert_close(
        pair_surface(p, Observe(), users, items).sd(), surface(p, Observe(), EVERYONE).sd()[users, items]
    )
    some = PlugIn().score(surface(p, Observe(), torch.tensor([2]), torch.tensor([3, 0])))
    torch.testing.assert_close(some, PlugIn().score(surface(p, Observe(), EVERYONE))[[2]][:, [3, 0]])


def test_predictive_is_the_mean_response_of_the_draws(posterior: Build, predictor: Predictor, family: Family) -> None:
    p = posterior(predictor, family)
    response = responses(p.response, drawn_predictor(p))
    error = 4.5 * standard_error(response) + 0.01 * np.abs(response.mean(0)) + 0.002
    assert (np.abs(score(Predictive(), p, Observe()) - response.mean(0)) < error).all()


def test_sd_and_quantiles_are_those_of_the_draws(posterior: Build, predictor: Predictor, family: Family) -> None:
    """Gamma effects are taken as lognormal there, which short rows of clicks feel most."""
    p = posterior(predictor, family)
    response = responses(p.response, drawn_predictor(p))
    cells = surface(p, Observe(), EVERYONE)
    gamma = isinstance(predictor, LogAdditive)
    np.testing.assert_allclose(
        cells.sd(), response.std(0), rtol=WIDE.get(family.name, 0.2 if gamma else 0.12), atol=0.002
    )
    varied = np.ptp(np.quantile(response, [0.87, 0.93], axis=0), axis=0) > 1e-6  # a saturated cell is all ties
    for level in (0.1, 0.5, 0.9):
        covered = (response <= cells.quantile(level).numpy()).mean(0)[varied]
        np.testing.assert_allclose(covered, level, rtol=0, atol=0.1 if gamma else 0.035)


def test_an_interval_of_a_cold_item_covers_what_it_says(posterior: Build) -> None:
    """Everything known but z ~ Gamma(1, 1): the 80% interval of the rate should hold about .8 of it."""
    p = posterior(LogAdditive(), Poisson())
    cold = dist.Gamma(torch.ones(5).double(), torch.ones(5).double())
    p = replace(p.draw(0), item_effect=replace(p.item_effect, law=cold))
    cells = surface(p, Observe(), EVERYONE)
    low, high = (cells.quantile(level) / cells.mean.exp() for level in (0.1, 0.9))
    np.testing.assert_allclose(stats.expon.cdf(high) - stats.expon.cdf(low), 0.8, rtol=0, atol=0.06)


@with_popularity
def test_deconfounded_predictive_averages_the_population(
    posterior: Build, predictor_: Predictor, family_: Family
) -> None:
    p = posterior(predictor_, family_)
    eta = drawn_predictor(p, effect=None)
    rng = np.random.default_rng(3)
    if isinstance(predictor_, LogAdditive):
        shape = float(p.population.concentration)  # type: ignore[union-attr]
        offset = np.log(rng.gamma(shape, 1 / shape, (DRAWS, 1, 1)))
    else:
        offset = p.item_effect.predictor.popularity_effect * rng.normal(size=(DRAWS, 1, 1))  # type: ignore[attr-defined]
    response = RESPONSE[family_.name](eta + offset)
    slack = 0.03 if isinstance(predictor_, LogAdditive) else 0.01  # activity is taken as lognormal
    error = 4.5 * standard_error(response) + slack * np.abs(response.mean(0)) + 0.002
    assert (np.abs(score(Predictive(), p, Deconfound()) - response.mean(0)) < error).all()


@with_popularity
def test_a_population_averaged_over_is_no_uncertainty(posterior: Build, predictor_: Predictor, family_: Family) -> None:
    """With factors and activity known, the deconfounded response has no spread, and under Observe it has."""
    p = posterior(predictor_, family_).draw(0)
    p = replace(p, item_effect=posterior(predictor_, family_).item_effect)
    assert float(surface(p, Deconfound(), EVERYONE).sd().max()) < 1e-6
    assert float(surface(p, Observe(), EVERYONE).sd().median()) > 0.02


def ranks(scores: np.ndarray) -> np.ndarray:
    return scores.argsort(-1)


@with_popularity
def test_deconfound_and_a_common_popularity_rank_as_affinity(
    posterior: Build, predictor_: Predictor, family_: Family
) -> None:
    p = posterior(predictor_, family_)
    affinity = ranks((p.user_mean @ p.item_mean.T).numpy())
    for intervention in (Deconfound(), SetPopularity(0.7), Temper(0.0)):
        assert np.array_equal(ranks(score(PlugIn(), p, intervention)), affinity)
    assert not np.array_equal(ranks(score(PlugIn(), p, Observe())), affinity)


@with_popularity
def test_temper_of_one_is_observe(posterior: Build, predictor_: Predictor, family_: Family) -> None:
    p = posterior(predictor_, family_)
    for reading in (PlugIn(), Predictive()):
        np.testing.assert_allclose(score(reading, p, Temper(1.0)), score(reading, p, Observe()), rtol=1e-5)


def test_tempered_gamma_has_the_moments_of_the_power() -> None:
    a, b, weight = np.array([0.3, 2.0, 50.0]), np.array([1.0, 4.0, 9.0]), 0.4
    law = power(dist.Gamma(torch.tensor(a), torch.tensor(b)), weight, Scale.RATE)
    first = special.gamma(a + weight) / special.gamma(a) / b**weight
    second = special.gamma(a + 2 * weight) / special.gamma(a) / b ** (2 * weight)
    np.testing.assert_allclose(law.mean, first, rtol=1e-10)
    np.testing.assert_allclose(law.variance, second - first**2, rtol=1e-8)
    normal = power(dist.Normal(torch.tensor([2.0]), torch.tensor([0.5])), weight, Scale.LOG)
    assert (float(normal.mean), float(normal.stddev)) == (pytest.approx(0.8), pytest.approx(0.2))


def test_set_popularity_by_hand(posterior: Build) -> None:
    p = posterior(LogAdditive(), Poisson())
    base = p.linear_mean(EVERYONE).exp().numpy()
    each = np.array([0.1, 1, 2, 3, 10.0])
    np.testing.assert_allclose(score(PlugIn(), p, SetPopularity(2.5)), 2.5 * base)
    np.testing.assert_allclose(score(PlugIn(), p, SetPopularity(each)), each * base)


def test_set_popularity_of_some_items_by_hand(posterior: Build) -> None:
    p = posterior(LogAdditive(), Poisson())
    base = p.linear_mean(EVERYONE).exp().numpy()
    np.testing.assert_allclose(score(PlugIn(), p, SetPopularity({"i1": 3.0})), np.array([1, 3.0, 1, 1, 1]) * base)
    some = SetPopularity(pd.Series([4.0], index=["i4"]), otherwise=0.5)
    np.testing.assert_allclose(score(PlugIn(), p, some), np.array([0.5, 0.5, 0.5, 0.5, 4]) * base)
    q = posterior(Additive(), Gaussian())
    gamma = q.item_effect.predictor.popularity_effect  # type: ignore[attr-defined]
    expected = q.linear_mean(EVERYONE).numpy() + gamma * np.array([0, -3.0, 0, 0, 0])
    np.testing.assert_allclose(score(PlugIn(), q, SetPopularity({"i1": -3.0})), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "value", [0.0, -1.0, float("nan"), float("inf"), {"i1": -2.0}, {"nobody": 1.0}, np.ones(4), np.ones((5, 1))]
)
def test_bad_popularities_are_refused(posterior: Build, value: object) -> None:
    with pytest.raises(InputError, match="SetPopularity"):
        score(PlugIn(), posterior(LogAdditive(), Poisson()), SetPopularity(value))  # type: ignore[arg-type]


def test_a_missing_value_in_a_mapping_is_refused(posterior: Build) -> None:
    with pytest.raises(InputError, match="SetPopularity"):
        score(PlugIn(), posterior(LogAdditive(), Poisson()), SetPopularity({"i1": float("nan")}))


@pytest.mark.parametrize("value", [np.int64(2), np.float32(2.0)])
def test_numpy_scalars_are_numbers(posterior: Build, value: object) -> None:
    p = posterior(LogAdditive(), Poisson())
    np.testing.assert_allclose(score(PlugIn(), p, SetPopularity(value)), score(PlugIn(), p, SetPopularity(2.0)))  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [-0.5, 5.1, float("nan"), float("inf")])
def test_bad_temper_weights_are_refused(weight: float) -> None:
    with pytest.raises(InputError, match="weight from 0 to 5"):
        Temper(weight)


@pytest.mark.parametrize("p", [0.0, 1.0, -1.0, float("nan")])
def test_bad_quantiles_are_refused(p: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        Quantile(p)


@pytest.mark.parametrize(
    "intervention", [Deconfound(), SetPopularity(1.0), Temper(0.5)], ids=lambda i: type(i).__name__
)
def test_a_plain_model_answers_no_question_about_popularity(posterior: Build, intervention: Intervention) -> None:
    p = posterior(Plain(), Poisson())
    with pytest.raises(InputError, match=f"{type(intervention).__name__} needs a model with popularity"):
        surface(p, intervention, EVERYONE)
    np.testing.assert_allclose(score(PlugIn(), p, Observe()), p.linear_mean(EVERYONE).exp())


@with_popularity
def test_thompson_draws_are_reproducible_and_varied(posterior: Build, predictor_: Predictor, family_: Family) -> None:
    p = posterior(predictor_, family_)
    found = np.stack([score(Thompson(seed), p, Observe()) for seed in range(400)])
    assert np.array_equal(found[7], score(Thompson(7), p, Observe()))
    assert len(np.unique(found[:, 0, 0])) == 400
    response = RESPONSE[family_.name](drawn_predictor(p))
    error = response.std(0) / 20
    assert (np.abs(found.mean(0) - response.mean(0)) < 4.5 * error).all()


def test_thompson_draws_are_joint_over_users(posterior: Build) -> None:
    """Users asked one by one see the same draw as users asked together."""
    p = posterior(LogAdditive(), Poisson())
    prepared = Thompson(3).prepare(p)
    together = Thompson(3).score(surface(prepared, Observe(), EVERYONE))
    alone = Thompson(3).score(surface(Thompson(3).prepare(p), Observe(), torch.tensor([4])))
    assert torch.equal(alone[0], together[4])


def test_thompson_under_temper_on_the_log_scale(posterior: Build) -> None:
    p = posterior(Additive(), Gaussian())
    drawn = Thompson(0).prepare(p)
    gamma = p.item_effect.predictor.popularity_effect  # type: ignore[attr-defined]
    expected = drawn.linear_mean(EVERYONE) + 0.5 * gamma * drawn.popularity.v  # type: ignore[union-attr]
    np.testing.assert_allclose(score(Thompson(0), p, Temper(0.5)), expected)


def test_thompson_under_set_popularity_keeps_the_neutral_rate(posterior: Build) -> None:
    p = posterior(LogAdditive(), Poisson())
    base = Thompson(0).prepare(p).linear_mean(EVERYONE).exp().numpy()
    expected = np.array([1, 3.0, 1, 1, 1]) * base
    np.testing.assert_allclose(score(Thompson(0), p, SetPopularity({"i1": 3.0})), expected)


def test_thompson_under_set_popularity_refuses_bad_rates(posterior: Build) -> None:
    with pytest.raises(InputError, match="above zero"):
        score(Thompson(0), posterior(LogAdditive(), Poisson()), SetPopularity(-1.0))


def test_a_posterior_does_not_change_when_training_goes_on(tiny: Callable[..., Tiny]) -> None:
    fit = tiny(LogAdditive(), Poisson())
    p = read_posterior(fit.model, fit.guide, USERS, ITEMS)
    before = p.popularity.mean.clone()  # type: ignore[union-attr]
    fit.guide.posterior["item"].set_effect(dist.Gamma(torch.ones(5).double(), 9 * torch.ones(5).double()))
    torch.testing.assert_close(p.popularity.mean, before)  # type: ignore[union-attr]


def test_affinity_is_centred(tiny: Callable[..., Tiny]) -> None:
    fit = tiny(LogAdditive(), Poisson())
    p = read_posterior(fit.model, fit.guide, USERS, ITEMS)
    assert float(p.user_mean.mean(0).abs().max()) < 1e-12
    assert float(fit.model.user.centre.abs().max()) > 1e-3


def test_quantiles_and_effects_table(posterior: Build) -> None:
    p = posterior(LogAdditive(), Poisson())
    law = p.popularity
    assert isinstance(law, dist.Gamma)
    table = p.effects("item", level=0.8)
    expected = stats.gamma(law.concentration.numpy(), scale=1 / law.rate.numpy())
    np.testing.assert_allclose(table["lower"], expected.ppf(0.1), rtol=1e-6)
    np.testing.assert_allclose(table["upper"], expected.ppf(0.9), rtol=1e-6)
    np.testing.assert_allclose(table["sd"], expected.std(), rtol=1e-6)
    assert list(table.index) == list(ITEMS)
    normal = dist.Normal(torch.tensor([1.0]).double(), torch.tensor([2.0]).double())
    assert float(quantiles(normal, 0.975)) == pytest.approx(1 + 2 * stats.norm.ppf(0.975))
    with pytest.raises(ValueError, match="no effect"):
        posterior(Plain(), Poisson()).effects("item")
