"""Integrals over laws of popularity against adaptive quadrature, identities, draws and finite differences."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate, special

from pyrorec.models.distributions.inverse_gaussian import InverseGaussian
from pyrorec.models.integrals import approximations, gamma, gamma_logs, inverse_gaussian, lognormal, normal
from pyrorec.models.integrals.normal_nodes import LOGISTIC, nodes
from pyrorec.models.integrals.probability import LogProbability
from pyrorec.models.integrals.saturation import tilted_log_saturation

GAMMAS = [(0.08, 0.3), (0.6, 2.0), (1.0, 0.01), (3.5, 40.0), (60.0, 1.5)]
LOGNORMALS = [(-1.5, 0.01), (0.4, 0.6), (2.0, 1.4), (-0.7, 4.0)]
SDS = [1e-4, 0.3, 1.0, 2.5, 10.0]


def f64(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def softplus(x: Any) -> Any:
    return np.logaddexp(0, x)


def over_gamma(f: Callable[[float], float], shape: float, rate: float) -> float:
    """E f(z) by scipy in pieces of log z."""
    norm = shape * math.log(rate) - special.gammaln(shape)
    low, high = math.log(shape / rate) - 40 / min(shape, 1) - 3, math.log((shape + 40 + 8 * shape**0.5) / rate)

    def at(t: float) -> float:
        return math.exp(norm + shape * t - rate * math.exp(t)) * f(math.exp(t))

    edges = np.linspace(low, high, 2 + int((high - low) / 4) * (1 + int(shape > 10) * 4))
    return in_pieces(at, edges)


def over_normal(f: Callable[[float], float], mean: float, sd: float) -> float:
    """E f(x) by scipy in pieces of x."""
    edges = mean + sd * np.linspace(-16, 16, 65)

    def at(x: float) -> float:
        return math.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi)) * f(x)

    return in_pieces(at, edges)


def in_pieces(f: Callable[[float], float], edges: np.ndarray) -> float:
    """By adaptive quadrature between the edges; a piece that is lost in rounding warns, and counts for nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", integrate.IntegrationWarning)
        return sum(integrate.quad(f, a, b, epsabs=0, epsrel=1e-11)[0] for a, b in itertools.pairwise(edges))


def unmatched(eta: float, x: float) -> float:
    """log(1 - h (1 - e^-x)), h = sigma(eta), by the two forms of maths 5."""
    clicked = -special.expit(eta) * math.expm1(-x)
    return math.log1p(-clicked) if clicked < 0.5 else float(softplus(eta - x) - softplus(eta))


def log_saturation(x: float) -> float:
    return math.log1p(-math.exp(-x)) if x > 0.7 else math.log(-math.expm1(-x))


def close(got: torch.Tensor, wanted: float, rel: float = 1e-9) -> None:
    assert float(got) == pytest.approx(wanted, rel=rel, abs=0)


def both(got: LogProbability, p: float, q: float) -> None:
    """Both logs against a probability and its complement, each integrated by itself."""
    close(got.log.exp(), p)
    close(got.log1m.exp(), q)
    close(got.value, p)
    close(got.complement.value, q)


@pytest.mark.parametrize(("shape", "rate"), GAMMAS)
@pytest.mark.parametrize("lam", [1e-3, 1.0, 300.0])
def test_gamma_probabilities(shape: float, rate: float, lam: float) -> None:
    args = f64(shape), f64(rate)
    none = over_gamma(lambda z: math.exp(-lam * z), shape, rate)
    some = over_gamma(lambda z: -math.expm1(-lam * z), shape, rate)
    both(gamma.saturation(*args, f64(lam)), some, none)
    both(gamma.cloglog(math.log(lam), *args), some, none)
    odds = over_gamma(lambda z: z / (z + lam), shape, rate), over_gamma(lambda z: lam / (z + lam), shape, rate)
    both(gamma.ratio(*args, f64(lam)), *odds)
    both(gamma.odds(-math.log(lam), *args), *odds)


