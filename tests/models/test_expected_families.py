"""Every family's expected log-likelihood against Gauss-Hermite, its link, and its mass at both ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import CELLWISE
from scipy import special, stats

from pyrorec.models.absent import Absent
from pyrorec.models.families import Binomial, Family, Gaussian, Ordinal, Outcome
from pyrorec.models.mass import ProbitMass

every_family = pytest.mark.parametrize("cls", CELLWISE, ids=lambda c: c.name)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
MEAN = torch.tensor([-3.0, -1.0, 0.0, 0.6, 1.8], dtype=torch.float64)


def f64(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def example(cls: type[Family]) -> Family:
    return cls(sd=0.7) if issubclass(cls, Gaussian) else cls.example()


def records(family: Family) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and trials of five records, one of them empty."""
    value = {
        Outcome.CLICK: [0.0, 2.0, 1.0, 0.0, 1.0],
        Outcome.COUNT: [4.0, 0.0, 1.0, 0.0, 2.0],
        Outcome.RATING: [-1.3, 2.5, 0.2, 0.0, 0.9],
        Outcome.AMOUNT: [0.3, 2.5, 0.2, 0.0, 7.9],
        Outcome.SHARE: [0.3, 2.5, 0.4, 0.0, 0.9],
    }[family.outcome]
    value = [1.0, 6.0, 10.0, 0.0, 3.0] if isinstance(family, Ordinal) else value
    return f64(value), f64([1.0, 3.0, 2.0, 0.0, 1.0])


@every_family
@pytest.mark.parametrize("sd", [0.02, 0.4, 1.0])
def test_expected_log_prob_equals_gauss_hermite(cls: type[Family], sd: float) -> None:
    family = example(cls)
    value, trials = records(family)
    by_nodes = sum(
        w * family.log_prob(value, trials, MEAN + sd * x) for x, w in zip(NODES, WEIGHTS, strict=True)
    ) / np.sqrt(2 * np.pi)
    got = family.expected_log_prob(value, trials, MEAN, torch.full_like(MEAN, sd**2))
    torch.testing.assert_close(got, by_nodes, rtol=2e-8, atol=1e-10)
    assert float(got[3]) == 0.0


@every_family
def test_the_gradient_of_expected_log_prob_equals_finite_differences(cls: type[Family]) -> None:
    family = example(cls)
    value, trials = records(family)
    variance = f64([0.01, 0.3, 1.0, 0.5, 2.5]).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda mean, var: family.expected_log_prob(value, trials, mean, var),
        (MEAN.clone().requires_grad_(), variance),
        eps=1e-6,
        atol=1e-7,
        rtol=1e-6,
    )


@every_family
def test_a_known_predictor_is_no_expectation(cls: type[Family]) -> None:
    """Without variance it is the log-probability itself, with a finite gradient."""
    family = example(cls)
    value, trials = records(family)
    mean, variance = MEAN.clone().requires_grad_(), torch.zeros_like(MEAN).requires_grad_()
    got = family.expected_log_prob(value, trials, mean, variance)
    torch.testing.assert_close(got, family.log_prob(value, trials, MEAN), rtol=1e-9, atol=1e-9)
    slopes = torch.autograd.grad(got.sum(), [mean, variance])
    assert all(bool(slope.isfinite().all()) for slope in slopes)
    eta = MEAN.clone().requires_grad_()
    (expected,) = torch.autograd.grad(family.log_prob(value, trials, eta).sum(), eta)
    torch.testing.assert_close(slopes[0], expected, rtol=1e-6, atol=1e-6)


@every_family
def test_variance_lowers_the_expectation(cls: type[Family]) -> None:
    """Every log-likelihood here is concave in the linear predictor."""
    family = example(cls)
    value, trials = records(family)
    by_variance = torch.stack(
        [family.expected_log_prob(value, trials, MEAN, torch.full_like(MEAN, v)) for v in (0.1, 1)]
    )
    seen = trials > 0
    assert (by_variance[:, seen].diff(dim=0) < 0).all()


@every_family
def test_the_link_undoes_the_mean(cls: type[Family]) -> None:
    family = example(cls)
    means = {
        Outcome.CLICK: [1e-7, 1e-3, 0.2, 0.5, 0.9, 1 - 1e-6],
        Outcome.COUNT: [1e-6, 0.3, 1.0, 250.0],
        Outcome.RATING: [-4.0, 0.0, 3.7],
        Outcome.AMOUNT: [1e-6, 0.3, 1.0, 250.0],
        Outcome.SHARE: [1e-5, 0.2, 0.5, 0.9],
    }[family.outcome]
    means = {Ordinal: [1.01, 2.0, 3.3, 4.99], Binomial: [1e-6, 0.3, 1.0, 4.9]}.get(type(family), means)
    for mean in means:
        assert float(family.mean(f64(family.link(mean)))) == pytest.approx(mean, rel=1e-9)
    assert np.isfinite([family.link(mean) for mean in (0.0, 1.0)]).all()
    etas = [family.link(mean) for mean in means]
    assert etas == sorted(etas)


def test_the_probit_is_the_normal_cdf() -> None:
    family = Family.registry["probit"].example()
    eta = torch.linspace(-8, 8, 33, dtype=torch.float64)
    x, one = eta.numpy(), torch.ones_like(eta)
    np.testing.assert_allclose(family.mean(eta), stats.norm.cdf(x), rtol=1e-13)
    np.testing.assert_allclose(family.log_prob(one, one, eta), special.log_ndtr(x), rtol=1e-12)
    np.testing.assert_allclose(family.log_prob(0 * one, one, eta), special.log_ndtr(-x), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_slope_of_the_probit_mass_is_its_hazard(dtype: torch.dtype) -> None:
    """phi / Phi(-eta), the derivative, also where both underflow; about eta + 1 / eta far above."""
    eta = torch.linspace(-30, 30, 121, dtype=dtype)
    total, slope = ProbitMass.sum_and_slope(eta.clone()[None])
    at = eta.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(ProbitMass.value(at).sum(), at)
    tight = {"rtol": 1e-10, "atol": 1e-14} if dtype == torch.float64 else {"rtol": 2e-3, "atol": 1e-6}
    torch.testing.assert_close(slope[0], by_autograd, **tight)
    x = eta.double().numpy()
    hazard = np.exp(stats.norm.logpdf(x) - special.log_ndtr(-x))
    np.testing.assert_allclose(slope[0], hazard, rtol=tight["rtol"], atol=tight["atol"])
    assert float(total) == pytest.approx(float(ProbitMass.value(eta).sum()), rel=1e-6)
    assert float(slope[0, -1]) == pytest.approx(30 + 1 / 30, rel=2e-3)


@pytest.mark.parametrize("cls", [cls for cls in CELLWISE if Absent.ZERO in cls.absent], ids=lambda c: c.name)
def test_masses_and_slopes_stay_finite(cls: type[Family]) -> None:
    eta = torch.tensor([[-60.0, -30.0, 0.0, 30.0, 60.0]])
    total, slope = cls.mass.sum_and_slope(eta.clone())
    assert bool(total.isfinite().all())
    assert bool(slope.isfinite().all())
    assert (slope.diff() >= 0).all()  # convex
