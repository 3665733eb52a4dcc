"""Marginals over popularity against adaptive quadrature, golden values and identities."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import pkgutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate, optimize, special, stats

import pyrorec.models
from pyrorec.models import integrals, marginals
from pyrorec.models.distributions.gamma import match_gamma
from pyrorec.models.families import Bernoulli, Cloglog, Family, Poisson
from pyrorec.models.integrals import approximations
from pyrorec.models.integrals.normal import logistic_normal
from pyrorec.models.laws import parameters
from pyrorec.models.marginals import gamma_cloglog, marginal_mean, marginal_probability
from pyrorec.models.predictors import (
    Additive,
    LogAdditive,
    Odds,
    Plain,
    Predictor,
    ProductRatio,
    ProductSaturation,
    ProductTanh,
)

EFFECT, HALF, SATURATION, STEEPNESS = 0.6, 1.4, 0.7, 0.9
ETA = [-6.0, -0.4, 2.5]


def f64(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


PREDICTORS: list[Predictor] = [
    Additive(popularity_effect=EFFECT),
    LogAdditive(),
    Odds(),
    ProductRatio(midpoint=HALF),
    ProductSaturation(saturation=SATURATION),
    ProductTanh(steepness=STEEPNESS),
]
LAWS: dict[type, list[tuple[float, ...]]] = {
    dist.Gamma: [(0.5, 0.9), (6.0, 3.0)],
    dist.Exponential: [(0.7,)],
    dist.LogNormal: [(-0.3, 0.6), (0.5, 1.5)],
    dist.Weibull: [(1.3, 0.8), (0.6, 2.5)],
    dist.Normal: [(0.5, 0.9), (6.0, 3.0)],
}
FAMILIES: list[Family] = [family.example() for family in Family.registry]
CELLS: list[Family] = [family for family in FAMILIES if not family.coupled]


def registered(registry: dict[Any, Any], law: type) -> list[tuple[Predictor, Family]]:
    """Pairs that a registry of marginals serves under a law."""
    # an Exponential is looked up as the Gamma it is
    example = marginals.as_gamma(law(*map(f64, LAWS[law][0])))
    pairs = itertools.product(PREDICTORS, FAMILIES)
    either = (False, True)
    return [(p, f) for p, f in pairs if any(marginals.found(registry, example, p, f, bases) for bases in either)]


Case = tuple[type, tuple[float, ...], Predictor, Family]


def cases(*registries: dict[Any, Any]) -> list[Case]:
    return [
        (law, at, predictor, family)
        for law in LAWS
        for predictor, family in dict.fromkeys(itertools.chain(*(registered(r, law) for r in registries)))
        for at in LAWS[law]
    ]


def named(case: Case) -> str:
    law, at, predictor, family = case
    return f"{law.__name__}{at}-{predictor.name}-{family.name}".replace(" ", "")


PROBABILITIES = cases(marginals._PROBABILITIES)
MEANS = cases(marginals._MEANS, marginals._PROBABILITIES)
every_mean = pytest.mark.parametrize("case", MEANS, ids=named)
every_probability = pytest.mark.parametrize("case", PROBABILITIES, ids=named)


def test_the_combinations_that_are_served() -> None:
    """All that fit together but those without a rule: a combination lost, or new, is noticed here."""
    products = ["product-ratio", "product-saturation", "product-tanh"]
    rate = {
        *(("log-additive", family) for family in ("poisson", "cloglog")),
        *((predictor, "bernoulli") for predictor in ("odds", *products)),
    }
    expected = {
        dist.Gamma: rate | {("additive", "bernoulli")},
        dist.Exponential: rate | {("additive", "bernoulli")},
        dist.LogNormal: rate,
        dist.Weibull: rate,
        dist.Normal: {("additive", family.name) for family in FAMILIES},
    }
    for law in LAWS:
        both = [*registered(marginals._MEANS, law), *registered(marginals._PROBABILITIES, law)]
        assert {(p.name, f.name) for p, f in both} == expected[law], law.__name__
    assert {type(p) for p in PREDICTORS} | {Plain} == set(Predictor.registry)


def log_density(law: type, at: tuple[float, ...]) -> Callable[[float], float]:
    """log density of x = log z, of zeta for a Normal, written down anew."""
    half_log = 0.5 * math.log(2 * math.pi)
    if law is dist.Weibull:
        scale, k = at
        return lambda x: math.log(k) + k * (x - math.log(scale)) - math.exp(k * (x - math.log(scale)))
    if law in (dist.Normal, dist.LogNormal):
        m, s = at
        return lambda x: -0.5 * ((x - m) / s) ** 2 - math.log(s) - half_log
    a, b = at if law is dist.Gamma else (1.0, at[0])
    return lambda x: a * (x + math.log(b)) - b * math.exp(x) - math.lgamma(a)


def expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def responses(predictor: Predictor, family: Family, law: type) -> tuple[Callable[..., float], Callable[..., float]]:
    """Mean of one trial, and for clicks its complement without cancellation, of (eta, x); x = log z, or zeta."""
    # additive popularity is zeta itself, z where its law is one of rates
    add = EFFECT if law is dist.Normal else None
    if predictor.name.startswith("product"):
        link: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
            "product-ratio": (lambda z: z / (z + HALF), lambda z: HALF / (z + HALF)),
            "product-saturation": (lambda z: -math.expm1(-SATURATION * z), lambda z: math.exp(-SATURATION * z)),
            "product-tanh": (
                lambda z: math.tanh(STEEPNESS * z / 2),
                lambda z: 2 * math.exp(-STEEPNESS * z) / (1 + math.exp(-STEEPNESS * z)),
            ),
        }
        g, rest = link[predictor.name]
        return (
            lambda eta, x: expit(eta) * g(math.exp(x)),
            lambda eta, x: expit(-eta) + expit(eta) * rest(math.exp(x)),
        )

    def linear(eta: float, x: float) -> float:
        if predictor.name != "additive":
            return eta + x
        return eta + EFFECT * (x if add is not None else math.exp(x))

    of: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
        "bernoulli": (expit, lambda v: expit(-v)),
        "probit": (lambda v: float(special.ndtr(v)), lambda v: float(special.ndtr(-v))),
        "cloglog": (lambda v: -math.expm1(-math.exp(min(v, 700))), lambda v: math.exp(-math.exp(min(v, 700)))),
        "poisson": (math.exp, math.exp),
        "gaussian": (lambda v: v, lambda v: v),
    }
    if family.name not in of:  # its own mean, which is tested against its law
        of[family.name] = (lambda v: float(family.mean(f64(v))),) * 2
    mean, rest = of[family.name]
    return (lambda eta, x: mean(linear(eta, x))), (lambda eta, x: rest(linear(eta, x)))


def by_quadrature(case: Case, eta: float, of: int = 0) -> float:
    """E of the response (of = 1: of its complement) by scipy, in pieces about where the law has its mass."""
    law, at, predictor, family = case
    density, response = log_density(law, at), responses(predictor, family, law)[of]
    if law in (dist.Normal, dist.LogNormal):
        edges = at[0] + at[1] * np.linspace(-20, 20, 11)
    else:
        shape = {dist.Gamma: at[0], dist.Exponential: 1.0, dist.Weibull: at[-1]}[law]
        middle = float(law(*map(f64, at)).mean.log())
        edges = np.concatenate(
            [[middle - 45 / min(shape, 1.0), middle - 20 / min(shape, 1.0)], middle + np.linspace(-10, 4.5, 8)]
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", integrate.IntegrationWarning)
        return sum(
            integrate.quad(
                lambda x: math.exp(density(x)) * response(eta, x), low, high, epsabs=0, epsrel=1e-11, limit=100
            )[0]
            for low, high in itertools.pairwise(edges)
        )


def law_of(case: Case) -> Any:
    return case[0](*map(f64, case[1]))


TOLERANCE: dict[tuple[str, str], dict[str, float]] = {
    ("additive", "cloglog"): {"rel": 0, "abs": 1e-9},
    ("log-additive", "cloglog"): {"rel": 1e-8, "abs": 1e-9},
    ("additive", "bernoulli"): {"rel": 0, "abs": 1e-12},
}


@every_mean
@pytest.mark.parametrize("eta", ETA)
def test_means_match_quadrature(case: Case, eta: float) -> None:
    _, _, predictor, family = case
    got = float(marginal_mean(law_of(case), predictor, family, f64(eta)))
    tolerance = TOLERANCE.get((predictor.name, family.name), {"rel": 1e-8, "abs": 1e-14})
    if family.name == "cloglog" and case[1] == (6.0, 3.0) and case[0] is dist.Normal:
        tolerance = {"rel": 0, "abs": 1e-8}  # sd 1.8
    assert got == pytest.approx(by_quadrature(case, eta), **tolerance)


@every_probability
@pytest.mark.parametrize("eta", [-25.0, 0.7, 6.0])
def test_both_ends_of_a_probability_keep_their_digits(case: Case, eta: float) -> None:
    """log P and log(1 - P) to relative accuracy of P and of 1 - P, whichever is rare."""
    got = marginal_probability(law_of(case), case[2], case[3], f64(eta))
    p, rest = (by_quadrature(case, eta, of) for of in (0, 1))
    assert p + rest == pytest.approx(1, rel=1e-10)
    log_p, log_rest = (math.log1p(-other) if one > 0.5 else math.log(one) for one, other in ((p, rest), (rest, p)))
    # a log of nearly one is minus the other probability, and is compared as such
    # the rule of a Weibull leaves out 1e-10 of the law, which is more of what is rarer than that
    left_out = 1e-10 if case[0] is dist.Weibull else 0.0
    assert float(got.log) == pytest.approx(log_p, rel=1e-8, abs=1e-8 + left_out / p if p < 0.5 else left_out)
    assert float(got.log1m) == pytest.approx(log_rest, rel=1e-8, abs=1e-8 + left_out / rest if rest < 0.5 else left_out)
    assert float(got.value) == pytest.approx(p, rel=1e-8)
    mean = float(marginal_mean(law_of(case), case[2], case[3], f64(eta)))
    assert mean == pytest.approx(float(got.value), rel=1e-8, abs=1e-8)


@every_probability
def test_probabilities_and_gradients_stay_finite_and_increase(case: Case) -> None:
    """At affinities of -60 to 60, with respect to affinity, the law and what the predictor learns."""
    law = type(law_of(case))(*(x.clone().requires_grad_() for x in parameters(law_of(case))))
    _, _, predictor, family = case
    learned = {name: f64(getattr(predictor, name)).requires_grad_() for name in predictor.learned}
    used = type(predictor)(**learned)
    eta = torch.linspace(-60, 60, 25, dtype=torch.float64).requires_grad_()
    p = marginal_probability(law, used, family, eta)
    assert (p.log.diff() >= 0).all()
    assert (p.log1m.diff() <= 0).all()
    assert (p.log[:12].diff() > 0).all()
    for value in (p.log, p.log1m, p.value, marginal_mean(law, used, family, eta)):
        assert bool(value.isfinite().all())
        slopes = torch.autograd.grad(
            value.sum(), [eta, *parameters(law), *learned.values()], retain_graph=True, allow_unused=True
        )
        assert slopes[0] is not None
        assert all(bool(slope.isfinite().all()) for slope in slopes if slope is not None)


@every_mean
def test_gradients_of_means_equal_finite_differences(case: Case) -> None:
    _, at, predictor, family = case
    start = [f64(x).requires_grad_() for x in (0.4, *at)]
    assert torch.autograd.gradcheck(
        lambda eta, *law: marginal_mean(case[0](*law), predictor, family, eta), start, eps=1e-6, atol=1e-6, rtol=1e-5
    )


GRID = f64([-4.0, -0.5, 0.8, 3.0])


def test_laws_that_are_one_another_agree() -> None:
    """An Exponential is a Gamma and a Weibull of shape one; log z of a LogNormal is a Normal."""
    for predictor, family in registered(marginals._MEANS | marginals._PROBABILITIES, dist.Weibull):
        by = [
            marginal_mean(law, predictor, family, GRID)
            for law in (
                dist.Exponential(f64(0.7)), dist.Gamma(f64(1.0), f64(0.7)), dist.Weibull(1 / f64(0.7), f64(1.0)),
            )
        ]  # fmt: skip
        torch.testing.assert_close(by[0], by[1], rtol=0, atol=0)
        torch.testing.assert_close(by[0], by[2], rtol=1e-8, atol=1e-9)
    lognormal, normal = dist.LogNormal(f64(0.3), f64(0.8)), dist.Normal(f64(0.3), f64(0.8))
    for predictor, family in ((LogAdditive(), Poisson()), (LogAdditive(), Cloglog()), (Odds(), Bernoulli())):
        torch.testing.assert_close(
            marginal_mean(lognormal, predictor, family, GRID),
            marginal_mean(normal, Additive(popularity_effect=1.0), family, GRID),
            rtol=1e-12,
            atol=0,
        )


def test_predictors_that_are_one_another_agree() -> None:
    """Exponential popularity makes cloglog logistic; a ratio with midpoint 1 is the odds of no affinity."""
    for rate in (0.3, 1.0, 4.0):
        got = marginal_mean(dist.Exponential(f64(rate)), LogAdditive(), Cloglog(), GRID)
        torch.testing.assert_close(got, torch.sigmoid(GRID - math.log(rate)), rtol=1e-13, atol=0)
    for law in (dist.Gamma(f64(2.0), f64(1.5)), dist.LogNormal(f64(0.3), f64(0.8)), dist.Weibull(f64(0.6), f64(2.5))):
        odds = marginal_mean(law, Odds(), Bernoulli(), f64(0.0))
        ratio = marginal_mean(law, ProductRatio(midpoint=1.0), Bernoulli(), GRID)
        torch.testing.assert_close(ratio, torch.sigmoid(GRID) * odds, rtol=1e-8, atol=0)
        saturated = marginal_mean(law, LogAdditive(), Cloglog(), f64(math.log(SATURATION)))
        product = marginal_mean(law, ProductSaturation(saturation=SATURATION), Bernoulli(), GRID)
        torch.testing.assert_close(product, torch.sigmoid(GRID) * saturated, rtol=1e-8, atol=0)


def test_cheap_approximations_serve_only_by_name() -> None:
    """MacKay's is used by nobody but who asks for it, and no marginal answers with it (maths 9.7)."""
    cheap = [approximations.mackay, approximations.note_without_pi_over_8, approximations.probit_mixture]
    names = [m.name for m in pkgutil.walk_packages(pyrorec.models.__path__, "pyrorec.models.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith(".approximations")]
    assert len(modules) > 40
    for module in modules:
        assert not any(value is f for value in vars(module).values() for f in cheap), module.__name__
        assert module is integrals or approximations not in vars(module).values(), module.__name__
    got = float(marginal_mean(dist.Normal(f64(0.0), f64(3.0)), Additive(), Bernoulli(), f64(-10.0)))
    for f in (approximations.mackay, approximations.note_without_pi_over_8):
        assert float(f(f64(-10.0), f64(3.0))) > 3 * got


@pytest.mark.parametrize(("sd", "error"), [(1.0, 1e-13), (2.0, 1e-9), (3.0, 1e-6)])
def test_cloglog_normal_is_as_accurate_as_stated(sd: float, error: float) -> None:
    at = (0.0, sd / EFFECT)
    case: Case = (dist.Normal, at, Additive(popularity_effect=EFFECT), Cloglog())
    for eta in np.linspace(-12, 6, 10):
        got = float(marginal_mean(law_of(case), *case[2:], f64(eta)))
        assert got == pytest.approx(by_quadrature(case, float(eta)), rel=0, abs=error)


def test_laws_broadcast_over_the_last_dimension() -> None:
    law = dist.Gamma(f64([1.0, 2.0, 5.0]), f64([1.0, 4.0, 0.5]))
    eta = torch.randn(2, 3).double()
    got = marginal_mean(law, LogAdditive(), Cloglog(), eta)
    expected = 1 - (1 + eta.exp() / law.rate) ** -law.concentration
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=0)
    one = marginal_mean(dist.Gamma(f64(2.0), f64(4.0)), LogAdditive(), Cloglog(), eta)
    torch.testing.assert_close(one[:, 1], expected[:, 1], rtol=1e-13, atol=0)


def test_no_popularity_and_known_popularity() -> None:
    eta = f64([-1.0, 0.5])
    torch.testing.assert_close(marginal_mean(None, Plain(), Poisson(), eta), eta.exp())
    at = marginal_mean(dist.Delta(f64([2.0, 3.0])), LogAdditive(), Poisson(), eta)
    torch.testing.assert_close(at, f64([2.0, 3.0]) * eta.exp())


def test_a_missing_combination_names_the_remedy() -> None:
    with pytest.raises(NotImplementedError, match=r"no marginal of Gamma popularity under additive.*SetPopularity"):
        marginal_mean(dist.Gamma(f64(1.0), f64(1.0)), Additive(), Poisson(), f64(0.0))
    with pytest.raises(NotImplementedError, match="no marginal of Normal popularity under product-tanh"):
        marginal_mean(dist.Normal(f64(0.0), f64(1.0)), ProductTanh(), Bernoulli(), f64(0.0))
    with pytest.raises(NotImplementedError, match="no marginal of Gamma popularity under log-additive poisson"):
        marginal_probability(dist.Gamma(f64(1.0), f64(1.0)), LogAdditive(), Poisson(), f64(0.0))


def golden(shared: Path, name: str) -> list[tuple[dict[str, float], float]]:
    entries = json.loads((shared / "golden" / "golden_public.json").read_text())["entries"]
    return [(e["params"], e["value"]) for e in entries if e["name"] == name]


def test_logistic_normal_golden_values(shared: Path) -> None:
    entries = golden(shared, "logistic_normal")
    mean, sd = f64([p["mu"] for p, _ in entries]), f64([p["s"] for p, _ in entries])
    np.testing.assert_allclose(logistic_normal(mean, sd), [v for _, v in entries], rtol=0, atol=1.5e-14)
    for p, v in entries:  # narrow and wide alone, not only mixed
        assert float(logistic_normal(f64(p["mu"]), f64(p["s"]))) == pytest.approx(v, rel=0, abs=1.5e-14)


def test_cloglog_gamma_golden_values(shared: Path) -> None:
    entries = golden(shared, "cloglog_gamma")
    assert entries
    for p, v in entries:
        law = dist.Gamma(f64(p["alpha"]), f64(p["beta"]))
        assert float(gamma_cloglog(law, LogAdditive(), Cloglog(), f64(p["a"]))) == pytest.approx(v, rel=1e-10)


MEANS = torch.linspace(-8, 8, 33, dtype=torch.float64)
by_sd = pytest.mark.parametrize("sd", [0.0, 0.05, 0.7, 1.49, 1.51, 3.0, 10.0])


@by_sd
def test_logistic_normal_is_symmetric_and_increasing(sd: float) -> None:
    value = logistic_normal(MEANS, f64(sd))
    np.testing.assert_allclose(value + logistic_normal(-MEANS, f64(sd)), 1.0, rtol=0, atol=2e-14)
    assert float(logistic_normal(f64(0.0), f64(sd))) == pytest.approx(0.5, rel=0, abs=1e-14)
    assert (value.diff() > 0).all()


@pytest.mark.parametrize("sd", [0.3, 1.0, 1.49, 1.51, 2.5])
def test_logistic_normal_reflection(sd: float) -> None:
    """L(-mu, s) = exp(-mu + s^2 / 2) L(mu - s^2, s): relates values on either side of the switch of rules."""
    mu = torch.linspace(-3, 6, 19, dtype=torch.float64)
    left = logistic_normal(-mu, f64(sd))
    factor = torch.exp(-mu + 0.5 * sd**2)
    right = factor * logistic_normal(mu - sd**2, f64(sd))
    np.testing.assert_allclose(left, right, rtol=0, atol=1e-13 * max(1.0, float(factor.max())))


@pytest.mark.parametrize("sd", [0.4, 1.2, 2.0, 6.0])
def test_logistic_normal_derivatives(sd: float) -> None:
    """dL/d mu = E sigma', dL/d(s^2) = E sigma'' / 2."""
    mean, scale = f64([-2.0, 0.3, 1.7]).requires_grad_(), f64([sd] * 3).requires_grad_()
    by_mean, by_scale = torch.autograd.grad(logistic_normal(mean, scale).sum(), [mean, scale])
    x = torch.linspace(-60, 60, 120_001, dtype=torch.float64).numpy()
    up, down = special.expit(x), special.expit(-x)
    for i, m in enumerate(mean.tolist()):
        weight = stats.norm.pdf(x, m, sd) * (x[1] - x[0])
        assert float(by_mean[i]) == pytest.approx(weight @ (up * down), abs=1e-9)
        assert float(by_scale[i]) == pytest.approx(sd * (weight @ (up * down * (down - up))), abs=1e-9)


def test_the_two_rules_of_the_logistic_normal_meet() -> None:
    below, above = (logistic_normal(MEANS, f64(s)) for s in (1.5 - 1e-9, 1.5 + 1e-9))
    np.testing.assert_allclose(below, above, rtol=0, atol=1e-9)
    mixed = logistic_normal(f64([0.4, 0.4]), f64([1.0, 2.0]))
    apart = torch.stack([logistic_normal(f64(0.4), f64(s)) for s in (1.0, 2.0)])
    assert torch.equal(mixed, apart)


@pytest.mark.parametrize("shape", [1e-3, 0.05, 0.7, 1.0, 3.0, 40.0, 1e3, 1e5])
@pytest.mark.parametrize("mean", [1e-4, 1.0, 300.0])
def test_match_gamma_recovers_the_gamma(shape: float, mean: float) -> None:
    mean_log = special.digamma(shape) - np.log(shape / mean)
    got = match_gamma(f64(mean), f64(mean_log))
    gap = np.log(mean) - mean_log
    root = optimize.brentq(
        lambda t: t - special.digamma(np.exp(t)) - gap, np.log(shape) - 2, np.log(shape) + 2, xtol=1e-13
    )
    # the gap log E z - E log z, near 1 / (2 shape), carries the rounding of its two terms
    noise = 1e-13 * (1 + abs(np.log(mean))) / gap
    assert float(got.concentration) == pytest.approx(np.exp(root), rel=1e-9 + 10 * noise)
    assert float(got.concentration) == pytest.approx(shape, rel=1e-9 + 10 * noise)
    assert float(got.mean) == pytest.approx(mean, rel=1e-12)