@pytest.mark.parametrize(("shape", "rate"), GAMMAS)
@pytest.mark.parametrize(("eta", "effect"), [(-30.0, 0.7), (-2.0, 3.0), (0.5, -1.3), (20.0, -0.2), (4.0, 0.01)])
def test_gamma_logistic(shape: float, rate: float, eta: float, effect: float) -> None:
    up = over_gamma(lambda z: special.expit(eta + effect * z), shape, rate)
    down = over_gamma(lambda z: special.expit(-eta - effect * z), shape, rate)
    both(gamma.logistic(f64(eta), f64(effect), f64(shape), f64(rate)), up, down)


@pytest.mark.parametrize(("shape", "rate"), GAMMAS)
@pytest.mark.parametrize("lam", [1e-2, 1.0, 100.0])
def test_gamma_expected_logs(shape: float, rate: float, lam: float) -> None:
    args = f64(shape), f64(rate), f64(lam)
    close(gamma_logs.log_saturation(*args), over_gamma(lambda z: log_saturation(lam * z), shape, rate))
    close(gamma_logs.log_ratio(*args), over_gamma(lambda z: -math.log1p(lam / z), shape, rate))
    close(gamma_logs.log1p_over(*args), over_gamma(lambda z: math.log1p(z / lam), shape, rate))
    for eta in (-20.0, -1.0, 6.0, 25.0):
        wanted = over_gamma(lambda z, eta=eta: unmatched(eta, lam * z), shape, rate)
        close(gamma_logs.log_one_minus_match_saturation(eta, *args), wanted)
        wanted = over_gamma(lambda z, eta=eta: unmatched(eta, math.log1p(z / lam)), shape, rate)
        close(gamma_logs.log_one_minus_match_ratio(eta, *args), wanted)


@pytest.mark.parametrize("c", [1e-6, 0.0199, 0.0201, 1.0, 5e4])
def test_exponential_is_the_gamma_of_shape_one(c: float) -> None:
    close(gamma_logs.log_saturation_exponential(f64(c), 1.0), float(gamma_logs.log_saturation(1.0, f64(c), 1.0)), 1e-11)
    if c < 500:  # 1 - G = x e^x E1(x)
        close(gamma.ratio(1.0, f64(c), 1.0).log1m, math.log(c) + math.log(special.exp1(c)) + c)


@pytest.mark.parametrize(("mean", "sd"), LOGNORMALS)
@pytest.mark.parametrize("lam", [1e-3, 1.0, 50.0])
def test_lognormal(mean: float, sd: float, lam: float) -> None:
    args = f64(mean), f64(sd), f64(lam)

    def over(f: Callable[[float], float]) -> float:
        return over_normal(lambda x: f(math.exp(x)), mean, sd)

    some, none = over(lambda z: -math.expm1(-lam * z)), over(lambda z: math.exp(-lam * z))
    both(lognormal.saturation(*args), some, none)
    ratio = over(lambda z: z / (z + lam)), over(lambda z: lam / (z + lam))
    both(lognormal.ratio(*args), *ratio)
    both(lognormal.odds(-math.log(lam), f64(mean), f64(sd)), *ratio)
    close(lognormal.log_ratio(*args), over(lambda z: -math.log1p(lam / z)))
    close(lognormal.log_saturation(*args), over(lambda z: log_saturation(lam * z)))
    for eta in (-3.0, 6.0, 25.0):
        wanted = over(lambda z, eta=eta: unmatched(eta, lam * z))
        close(lognormal.log_one_minus_match_saturation(eta, *args), wanted)
        wanted = over(lambda z, eta=eta: unmatched(eta, math.log1p(z / lam)))
        close(lognormal.log_one_minus_match_ratio(eta, *args), wanted)


