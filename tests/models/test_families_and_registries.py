"""Every registered family and every registered part of a model: what it must satisfy whatever it is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from conftest import CELLWISE, REGISTRIES
from scipy import integrate
from torch.distributions import constraints

from pyrorec.models.absent import Absent
from pyrorec.models.bilateral import BilateralModel, UnfitPair
from pyrorec.models.component import Component, Learned
from pyrorec.models.distributions import Gamma, LogNormal, Normal, PopularityDistribution, Scale
from pyrorec.models.families import (
    Bernoulli,
    Binomial,
    Cloglog,
    Family,
    Gaussian,
    GaussianPerItem,
    HurdleGamma,
    NegativeBinomial,
    Ordinal,
    Poisson,
    Probit,
)
from pyrorec.models.families.cloglog import log1mexp
from pyrorec.models.posterior_families import LogNormalPosterior, NormalPosterior
from pyrorec.models.predictors import Additive, LogAdditive, Plain, ProductTanh
from pyrorec.models.prior_source import ExposureCounts
from pyrorec.models.registry import Registry

every_family = pytest.mark.parametrize("cls", CELLWISE, ids=lambda c: c.name)
families_with_zeros = pytest.mark.parametrize(
    "cls", [cls for cls in CELLWISE if Absent.ZERO in cls.absent], ids=lambda c: c.name
)
every_population = pytest.mark.parametrize("cls", list(PopularityDistribution.registry), ids=lambda c: c.name)
every_component = pytest.mark.parametrize(
    ("registry", "cls"), [(r, c) for r in REGISTRIES for c in r], ids=lambda x: getattr(x, "name", x)
)
ETA = torch.tensor([-2.0, -0.3, 0.0, 0.8, 1.5], dtype=torch.float64)


def one() -> torch.Tensor:
    return torch.ones((), dtype=torch.float64)


def test_the_registries_hold_what_the_house_offers() -> None:
    assert {r.kind: r.names() for r in REGISTRIES} == {
        "family": [
            "bernoulli", "beta", "binomial", "cloglog", "dirichlet", "exponential", "gamma", "gaussian",
            "gaussian-known", "gaussian-per-item", "hurdle-gamma", "multinomial", "negative-binomial", "ordinal",
            "poisson", "probit",
        ],
        "predictor": [
            "additive", "log-additive", "odds", "plain", "product-ratio", "product-saturation", "product-tanh",
        ],
        "popularity distribution": ["exponential", "gamma", "lognormal", "normal", "weibull"],
        "affinity": ["dot", "factorisation-machine", "featured-dot", "linear"],
        "posterior family": ["gamma", "inverse-gaussian", "lognormal", "normal", "weibull"],
        "sharing": ["interaction", "item", "period"],
        "prior source": ["earlier", "exposure", "learned"],
        "encoder": ["row", "set"],
        "covariance": ["diagonal", "full", "low-rank"],
        "factor prior": ["cap", "learned-scale", "standard"],
    }  # fmt: skip


def expectation(family: Family, eta: float, f: Callable[[float], float]) -> float:
    """E f(value) of one trial by quadrature over the support, by summation where it is discrete."""
    at = torch.tensor(eta, dtype=torch.float64)

    def weighted(value: float) -> float:
        return float(family.log_prob(torch.tensor(value, dtype=torch.float64), one(), at).exp()) * f(value)

    point = weighted(0.0) if isinstance(family, HurdleGamma) else 0.0
    if not family.support.is_discrete:
        low, high = SUPPORT.get(family.support, (0.0, np.inf))
        breaks = [low, 1e-6, 0.01, 0.1, 0.5, high] if high == 1 else [low, 0.5, 5.0, high]
        parts = (integrate.quad(weighted, *ends, epsabs=1e-12)[0] for ends in itertools.pairwise(breaks))
        return point + float(sum(parts))
    values = torch.arange(2000.0).double()
    inside = [v for v in values[: LARGEST.get(type(family), 2000)] if family.refusal(v[None], one()[None]) is None]
    return sum(weighted(float(v)) for v in inside)


SUPPORT = {constraints.real: (-np.inf, np.inf), constraints.unit_interval: (0.0, 1.0)}
LARGEST = {Poisson: 80, Ordinal: 6, Binomial: 6, Bernoulli: 2, Cloglog: 2, Probit: 2, NegativeBinomial: 400}


@every_family
@pytest.mark.parametrize("eta", ETA.tolist())
def test_probabilities_sum_to_one(cls: type[Family], eta: float) -> None:
    assert expectation(cls.example(), eta, lambda _: 1.0) == pytest.approx(1, abs=1e-9)


@every_family
@pytest.mark.parametrize("eta", ETA.tolist())
def test_mean_is_the_expected_value_of_the_law(cls: type[Family], eta: float) -> None:
    family = cls.example()
    mean = float(family.mean(torch.tensor(eta, dtype=torch.float64)))
    assert expectation(family, eta, lambda value: value) == pytest.approx(mean, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("cls", [Poisson, Bernoulli], ids=lambda c: c.name)
def test_mean_is_the_derivative_of_the_log_partition(cls: type[Family]) -> None:
    """A'(eta) = mean, where A is read off log p(0) = -A (canonical links)."""
    eta = ETA.clone().requires_grad_()
    (slope,) = torch.autograd.grad(-cls.example().zero(eta).sum(), eta)
    torch.testing.assert_close(slope, cls.example().mean(ETA))


