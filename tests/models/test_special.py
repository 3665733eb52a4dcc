"""Special functions against scipy, identities and limits, with their slopes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special

from pyrorec.models.excess import lgamma_excess, stirling_excess
from pyrorec.models.families.cloglog import log1mexp as through_the_family
from pyrorec.models.special import (
    common_dtype,
    deviance,
    digamma_remainder,
    lgamma_difference,
    log1mexp,
    log_deviance,
    phi1_ratio,
    scaled_expint,
    stirling_remainder,
    trigamma,
)

SHAPES = torch.logspace(-3, 5, 161, dtype=torch.float64)
FUNCTIONS: dict[str, tuple[Callable[..., torch.Tensor], int]] = {
    f.__name__: (f, arguments)
    for f, arguments in (
        (stirling_remainder, 1),
        (digamma_remainder, 1),
        (trigamma, 1),
        (scaled_expint, 1),
        (log1mexp, 1),
        (lgamma_difference, 2),
        (phi1_ratio, 2),
        (deviance, 2),
        (log_deviance, 2),
        (lgamma_excess, 2),
        (stirling_excess, 2),
    )
}
every = pytest.mark.parametrize("name", list(FUNCTIONS))


def f64(x: Any) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def test_phi1_keeps_its_digits_at_one_and_far_from_it() -> None:
    for d in (1e-12, -1e-9, 1e-6, -1e-3, 0.019, 0.0999):
        series = d**2 * sum((-d) ** k / (k + 2) for k in range(40))
        den = 1024.0  # a power of two: numerator and denominator differ by exactly d
        assert float(phi1_ratio(den + den * d, den)) == pytest.approx(series, rel=1e-15 / abs(d) + 1e-14)
    for x in (1e-11, 0.3, 0.89, 1.12, 7.0, 1e11):
        assert float(phi1_ratio(x, 1.0)) == pytest.approx(x - 1 - np.log(x), rel=1e-13)
    assert float(phi1_ratio(3.0, 3.0)) == 0.0


def test_a_distance_formed_before_the_ratio() -> None:
    """One unit in the last place apart: phi1 is half its square, where a rounded ratio would keep no digit."""
    below = 0.1
    above = np.nextafter(below, 1)
    assert float(phi1_ratio(above, below)) == pytest.approx(0.5 * ((above - below) / below) ** 2, rel=1e-12)


def test_deviances_agree_with_each_other_beyond_the_range_of_floats() -> None:
    x, log_mean = f64([1e-3, 1.0, 8.0, 1e5]), f64([-3.0, 0.02, 2.0, 12.0])
    torch.testing.assert_close(log_deviance(x, log_mean), deviance(x, log_mean.exp()), rtol=1e-11, atol=0)
    assert float(log_deviance(2.0, -1e4)) == pytest.approx(2 * (1e4 + np.log(2) - 1), rel=1e-14)


def test_remainders_of_stirling() -> None:
    a = SHAPES.numpy()
    expected = special.gammaln(a) - ((a - 0.5) * np.log(a) - a + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(stirling_remainder(SHAPES), expected, rtol=1e-12, atol=4e-10)
    a = f64([1e3, 1e5, 1e8])
    np.testing.assert_allclose(stirling_remainder(a), 1 / (12 * a) - 1 / (360 * a**3), rtol=1e-14)
    np.testing.assert_allclose(digamma_remainder(a), -1 / (12 * a**2) + 1 / (120 * a**4), rtol=1e-12)
    # the recurrence, which knows nothing of the series: R(a) - R(a + 1) = (a + 1/2) log(1 + 1/a) - 1
    a = torch.linspace(0.01, 20, 200, dtype=torch.float64)
    step = (a + 0.5) * torch.log1p(1 / a) - 1
    torch.testing.assert_close(stirling_remainder(a) - stirling_remainder(a + 1), step, rtol=0, atol=1e-14)
    step = torch.log1p(1 / a) - 0.5 / a - 0.5 / (a + 1)
    torch.testing.assert_close(digamma_remainder(a) - digamma_remainder(a + 1), step, rtol=1e-14, atol=1e-14)


def test_trigamma_keeps_all_digits() -> None:
    np.testing.assert_allclose(trigamma(SHAPES), special.polygamma(1, SHAPES.numpy()), rtol=1e-14)


@pytest.mark.parametrize("g", [1e-9, 1e-3, 0.5, 3.0, 1e4])
def test_differences_of_lgamma(g: float) -> None:
    """Against a product where the step is whole, and the derivative where it is small."""
    a, got = SHAPES.numpy(), lgamma_difference(SHAPES, g)
    if g == 3.0:
        np.testing.assert_allclose(got, np.log(a * (a + 1) * (a + 2)), rtol=1e-13, atol=1e-13)
    if g == 1e-9:
        np.testing.assert_allclose(got, g * special.psi(a + g / 2), rtol=1e-11, atol=1e-17)
    np.testing.assert_allclose(got, special.gammaln(a + g) - special.gammaln(a), rtol=1e-10, atol=1e-9)
    back = lgamma_difference(SHAPES + g, -g)
    np.testing.assert_allclose(back, -got, rtol=1e-12, atol=1e-13 if g > 1e-6 else 1e-11)


def test_excess_of_lgamma() -> None:
    a, b = f64([0.02, 0.7, 3.0, 9.0, 150.0]), f64([0.9, 0.1, 40.0, 8.5, 20.0])
    textbook = torch.lgamma(a) - torch.lgamma(b) - (a - b) * torch.digamma(b)
    np.testing.assert_allclose(lgamma_excess(a, b), textbook, rtol=1e-12)
    entropic = torch.special.xlogy(a, a / b) - a + b
    np.testing.assert_allclose(stirling_excess(a, b), textbook - entropic, rtol=1e-11)


@pytest.mark.parametrize("function", [lgamma_excess, stirling_excess])
def test_excess_near_equality_is_half_the_curvature(function: Callable[..., torch.Tensor]) -> None:
    d = 2.0**-20
    curvature = trigamma(SHAPES) - (1 / SHAPES if function is stirling_excess else 0)
    expected = 0.5 * (SHAPES * d) ** 2 * curvature
    np.testing.assert_allclose(function(SHAPES * (1 + d), SHAPES), expected, rtol=1e-5)
    assert not function(SHAPES, SHAPES).any()


def test_excess_is_continuous_where_its_forms_meet() -> None:
    for b in (8.0, 0.5):
        edges = [8.0, b * 1.1, b / 1.1] if b == 8.0 else [b * 1.1, b / 1.1]
        for edge in edges:
            below, above = edge * (1 - 1e-13), edge * (1 + 1e-13)
            for function in (lgamma_excess, stirling_excess):
                assert float(function(below, b)) == pytest.approx(float(function(above, b)), rel=1e-10, abs=1e-24)


def test_scaled_expint() -> None:
    x = torch.logspace(-12, 12, 200, dtype=torch.float64)
    small, large = x[x < 100], x[x > 100]
    np.testing.assert_allclose(scaled_expint(small), special.exp1(small.numpy()) * np.exp(small.numpy()), rtol=1e-13)
    asymptotic = sum((-1) ** k * float(special.factorial(k)) / large ** (k + 1) for k in range(12))
    np.testing.assert_allclose(scaled_expint(large), asymptotic, rtol=1e-13)


def test_log1mexp_is_one_function_under_two_names() -> None:
    assert through_the_family is log1mexp
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-14)):
        x = torch.tensor([1e-30, 1e-8, 0.3, 0.6931, 0.7, 5.0, 80.0], dtype=dtype)
        exact = np.log(-np.expm1(-x.double().numpy()))
        exact[-1] = -np.exp(-80.0)
        assert log1mexp(x).dtype == dtype
        np.testing.assert_allclose(log1mexp(x).double(), exact, rtol=tolerance)


def arguments(name: str, dtype: torch.dtype) -> list[torch.Tensor]:
    """A grid of positive arguments over every regime."""
    grid = torch.tensor([1e-3, 0.09, 1.0, 1.05, 7.9, 8.1, 300.0, 1e5], dtype=dtype)
    if FUNCTIONS[name][1] == 1:
        return [grid.requires_grad_()]
    first, second = torch.meshgrid(grid, grid * 1.01, indexing="ij")
    second = second.log() if name == "log_deviance" else second
    return [first.clone().requires_grad_(), second.clone().requires_grad_()]


@every
def test_slopes_match_differences(name: str) -> None:
    function, _ = FUNCTIONS[name]
    at = arguments(name, torch.float64)
    slopes = torch.autograd.grad(function(*at).sum(), at)
    for i, (x, slope) in enumerate(zip(at, slopes, strict=True)):
        assert bool(slope.isfinite().all())
        h = 1e-5 * x.detach().abs()
        with torch.no_grad():
            up, down = (function(*(y + sign * h if j == i else y for j, y in enumerate(at))) for sign in (1, -1))
            size = torch.stack([y.exp() if name == "log_deviance" and j else y for j, y in enumerate(at)]).amax(0)
        assert bool(((up - down) / (2 * h) - slope).abs().le(1e-6 * slope.abs() + 1e-10 + 1e-14 * size / h).all())


@every
def test_slopes_are_themselves_differentiable(name: str) -> None:
    function, _ = FUNCTIONS[name]
    at = arguments(name, torch.float64)
    (slope,) = torch.autograd.grad(function(*at).sum(), at[0], create_graph=True)
    curvature = torch.autograd.grad(slope.sum(), at)
    assert all(bool(c.isfinite().all()) for c in curvature)


@every
def test_single_precision_in_single_precision_out(name: str) -> None:
    function, _ = FUNCTIONS[name]
    single = arguments(name, torch.float32)
    got = function(*single)
    assert got.dtype == torch.float32
    exact = function(*(x.detach().double() for x in single))
    np.testing.assert_allclose(got.detach(), exact, rtol=2e-6 if name == "log1mexp" else 2e-7, atol=1e-40)
    slopes = torch.autograd.grad(got.sum(), single)
    assert all(bool(s.isfinite().all()) and s.dtype == torch.float32 for s in slopes)


def test_dtypes() -> None:
    one = torch.ones(())
    assert common_dtype(1.0, 2) == torch.float64
    assert common_dtype(one, 2.0) == torch.float32
    assert common_dtype(one, one.double()) == torch.float64
    assert common_dtype(one.long(), one) == torch.float32
    assert common_dtype(one.long()) == torch.float32
