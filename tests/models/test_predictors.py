"""Every registered predictor with every family it takes: monotone, accurate at both ends, finite, true to its mean."""

from __future__ import annotations

import itertools
import math

import mpmath
import pytest
import torch
from conftest import CELLWISE, plausible

from pyrorec.models.distributions import Scale
from pyrorec.models.families import Binomial, Family, Gaussian, Outcome
from pyrorec.models.families.log_mean import LogMean
from pyrorec.models.observation import Observation
from pyrorec.models.predictors import (
    Additive,
    Odds,
    Offset,
    Predictor,
    Product,
    ProductRatio,
    ProductSaturation,
    ProductTanh,
    UnfitPair,
)

TAKES = {
    "additive": set(Family.registry.names()),
    "plain": set(Family.registry.names()),
    "log-additive": {"cloglog", "poisson"},
    "odds": {"bernoulli"},
    "product-ratio": {"bernoulli"},
    "product-saturation": {"bernoulli"},
    "product-tanh": {"bernoulli"},
}


def f64(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


PAIRS = [
    (predictor.example(), family.example())
    for predictor, family in itertools.product(Predictor.registry, CELLWISE)
    if family.name in TAKES[predictor.name]
]
every_pair = pytest.mark.parametrize(
    ("given", "of"), PAIRS, ids=[f"{predictor.name}-{family.name}" for predictor, family in PAIRS]
)
every_predictor = pytest.mark.parametrize("cls", list(Predictor.registry), ids=lambda c: c.name)
PRODUCTS: list[Product] = [ProductRatio(midpoint=1.7), ProductSaturation(saturation=0.6), ProductTanh(steepness=0.8)]
every_product = pytest.mark.parametrize("product", PRODUCTS, ids=lambda p: p.name)
AFFINITY = torch.linspace(-4, 1.5, 15, dtype=torch.float64)
LINEAR = (Binomial, Gaussian, LogMean)
"""Families of the exponential kind whose only statistic that eta multiplies is the value itself."""
EXTREMES = list(itertools.product([-60.0, -20.0, 0.0, 20.0, 60.0], [1e-8, 1e-3, 1.0, 1e3, 1e8]))


def popularity_grid(predictor: Predictor) -> torch.Tensor:
    return torch.linspace(-3, 1, 21).double() if predictor.scale is Scale.LOG else torch.linspace(0.01, 3, 21).double()


def test_every_product_has_its_case() -> None:
    assert {type(p) for p in PRODUCTS} == {cls for cls in Predictor.registry if issubclass(cls, Product)}
    assert set(TAKES) == set(Predictor.registry.names())


@every_predictor
def test_families_that_do_not_fit_are_refused_with_the_remedy(cls: type[Predictor]) -> None:
    predictor = cls.example()
    for family in Family.registry:
        if family.name in TAKES[cls.name]:
            predictor.check_family(family.example())
            continue
        with pytest.raises(
            UnfitPair, match=f"predictor {cls.name} .*family {family.name}|not {family.name}"
        ) as refused:
            predictor.check_family(family.example())
        assert "use family" in str(refused.value)


@every_predictor
def test_the_default_popularity_is_on_the_scale_that_is_taken(cls: type[Predictor]) -> None:
    population = cls.default_popularity()
    assert (None if population is None else population.scale) is cls.scale


@every_pair
def test_the_mean_increases_with_affinity_and_with_popularity(given: Predictor, of: Family) -> None:
    popularity = popularity_grid(given)
    mean = given.mean(of, AFFINITY[:, None], popularity)
    assert (mean.diff(dim=0) > 0).all()
    steps = mean.diff(dim=1)
    assert (steps == 0).all() if given.scale is None else (steps > 0).all()
    if of.outcome is Outcome.CLICK:
        assert ((mean > 0) & (mean < 1)).all()


@every_pair
def test_log_probabilities_belong_to_the_mean(given: Predictor, of: Family) -> None:
    """One trial: the log-probability of a click is log mean; families whose score vanishes at the mean say so."""
    popularity = popularity_grid(given)[::5]
    affinity, one = AFFINITY[:, None].expand(-1, len(popularity)), torch.ones(len(AFFINITY), len(popularity)).double()
    mean = given.mean(of, affinity, popularity)
    if of.outcome is Outcome.CLICK:
        for value, p in ((one, mean), (0 * one, 1 - mean)):
            got = given.log_prob(of, value, one, affinity, popularity).exp()
            torch.testing.assert_close(got, p, rtol=1e-12, atol=1e-15)
    elif isinstance(of, LINEAR):
        slope = torch.func.grad(lambda a: given.log_prob(of, mean.detach(), one, a, popularity).sum())(affinity)
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-9)