@every_family
def test_mean_increases_and_samples_agree_with_it(cls: type[Family]) -> None:
    family = cls.example()
    assert (family.mean(ETA).diff() > 0).all()
    draws = family.sample(ETA.expand(20_000, 5), one())
    error = draws.std(0) / 20_000**0.5
    assert ((draws.mean(0) - family.mean(ETA)).abs() < 4 * error).all()


@families_with_zeros
def test_the_mass_gives_the_log_probability_of_zeros(cls: type[Family]) -> None:
    family = cls.example()
    scale, shift = family.mass_line() or (1.0, 0.0)
    by_mass = family.zeros(family.mass.value(scale * ETA + shift).sum(), len(ETA))
    by_cell = family.log_prob(torch.zeros(5).double(), one(), ETA).sum()
    assert float(by_mass) == pytest.approx(float(by_cell), rel=1e-13)
    torch.testing.assert_close(family.zero(ETA).sum(), by_cell)
    total, slope = family.mass.sum_and_slope(ETA.clone()[None])
    eta = ETA.clone().requires_grad_()
    (expected,) = torch.autograd.grad(family.mass.value(eta).sum(), eta)
    assert float(total) == pytest.approx(float(family.mass.value(ETA).sum()), rel=1e-13)
    torch.testing.assert_close(slope[0], expected)


@every_family
def test_a_cell_without_trials_says_nothing(cls: type[Family]) -> None:
    eta = ETA.clone().requires_grad_()
    nothing = torch.zeros(5).double()
    value = cls.example().log_prob(nothing, nothing, eta)
    (slope,) = torch.autograd.grad(value.sum(), eta)
    assert not value.any()
    assert not slope.any()


def test_log1mexp_keeps_relative_accuracy_and_finite_gradients() -> None:
    x = torch.tensor([1e-30, 1e-8, 0.3, 0.6931, 0.7, 5.0, 100.0, 700.0], dtype=torch.float64, requires_grad=True)
    value = log1mexp(x)
    # log(1 - e^-x) = log x - x/2 + x^2/24 - ... for small x; by numpy's complementary forms elsewhere
    expected = [np.log(1e-30), np.log(1e-8) - 5e-9, *np.log(-np.expm1(-np.array([0.3, 0.6931, 0.7, 5.0])))]
    np.testing.assert_allclose(value.detach()[:6], expected, rtol=1e-14)
    np.testing.assert_allclose(value.detach()[6:], -np.exp([-100.0, -700.0]), rtol=1e-12)
    value.sum().backward()
    assert bool(x.grad.isfinite().all())  # type: ignore[union-attr]