def test_far_tails_keep_relative_accuracy() -> None:
    """Deep in a tail the logistic is an exponential, whose average is exact."""
    close(normal.log_logistic_normal(f64(-60.0), f64(0.5)), -60 + 0.125, 1e-15)
    close(normal.log_logistic_normal(f64(60.0), f64(0.5)).neg().log(), -60 + 0.125, 1e-13)
    close(normal.softplus_normal(f64(-60.0), f64(0.5)).log(), -60 + 0.125, 1e-14)
    close(normal.logistic_normal_square(f64(-60.0), f64(0.5)).log(), -120 + 0.5, 1e-14)
    close(gamma.logistic(60.0, 2.0, f64(3.0), f64(1.0)).log1m, -60 - 3 * math.log(3.0), 1e-14)
    close(gamma_logs.log_saturation(f64(1e4), 1.0, 1e-3 / 0.999).neg().log(), 1e4 * math.log(0.999), 1e-4)
    close(lognormal.saturation(f64(-40.0), f64(0.5), 1.0).log, -40 + 0.125, 1e-14)


@pytest.mark.parametrize("sd", SDS)
def test_logistic_normal_identities(sd: float) -> None:
    mean = torch.linspace(-60, 40, 41, dtype=torch.float64)
    p = normal.logistic_normal_probability(mean, sd)
    torch.testing.assert_close(p.value + normal.logistic_normal_probability(-mean, sd).value, torch.ones_like(mean))
    torch.testing.assert_close(p.log1m, normal.log_logistic_normal(-mean, sd), rtol=1e-12, atol=0)
    reflected = -mean + sd**2 / 2 + normal.log_logistic_normal(mean - sd**2, sd)
    torch.testing.assert_close(p.log1m, reflected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(p.value, normal.logistic_normal(mean, f64(sd)), rtol=0, atol=3e-14)
    up, down = normal.softplus_normal(mean, sd), normal.softplus_normal(-mean, sd)
    torch.testing.assert_close(up - down, mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(normal.log_sigmoid_normal(mean, sd), -down, rtol=0, atol=0)
    leaf = mean.clone().requires_grad_()
    (slope,) = torch.autograd.grad(normal.softplus_normal(leaf, sd).sum(), leaf)
    torch.testing.assert_close(slope, p.value, rtol=1e-11, atol=0)


@pytest.mark.parametrize("sd", SDS)
@pytest.mark.parametrize("mean", [-4.0, 0.0, 2.5])
def test_squares_and_probit(mean: float, sd: float) -> None:
    close(normal.logistic_normal_square(mean, f64(sd)), over_normal(lambda x: special.expit(x) ** 2, mean, sd))
    close(normal.probit_normal_square(mean, f64(sd)), over_normal(lambda x: special.ndtr(x) ** 2, mean, sd))
    both(
        normal.probit_normal(mean, f64(sd)),
        over_normal(special.ndtr, mean, sd),
        over_normal(lambda x: special.ndtr(-x), mean, sd),
    )
    k, b = mean / math.sqrt(1 + sd**2), sd  # maths 7.4
    owen = special.ndtr(k) - 2 * special.owens_t(k, 1 / math.sqrt(1 + 2 * b**2))
    assert float(normal.probit_normal_square(mean, f64(sd))) == pytest.approx(owen, rel=0, abs=1e-14)


def test_inverse_gaussian_by_draws() -> None:
    law = InverseGaussian(f64(1.5), f64(0.8))
    draws = torch.exp(-0.7 * law.sample((200_000,)))
    got = inverse_gaussian.saturation(law.loc, law.concentration, 0.7)
    assert float(got.log1m.exp()) == pytest.approx(float(draws.mean()), abs=4 * float(draws.std()) / 200_000**0.5)
    close(got.value + got.complement.value, 1.0, 1e-15)


@pytest.mark.parametrize(
    ("got", "law", "f"),
    [
        (
            lambda: gamma.logistic(-1.0, 0.8, f64(1.7), 2.0).value,
            dist.Gamma(1.7, 2.0),
            lambda z: torch.sigmoid(0.8 * z - 1),
        ),
        (lambda: gamma.ratio(f64(1.7), 2.0, 0.4).value, dist.Gamma(1.7, 2.0), lambda z: z / (z + 0.4)),
        (
            lambda: gamma_logs.log_saturation(f64(1.7), 2.0, 0.9),
            dist.Gamma(1.7, 2.0),
            lambda z: torch.log(-torch.expm1(-0.9 * z)),
        ),
        (
            lambda: lognormal.saturation(f64(0.3), 1.2, 0.9).value,
            dist.LogNormal(0.3, 1.2),
            lambda z: -torch.expm1(-0.9 * z),
        ),
        (lambda: normal.softplus_normal(f64(0.3), 1.2), dist.Normal(0.3, 1.2), torch.nn.functional.softplus),
    ],
)
def test_against_draws(got: Callable[[], torch.Tensor], law: Any, f: Callable[[torch.Tensor], torch.Tensor]) -> None:
    draws = f(law.sample((100_000,)).double())
    assert float(got()) == pytest.approx(float(draws.mean()), abs=4 * float(draws.std()) / 100_000**0.5)


CALLS: dict[str, tuple[Callable[..., Any], tuple[tuple[float, ...], ...]]] = {
    "shape rate lam": (
        lambda *x: [*gamma.saturation(*x), *gamma.ratio(*x), gamma_logs.log_saturation(*x), gamma_logs.log_ratio(*x),
                    gamma_logs.log1p_over(*x)],
        ((1e-3, 0.7, 40.0, 1e5), (1e-3, 2.0, 1e6), (1e-6, 1.0, 1e6)),
    ),
    "eta shape rate lam": (
        lambda *x: [gamma_logs.log_one_minus_match_saturation(*x), gamma_logs.log_one_minus_match_ratio(*x),
                    *gamma.logistic(x[0], x[3], x[1], x[2]), *gamma.cloglog(*x[:3]), *gamma.odds(*x[:3])],
        ((-60.0, 0.0, 60.0), (1e-3, 0.7, 1e5), (1e-3, 2.0, 1e6), (1e-6, 1.0, 1e6)),
    ),
    "eta mean sd lam": (
        lambda *x: [lognormal.log_one_minus_match_saturation(*x), lognormal.log_one_minus_match_ratio(*x),
                    *lognormal.odds(*x[:3]), *lognormal.saturation(*x[1:]), *lognormal.ratio(*x[1:]),
                    lognormal.log_saturation(*x[1:]), lognormal.log_ratio(*x[1:])],
        ((-60.0, 0.0, 60.0), (-3.0, 0.0, 3.0), (1e-4, 0.7, 10.0), (1e-6, 1.0, 1e6)),
    ),
    "mean sd": (
        lambda *x: [*normal.logistic_normal_probability(*x), normal.logistic_normal_square(*x),
                    normal.logistic_normal(*x), normal.softplus_normal(*x), normal.log_sigmoid_normal(*x),
                    *normal.probit_normal(*x), normal.probit_normal_square(*x)],
        ((-60.0, -3.0, 0.0, 3.0, 60.0), (1e-4, 0.7, 10.0)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_finite_at_the_ends_of_the_ranges(name: str, dtype: torch.dtype) -> None:
    call, ranges = CALLS[name]
    grid = torch.tensor(list(itertools.product(*ranges)), dtype=dtype).T
    leaves = [row.clone().requires_grad_() for row in grid]
    for i, result in enumerate(call(*leaves)):
        assert result.dtype == dtype
        assert torch.isfinite(result).all(), i
        gradients = torch.autograd.grad(result.sum(), leaves, retain_graph=True, allow_unused=True)
        assert all(torch.isfinite(g).all() for g in gradients if g is not None), i


@pytest.mark.parametrize("name", CALLS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """Over the ranges, in the logarithm of positive parameters, by central differences of fourth order."""
    call, ranges = CALLS[name]
    draw = np.random.default_rng(7)
    points = []
    for low, *_, high in ranges:
        positive = low > 0
        low, high = (math.log(low), math.log(high)) if positive else (low / 4, high / 4)
        x = draw.uniform(low, high, 12)
        points.append(f64(np.exp(x) if positive else x))
    leaves = [p.clone().requires_grad_() for p in points]
    results = call(*leaves)
    for j, (low, *_) in enumerate(ranges):
        unit = points[j] if low > 0 else torch.ones_like(points[j])
        step = 1e-3

        def moved(k: int, j: int = j, unit: torch.Tensor = unit, step: float = step) -> list[torch.Tensor]:
            return call(*(p + k * step * unit if i == j else p for i, p in enumerate(points)))

        far, near = (zip(moved(k), moved(-k), strict=True) for k in (2, 1))
        differences = [(8 * (a - b) - (c - d)) / (12 * step) for (c, d), (a, b) in zip(far, near, strict=True)]
        for i, (result, wanted) in enumerate(zip(results, differences, strict=True)):
            (got,) = torch.autograd.grad(result.sum(), leaves[j], retain_graph=True, allow_unused=True)
            got = torch.zeros_like(unit) if got is None else got * unit
            noise = 1e-9 * result.detach().abs()
            bad = (got - wanted).abs() > 1e-5 * wanted.abs() + noise
            tiny = result.detach().abs() < 1e-200
            assert not (bad & ~tiny).any(), (i, j, got[bad], wanted[bad], result[bad])


@pytest.mark.parametrize(
    ("approximation", "sd", "error"),
    [
        (approximations.mackay, 1.0, 4.6e-3),
        (approximations.mackay, 10.0, 1.7e-2),
        (approximations.note_without_pi_over_8, 1.0, 4.1e-2),
        (approximations.note_without_pi_over_8, 10.0, 0.115),
        (approximations.probit_mixture, 0.1, 2.1e-9),
        (approximations.probit_mixture, 10.0, 2.4e-10),
    ],
)
def test_approximations_err_as_stated(approximation: Callable[..., torch.Tensor], sd: float, error: float) -> None:
    """The table of maths 1.5."""
    mean = torch.cat([torch.linspace(-25, 25, 2001), torch.linspace(-6, 6, 2001) * sd]).double()
    worst = (approximation(mean, sd) - normal.logistic_normal_probability(mean, sd).value).abs().max()
    assert float(worst) == pytest.approx(error, rel=0.06)


def test_the_note_is_worse_than_no_correction_where_sd_is_small() -> None:
    mean = torch.linspace(-25, 25, 2001, dtype=torch.float64)
    exact = normal.logistic_normal_probability(mean, 0.5).value
    note = (approximations.note_without_pi_over_8(mean, 0.5) - exact).abs().max()
    assert float(note) > float((torch.sigmoid(mean) - exact).abs().max())


def test_the_tilted_saturation_is_smooth_across_its_branches() -> None:
    x = torch.tensor([1e-40, 1e-3, 0.999999, 1.0, 1.000001, 30.0, 60.0, 1e4], dtype=torch.float64)
    got = tilted_log_saturation(x.log())
    wanted = [
        -math.exp(v) * (math.log(-math.expm1(-v)) if v < 1 else math.log1p(-math.exp(-v))) for v in x[:6].tolist()
    ]
    torch.testing.assert_close(got[:6], f64(wanted), rtol=1e-13, atol=0)
    torch.testing.assert_close(got[6:], torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("sd", [0.1, 1.0, 3.0, 10.0, 50.0])
def test_nodes_stay_few_as_the_sd_grows(sd: float) -> None:
    rule = nodes(f64(-2.0), f64(sd), f64(0.0), math.pi, LOGISTIC)
    assert len(rule.x) <= 60
    close(rule.mean(torch.ones_like(rule.x)), 1.0, 1e-12)
    close(rule.mean(rule.x), -2.0, 1e-11)


def test_numbers_shapes_and_empty_batches() -> None:
    assert gamma.ratio(torch.ones(3, 1), torch.ones(4), 2.0).log.shape == (3, 4)
    assert gamma_logs.log_saturation(torch.ones(0), 1.0, 1.0).shape == (0,)
    assert normal.log_logistic_normal(torch.ones(0, 2), 1.0).shape == (0, 2)
    assert normal.softplus_normal(0.3, 1.0).dtype == torch.float64
    assert lognormal.saturation(torch.zeros(2), 1.0, 1.0).log1m.dtype == torch.float32