@every_pair
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_affinity_and_popularity_stay_finite(given: Predictor, of: Family, dtype: torch.dtype) -> None:
    """Values and gradients, with respect to what is learned as well."""
    a, z = (torch.tensor(x, dtype=dtype).requires_grad_() for x in zip(*EXTREMES, strict=True))
    learned = {name: torch.tensor(float(getattr(given, name)), dtype=dtype).requires_grad_() for name in given.learned}
    used = type(given)(**learned)
    one = torch.ones(len(EXTREMES), dtype=dtype)
    for value in (plausible(of, value, one) for value in (one, 0 * one)):
        got = used.log_prob(of, value, one, a, z.log() if given.scale is Scale.LOG else z)
        assert got.dtype == dtype
        assert bool(got.isfinite().all())
        if of.outcome is Outcome.CLICK:
            assert (got <= 0).all()
        slopes = torch.autograd.grad(got.sum(), [a, z, *learned.values()], allow_unused=True)
        assert all(bool(slope.isfinite().all()) for slope in slopes if slope is not None)


@every_pair
def test_draws_agree_with_the_mean(given: Predictor, of: Family) -> None:
    affinity, trials = f64([-1.5, -0.6, 0.1]), f64([1.0, 3.0, 2.0])
    popularity = f64([0.2, 0.7, 1.1])
    shape = (30_000, 3)
    draws = given.sample(of, trials.expand(shape), affinity.expand(shape), popularity.expand(shape))
    error = draws.std(0) / 30_000**0.5
    assert ((draws.mean(0) - trials * given.mean(of, affinity, popularity)).abs() < 4 * error).all()
    assert bool(of.support.check(draws / trials if of.outcome.graded else draws).all())
    if of.outcome is Outcome.CLICK:
        assert (draws <= trials).all()


@every_pair
@pytest.mark.parametrize("mean", [0.02, 0.3])
def test_a_fit_starts_at_the_mean_of_the_log(given: Predictor, of: Family, mean: float) -> None:
    """At the starting level, affinity at zero and popularity at its middle."""
    mean += 1.0 * (of.name == "ordinal")  # ratings start at 1
    middle = f64(0.0 if given.scale is Scale.LOG else 1.0)
    level = given.starting_level(of, mean)
    assert float(given.mean(of, f64(level), middle)) == pytest.approx(mean, rel=1e-6)


def test_odds_multiply() -> None:
    """P = 1 / (1 + exp(-a) / z), in the formula's own terms (maths 1.2.7)."""
    a, z = AFFINITY[:, None], popularity_grid(Odds())
    (family,) = (of for given, of in PAIRS if given.name == "odds")
    torch.testing.assert_close(Odds().mean(family, a, z), 1 / (1 + torch.exp(-a) / z), rtol=1e-14, atol=0)


def test_a_non_negative_effect_orders_by_popularity() -> None:
    assert float(Additive(popularity_effect=0.3).offset(f64(2.0))) == pytest.approx(0.6)


@every_product
def test_a_link_grows_from_nothing_to_one(product: Product) -> None:
    z = torch.logspace(-8, 1.3, 60, dtype=torch.float64)
    log_g, log_rest = product.log_link(z.log()), product.log_unlinked(z.log())
    assert (log_g.diff() > 0).all()
    assert (log_rest.diff() < 0).all()
    assert (log_g < 0).all()
    torch.testing.assert_close(log_g.exp() + log_rest.exp(), torch.ones_like(z), rtol=1e-14, atol=0)
    mean = product.mean(PAIRS[0][1], f64(40.0), z)
    assert ((mean > 0) & (mean < 1)).all()  # h g < 1 however strong the match
    assert float(product.log_link(f64(1e8).log()).exp()) == pytest.approx(1, abs=1e-6)