@every_component
def test_a_component_survives_a_configuration_file(registry: Registry[Any], cls: type[Component]) -> None:
    example = cls.example()
    fields = json.loads(json.dumps(example.to_dict()))
    assert fields["name"] == cls.name
    assert registry.build(fields) == example
    assert hash(example) == hash(cls.example())


@every_component
def test_learned_fields_start_where_they_are_given_and_stay_positive(
    registry: Registry[Any], cls: type[Component]
) -> None:
    held = Learned(cls.example())
    assert set(held.log_values) == set(cls.learned)
    assert type(held.fixed()) is cls
    for field in cls.learned:
        np.testing.assert_allclose(getattr(held.fixed(), field), getattr(cls.example(), field), rtol=1e-6)
    with torch.no_grad():
        for value in held.log_values.values():
            value -= 3.0
    for field in cls.learned:
        shrunk = np.asarray(getattr(cls.example(), field)) * np.exp(-3)
        np.testing.assert_allclose(getattr(held.fixed(), field), shrunk, rtol=1e-6)
        assert getattr(held.value(), field).requires_grad
        assert isinstance(getattr(held.fixed(), field), float | tuple)  # plain values, fit for a file


@every_population
def test_populations_carry_no_level_of_their_own(cls: type[PopularityDistribution]) -> None:
    """Mean one on the rate scale, N(0, 1) on the log scale, whatever is learned: the intercept has the level."""
    for shrink in (0.0, 0.7):
        held = Learned(cls.example())
        with torch.no_grad():
            for value in held.log_values.values():
                value -= shrink
        law = held.value().population(like=one())
        assert law.batch_shape == ()
        assert law.mean.dtype == torch.float64
        assert float(law.mean.detach()) == pytest.approx(1.0 if cls.scale is Scale.RATE else 0.0, abs=1e-7)
        draws = law.sample((1000,))
        assert bool((draws > 0).all()) == (cls.scale is Scale.RATE)


def test_offset_moments_by_hand() -> None:
    gamma = dist.Gamma(torch.tensor([2.0]), torch.tensor([4.0]))
    location, variance = LogAdditive().matched_moments(gamma)
    # the lognormal with mean 1/2 and variance 1/8 of z: log(1 + 1/2), and log(1/2) less half of it
    assert float(variance) == pytest.approx(np.log(1.5), rel=1e-6)
    assert float(location) == pytest.approx(np.log(0.5) - 0.5 * np.log(1.5), rel=1e-6)
    location, variance = LogAdditive().matched_moments(dist.Delta(torch.tensor([0.5])))
    assert (float(location), float(variance)) == (pytest.approx(np.log(0.5)), 0.0)
    location, variance = Additive(popularity_effect=3.0).offset_moments(
        dist.Normal(torch.tensor([0.5]), torch.tensor([0.2]))
    )
    assert float(location) == pytest.approx(1.5)
    assert float(variance) == pytest.approx(0.36, rel=1e-6)


def test_population_laws() -> None:
    gamma = Gamma(shape=0.25).population()
    assert (float(gamma.mean), float(gamma.variance)) == (1.0, 4.0)
    normal = Normal().population()
    assert (float(normal.mean), float(normal.variance)) == (0.0, 1.0)


@pytest.fixture
def scratch() -> Iterator[Registry[Any]]:
    """The family registry, restored afterwards."""
    registry = Family.registry
    yield registry
    registry.remove("scratch")


def scratch_family(qualified_name: str) -> type[Family]:
    """A new class called `scratch`, as a notebook cell would define it."""
    body = {"name": "scratch", "__qualname__": qualified_name, "__module__": __name__}
    return type(qualified_name, (Poisson,), body)


def test_the_same_qualified_name_replaces(scratch: Registry[Any]) -> None:
    scratch_family("Scratch")
    second = scratch_family("Scratch")
    assert scratch["scratch"] is second
    assert list(scratch).count(second) == 1


