"""Moments, entropies, population laws and closed-form likelihoods against quadrature, draws and identities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate, special, stats

from pyrorec.models import closed_forms as cf
from pyrorec.models import distributions
from pyrorec.models.distributions import Exponential, InverseGaussian, LogNormal, PopularityDistribution, Scale
from pyrorec.models.moments import entropy, log_mean_power, mean_log, mean_power, variance_log

LAWS: dict[str, tuple[Any, tuple[float, ...], Any]] = {
    "gamma": (dist.Gamma, (2.3, 0.7), stats.gamma(2.3, scale=1 / 0.7)),
    "small gamma": (dist.Gamma, (0.3, 4.0), stats.gamma(0.3, scale=1 / 4.0)),
    "large gamma": (dist.Gamma, (500.0, 20.0), stats.gamma(500.0, scale=1 / 20.0)),
    "exponential": (dist.Exponential, (1.7,), stats.expon(scale=1 / 1.7)),
    "lognormal": (dist.LogNormal, (0.4, 0.8), stats.lognorm(0.8, scale=np.exp(0.4))),
    "weibull": (dist.Weibull, (0.9, 1.6), stats.weibull_min(1.6, scale=0.9)),
    "inverse gaussian": (InverseGaussian, (1.4, 0.6), stats.invgauss(1.4 / 0.6, scale=0.6)),
    "narrow inverse gaussian": (InverseGaussian, (1.4, 60.0), stats.invgauss(1.4 / 60, scale=60.0)),
}
LEAST_POWER = {"small gamma": -0.3, "exponential": -1.0}  # E z^r exists only above
every_law = pytest.mark.parametrize("name", list(LAWS))


def f64(x: Any) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def law(name: str, dtype: torch.dtype = torch.float64) -> Any:
    kind, parameters, _ = LAWS[name]
    return kind(*(torch.tensor(x, dtype=dtype) for x in parameters))


def mean_of(function: Callable[[float], float], density: Any) -> float:
    """E f(z) by quadrature in t = log z."""
    middle = np.log(density.median())
    low, high = (middle + 2.2 * (np.log(density.ppf(p)) - middle) for p in (1e-14, 1 - 1e-14))

    def integrand(t: float) -> float:
        return np.exp(density.logpdf(np.exp(t)) + t) * function(t)

    parts = itertools.pairwise([low, middle, high])
    return sum(integrate.quad(integrand, *part, limit=400, epsabs=1e-14, epsrel=1e-12)[0] for part in parts)


@every_law
@pytest.mark.parametrize("power", [-1.0, -0.2, 0.0, 0.4, 1.0, 2.0])
def test_powers(name: str, power: float) -> None:
    density = LAWS[name][2]
    if isinstance(law(name), InverseGaussian) and power not in (-1, 0, 1, 2):
        with pytest.raises(NotImplementedError, match=r"E z\^.* of InverseGaussian"):
            mean_power(law(name), power)
        return
    if power <= LEAST_POWER.get(name, -math.inf):
        assert float(mean_power(law(name), power)) == math.inf
        return
    got = float(mean_power(law(name), power))
    assert got == pytest.approx(mean_of(lambda t: np.exp(power * t), density), rel=1e-9)
    assert float(log_mean_power(law(name), power)) == pytest.approx(np.log(got), abs=1e-14)


@every_law
def test_moments_of_the_logarithm(name: str) -> None:
    density = LAWS[name][2]
    mean = mean_of(lambda t: t, density)
    assert float(mean_log(law(name))) == pytest.approx(mean, rel=1e-9, abs=1e-11)
    variance = mean_of(lambda t: (t - mean) ** 2, density)
    rel = 1e-6 if isinstance(law(name), InverseGaussian) else 1e-9  # by the law's rule, and in closed form
    assert float(variance_log(law(name))) == pytest.approx(variance, rel=rel)


@every_law
def test_entropies(name: str) -> None:
    assert float(entropy(law(name))) == pytest.approx(float(LAWS[name][2].entropy()), rel=1e-8)
    if hasattr(law(name), "entropy") and not isinstance(law(name), InverseGaussian):
        assert float(entropy(law(name))) == pytest.approx(float(law(name).entropy()), rel=1e-9)


@every_law
def test_moments_agree_with_draws(name: str) -> None:
    one = law(name)
    z = one.sample((20_000,))
    for value, draws in ((mean_power(one, 1.0), z), (mean_log(one), z.log()), (entropy(one), -one.log_prob(z))):
        assert abs(float(draws.mean() - value)) < 4 * float(draws.std()) / len(z) ** 0.5


def test_a_point() -> None:
    at = dist.Delta(f64([0.5, 3.0]))
    torch.testing.assert_close(mean_power(at, 2.0), f64([0.25, 9.0]))
    torch.testing.assert_close(mean_log(at), f64([0.5, 3.0]).log())
    assert not variance_log(at).any()
    with pytest.raises(NotImplementedError, match="the entropy of Delta has no closed form here: register"):
        entropy(at)


@every_law
def test_slopes_and_dtypes(name: str) -> None:
    kind, parameters, _ = LAWS[name]
    functions: list[Callable[[Any], torch.Tensor]] = [lambda q: mean_power(q, 1.0), mean_log, entropy]
    functions += [variance_log] if kind in (dist.Gamma, dist.LogNormal, dist.Weibull) else []
    for function in functions:
        x = f64(parameters).requires_grad_()
        (slope,) = torch.autograd.grad(function(kind(*x.unbind())), x, allow_unused=True)
        for i in range(len(parameters)):
            h = torch.zeros_like(x)
            h[i] = 1e-5 * abs(parameters[i])
            with torch.no_grad():
                up, down = (function(kind(*(x + sign * h).unbind())) for sign in (1, -1))
            assert float(slope[i]) == pytest.approx(float((up - down) / (2 * h[i])), rel=1e-6, abs=1e-8)
        single = function(law(name, torch.float32))
        assert single.dtype == torch.float32
        assert float(single) == pytest.approx(float(function(law(name))), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "extremes"),
    [
        (dist.Gamma, [(1e-3, 1e-6), (1e-3, 1e6), (1e5, 1e-6), (1e5, 1e6)]),
        (dist.Exponential, [(1e-6,), (1e6,)]),
        (dist.LogNormal, [(-5.0, 1e-4), (5.0, 10.0)]),
        (dist.Weibull, [(1e-6, 0.05), (1e6, 20.0)]),
        (InverseGaussian, [(1e-6, 1e5), (1e6, 1e-3)]),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_finite_at_extremes(kind: Any, extremes: list[tuple[float, ...]]) -> None:
    for parameters in extremes:
        for function in (mean_log, entropy, lambda q: log_mean_power(q, 1.0)):
            leaves = [f64(x).requires_grad_() for x in parameters]
            value = function(kind(*leaves))
            slopes = [s for s in torch.autograd.grad(value, leaves, allow_unused=True) if s is not None]
            assert bool(value.isfinite())
            assert slopes
            assert all(bool(s.isfinite()) for s in slopes)


def test_gamma_entropy_of_large_shapes_is_normal() -> None:
    a = 1e5
    assert float(entropy(dist.Gamma(f64(a), f64(1.0)))) == pytest.approx(
        0.5 * np.log(2 * np.pi * np.e * a) - 1 / (3 * a), abs=1e-10
    )


def test_powers_broadcast_and_carry_their_slope() -> None:
    power = f64([0.5, 1.0, 2.0]).requires_grad_()
    one = dist.Gamma(f64([[1.0], [3.0]]), f64(2.0))
    got = log_mean_power(one, power)
    assert got.shape == (2, 3)
    (slope,) = torch.autograd.grad(got.sum(), power)
    expected = (torch.digamma(one.concentration + power.detach()) - np.log(2)).sum(0)
    torch.testing.assert_close(slope, expected)


POPULATIONS = [Exponential(), LogNormal(sd=0.7), distributions.Gamma(shape=0.4)]


@pytest.mark.parametrize("component", POPULATIONS, ids=lambda c: c.name)
def test_populations_on_the_rate_scale_have_mean_one(component: PopularityDistribution) -> None:
    one = component.population(f64(0.0))
    assert component.scale is Scale.RATE
    assert one.batch_shape == ()
    assert one.mean.dtype == torch.float64
    assert float(one.mean) == pytest.approx(1, rel=1e-7)
    assert component.population().mean.dtype == torch.float32
    assert PopularityDistribution.registry.build(component.to_dict()) == component


def test_variance_of_the_lognormal_population() -> None:
    assert float(LogNormal(sd=0.7).population().variance) == pytest.approx(np.expm1(0.49), rel=1e-6)
    assert LogNormal.learned == ("sd",)
    assert Exponential.learned == ()


@pytest.mark.parametrize(("shape", "rate", "exposure"), [(0.3, 2.0, 5.0), (4.0, 0.1, 0.3), (900.0, 30.0, 2.0)])
def test_negative_binomial_sums_to_one_and_matches_scipy(shape: float, rate: float, exposure: float) -> None:
    k = np.arange(4000.0)
    got = cf.negbin_log_prob(f64(k), shape, rate, exposure)
    assert float(got.exp().sum()) == pytest.approx(1, abs=1e-10)
    np.testing.assert_allclose(got, stats.nbinom(shape, rate / (rate + exposure)).logpmf(k), rtol=1e-9, atol=1e-9)


def test_negative_binomial_of_large_counts_is_normal_at_its_mode() -> None:
    """Terms of 1e8 cancel in the textbook form; here the ratio of neighbours is kept to twelve digits."""
    k, shape, rate, exposure = 10_000_000.0, 1e5, 3.0, 300.0
    at, after = (float(cf.negbin_log_prob(f64(n), shape, rate, exposure)) for n in (k, k + 1))
    step = np.log1p((shape - 1) / (k + 1)) + np.log(exposure / (rate + exposure))
    assert after - at == pytest.approx(step, rel=1e-6, abs=1e-12)
    variance = shape * exposure / rate * (1 + exposure / rate)
    assert at == pytest.approx(-0.5 * np.log(2 * np.pi * variance), abs=1e-4)


def expected_by_quadrature(count: float, eta: float, effect: float, density: Any, log: bool) -> float:
    def term(t: float) -> float:
        x = eta + effect * (t if log else np.exp(t))
        return count * x - np.exp(x)

    return mean_of(term, density)


@pytest.mark.parametrize("count", [0.0, 3.0, 40.0])
@pytest.mark.parametrize("effect", [-0.5, 0.3])
def test_expected_poisson_terms(count: float, effect: float) -> None:
    eta = 0.4
    gamma, lognormal = stats.gamma(2.3, scale=1 / 0.9), stats.lognorm(0.8, scale=np.exp(0.2))
    for got, density, log in (
        (cf.expected_poisson_gamma(count, eta, effect, 2.3, 0.9), gamma, False),
        (cf.expected_poisson_log_gamma(count, eta, effect, 2.3, 0.9), gamma, True),
        (cf.expected_poisson_normal(count, eta, effect, 0.2, 0.8), lognormal, True),
    ):
        assert float(got) == pytest.approx(expected_by_quadrature(count, eta, effect, density, log), rel=1e-9)


def test_expected_poisson_terms_that_do_not_exist() -> None:
    rate = f64([1.0, 2.0, 5.0]).requires_grad_()
    value = cf.log_poisson_rate_gamma(0.0, 2.0, 1.5, rate)
    assert value.isinf().tolist() == [True, True, False]
    (slope,) = torch.autograd.grad(value[2], rate)
    assert bool(slope.isfinite().all())
    assert cf.expected_poisson_gamma(3.0, 0.0, 2.0, 1.5, 1.0) == -math.inf
    assert cf.expected_poisson_log_gamma(3.0, 0.0, -2.0, 1.5, 1.0) == -math.inf
    assert cf.log_mean_exp_dot(0.0, 1.0, 0.0, 1.0) == math.inf


@pytest.mark.parametrize(("shape", "rate"), [(0.5, 1.0), (3.0, 10.0), (40.0, 20.0)])
@pytest.mark.parametrize("eta", [-8.0, -1.0, 1.0])
def test_conjugate_click_bound_is_a_bound(eta: float, shape: float, rate: float) -> None:
    """Below E log(1 - exp(-z e^eta)), and the textbook's number."""
    got = float(cf.conjugate_click_bound(eta, shape, rate))
    density = stats.gamma(shape, scale=1 / rate)
    exact = mean_of(lambda t: np.log(-np.expm1(-np.exp(t + eta))), density)
    rho = np.exp(eta + special.psi(shape) - np.log(rate))
    assert got < exact
    assert got == pytest.approx(np.log(np.expm1(rho)) - np.exp(eta) * shape / rate, rel=1e-10)