def exact(product: Product, affinity: float, z: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """log p and log(1 - p) in sixty digits."""
    a, c = mpmath.mpf(affinity), mpmath.mpf(float(product.parameter))
    x = mpmath.mpf(z)
    g = {
        "product-ratio": lambda: x / (x + c),
        "product-saturation": lambda: 1 - mpmath.exp(-c * x),
        "product-tanh": lambda: mpmath.tanh(c * x / 2),
    }[product.name]()
    p = g / (1 + mpmath.exp(-a))
    return mpmath.log(p), mpmath.log(1 - p)


@every_product
def test_log_probabilities_keep_their_digits_at_both_ends(product: Product) -> None:
    """log p and log(1 - p), and with them log_prob of a click and of none."""
    with mpmath.workdps(60):
        for affinity, z in [*EXTREMES, (0.3, 0.5), (-1.2, 2.0), (4.0, 9.0)]:
            log_p, log_rest = product.log_probability(f64(affinity), f64(z).log())
            expected_p, expected_rest = exact(product, affinity, z)
            assert float(log_p) == pytest.approx(float(expected_p), rel=1e-12, abs=1e-15)
            assert float(log_rest) == pytest.approx(float(expected_rest), rel=1e-12, abs=1e-15)
            for clicks, trials in ((1.0, 1.0), (0.0, 1.0), (2.0, 5.0)):
                got = product.log_prob(PAIRS[0][1], f64(clicks), f64(trials), f64(affinity), f64(z))
                ways = math.log(math.comb(int(trials), int(clicks)))
                expected = clicks * expected_p + (trials - clicks) * expected_rest + ways
                assert float(got) == pytest.approx(float(expected), rel=1e-12, abs=1e-14)


@every_pair
def test_a_record_without_trials_says_nothing(given: Predictor, of: Family) -> None:
    nothing, popularity = torch.zeros(15).double(), torch.full((15,), 0.7).double()
    affinity = AFFINITY.clone().requires_grad_()
    value = given.log_prob(of, nothing, nothing, affinity, popularity)
    (slope,) = torch.autograd.grad(value.sum(), affinity)
    assert not value.any()
    assert not slope.any()


def observed(given: Predictor, of: Family) -> Observation:
    """Three records of one to three trials."""
    return Observation(of, given, f64([1.0, 3.0, 2.0]), f64([-1.5, -0.6, 0.1]), f64([0.2, 0.7, 1.1]))


@every_pair
def test_an_observation_is_its_predictor(given: Predictor, of: Family) -> None:
    law = observed(given, of)
    value = plausible(of, f64([1.0, 0.0, 2.0]), law.trials)
    assert (law.batch_shape, law.event_shape, law.has_rsample) == ((3,), (), False)
    assert law.support is of.support
    torch.testing.assert_close(law.mean, given.mean(of, law.affinity, law.popularity))
    torch.testing.assert_close(
        law.log_prob(value), given.log_prob(of, value, law.trials, law.affinity, law.popularity), rtol=0, atol=0
    )


@every_pair
def test_an_observation_expands_and_draws(given: Predictor, of: Family) -> None:
    law = observed(given, of)
    wide = law.expand((4, 3))
    assert wide.batch_shape == (4, 3)
    value = plausible(of, f64([1.0, 0.0, 2.0]), law.trials)
    torch.testing.assert_close(wide.log_prob(value), law.log_prob(value).expand(4, 3))
    draws = wide.sample((5000,))
    assert draws.shape == (5000, 4, 3)
    assert not draws.requires_grad
    error = draws.std((0, 1)) / 20_000**0.5
    assert ((draws.mean((0, 1)) - law.trials * law.mean).abs() < 4 * error).all()


def test_draws_of_an_observation_carry_no_gradient() -> None:
    (family,) = (of for given, of in PAIRS if given.name == "additive" and of.name == "gaussian")
    affinity = f64([0.1, 0.2]).requires_grad_()
    law = Observation(family, Additive(), torch.ones(2).double(), affinity, torch.zeros(2).double())
    assert not law.sample().requires_grad
    assert law.log_prob(f64([0.0, 1.0])).requires_grad
    assert isinstance(law.predictor, Offset)