def test_another_class_of_the_same_name_is_refused(scratch: Registry[Any]) -> None:
    scratch_family("Scratch")
    with pytest.raises(ValueError, match=r"'scratch' is taken by .*Scratch"):
        scratch_family("Other")
    with pytest.raises(ValueError, match="'poisson' is taken"):
        type("Mine", (Poisson,), {"name": "poisson", "__module__": __name__})
    assert scratch["poisson"] is Poisson


def test_a_class_without_a_name_of_its_own_is_not_registered(scratch: Registry[Any]) -> None:
    before = scratch.names()

    @dataclass(frozen=True)
    class Abstract(Family):  # type: ignore[misc]
        note: ClassVar[str] = "no name"

    class Derived(Poisson):
        pass

    assert scratch.names() == before


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"no family is called 'zip'; there are: bernoulli, beta, binomial, cloglog"):
        Family.registry["zip"]


def test_pairs_that_do_not_fit_are_refused_with_the_reason() -> None:
    with pytest.raises(UnfitPair, match="gaussian has none"):
        BilateralModel(family=Gaussian())
    with pytest.raises(UnfitPair, match="log-additive multiplies a rate"):
        BilateralModel(family=Bernoulli(), predictor=LogAdditive())
    with pytest.raises(UnfitPair, match="takes popularity as rate"):
        BilateralModel(predictor=LogAdditive(), popularity=Normal())
    with pytest.raises(UnfitPair, match="takes popularity as standardised"):
        BilateralModel(predictor=Additive(), activity=Gamma())
    with pytest.raises(UnfitPair, match="takes no popularity"):
        BilateralModel(predictor=Plain(), popularity=Gamma())
    with pytest.raises(UnfitPair, match="click probability of its own: use family bernoulli, not poisson"):
        BilateralModel(predictor=ProductTanh())
    with pytest.raises(UnfitPair, match="takes popularity as standardised log zeta, not activity gamma"):
        BilateralModel(family=Bernoulli(), predictor=ProductTanh(), activity=Gamma())
    with pytest.raises(UnfitPair, match="has a gamma posterior: leave posterior out"):
        BilateralModel(posterior=LogNormalPosterior())
    with pytest.raises(UnfitPair, match="takes popularity as rate z > 0, not posterior normal"):
        BilateralModel(popularity=LogNormal(), posterior=NormalPosterior())
    with pytest.raises(UnfitPair, match="a prior source has no meaning"):
        BilateralModel(predictor=Plain(), source=ExposureCounts())
    with pytest.raises(UnfitPair, match="at least 1"):
        BilateralModel(factors=0)


def test_defaults_of_the_model() -> None:
    spec = BilateralModel(factors=16)
    assert (spec.popularity, spec.activity) == (Gamma(), Gamma())
    assert spec.factor_scale == 0.5  # a dot product of 16 factors then has variance one
    assert BilateralModel(factors=16, scale=2.0).factor_scale == 2.0
    assert BilateralModel(binarise=True).response == Cloglog()
    assert BilateralModel(family=Gaussian(), predictor=Plain(), binarise=True).response == Gaussian()


@pytest.mark.parametrize("mean", [0.01, 0.4])
@every_family
def test_the_starting_level_reproduces_the_mean(cls: type[Family], mean: float) -> None:
    spec = BilateralModel(family=cls.example(), predictor=Plain())
    mean += 1.0 * (cls is Ordinal)  # ratings start at 1
    level = torch.tensor(spec.predictor.starting_level(spec.family, mean), dtype=torch.float64)
    assert float(spec.family.mean(level)) == pytest.approx(mean, rel=1e-12)


def test_sds_by_item_are_positive_numbers_of_any_sequence() -> None:
    assert GaussianPerItem(sd=np.array([0.5, 2.0])) == GaussianPerItem(sd=(0.5, 2.0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sds above zero"):
        GaussianPerItem(sd=(1.0, -1.0))