def test_conjugate_click_bound_at_extremes() -> None:
    shape = f64([1e-3, 1e5]).requires_grad_()
    value = cf.conjugate_click_bound(-20.0, shape, f64([1e6, 1e-6]))
    assert bool(value.isfinite().all())
    assert bool(torch.autograd.grad(value.sum(), shape)[0].isfinite().all())
    assert float(value[0].detach()) == pytest.approx(-20 + special.psi(1e-3) - np.log(1e6), rel=1e-12)


def given_first(m: float, sd: float, n: float, other: float) -> float:
    """E exp(x y) through E [exp(x y) | x] = exp(n x + other^2 x^2 / 2)."""
    return integrate.quad(
        lambda x: stats.norm.pdf(x, m, sd) * np.exp(n * x + 0.5 * (other * x) ** 2), -15, 15, epsabs=1e-13, epsrel=1e-12
    )[0]


def test_mean_exponential_of_a_dot_product() -> None:
    a, s, b, t = ([0.3, -1.0], [0.5, 0.8], [0.7, 0.2], [0.9, 0.4])
    expected = 0.0
    for m, sd, n, other in zip(a, s, b, t, strict=True):
        expected += np.log(given_first(m, sd, n, other))
    assert float(cf.log_mean_exp_dot(f64(a), f64(s), f64(b), f64(t))) == pytest.approx(expected, rel=1e-10)


def test_closed_forms_keep_the_dtype() -> None:
    x = torch.tensor([0.5, 2.0])
    assert cf.negbin_log_prob(torch.tensor([0, 4]), x, x, 1.0).dtype == torch.float32
    assert cf.log_poisson_rate_normal(x, 1.0, 0.0, 1.0).dtype == torch.float32
    assert cf.conjugate_click_bound(x.double(), 1.0, 1.0).dtype == torch.float64
