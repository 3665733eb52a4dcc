"""Quantiles of log rates against exact distribution functions and against draws."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from pyrorec.inference.quantiles import log_gamma_distribution, log_rate_quantile, shape_of

LEVELS = [0.05, 0.5, 0.9]
SHAPES = np.array([0.001, 0.02, 0.3, 1.0, 4.0, 60.0, 900.0, 5e4])


def gamma(shape: float, rate: float) -> dist.Gamma:
    return dist.Gamma(torch.tensor(shape).double(), torch.tensor(rate).double())


@pytest.mark.parametrize("p", LEVELS)
@pytest.mark.parametrize("sd", [0.0, 0.03, 0.4, 2.0, 9.0])
def test_one_gamma_and_a_normal_part(p: float, sd: float) -> None:
    """The probability below the quantile, by a rule of thousands of nodes over the normal part."""
    shape = torch.tensor(SHAPES)
    law = dist.Gamma(shape, torch.full_like(shape, 3.0))
    u = log_rate_quantile(p, torch.full_like(shape, 0.7), torch.full_like(shape, sd**2), [(law, 1.0)]).numpy()
    e = np.linspace(-8, 8, 20_001)
    w = stats.norm.pdf(e) * (e[1] - e[0])
    below = w @ log_gamma_distribution(u + np.log(3.0) - 0.7 - sd * e[:, None], SHAPES)
    np.testing.assert_allclose(below, p, atol=2e-3)


@pytest.mark.parametrize("p", LEVELS)
def test_without_a_normal_part_it_is_the_gamma_quantile(p: float) -> None:
    shape = np.array([0.1, 1.0, 10.0])
    law = dist.Gamma(torch.tensor(shape), torch.tensor([2.0, 5.0, 0.1]).double())
    zero = torch.zeros(3).double()
    u = log_rate_quantile(p, zero, zero, [(law, 1.0)]).exp().numpy()
    np.testing.assert_allclose(stats.gamma.cdf(u, shape, scale=1 / law.rate.numpy()), p, atol=2e-3)


@pytest.mark.parametrize("p", LEVELS)
@pytest.mark.parametrize(
    ("laws", "sd"),
    [
        ([((0.5, 0.5), 1.0), ((2.0, 2.0), 1.0)], 0.5),
        ([((0.3, 1.0), 2.0), ((1.0, 1.0), 1.0)], 0.2),
        ([((1.0, 1.0), 0.4), ((0.6, 0.6), 1.0)], 0.8),
        ([((30.0, 2.0), 0.5), ((4.0, 4.0), 1.0)], 0.3),
        ([((0.5, 0.5), 0.5)], 0.3),
    ],
)
def test_powers_and_several_gammas_against_draws(p: float, laws: list, sd: float) -> None:
    rng, n = np.random.default_rng(0), 400_000
    draws = 0.2 + sd * rng.standard_normal(n)
    for (shape, rate), weight in laws:
        draws += weight * np.log(rng.gamma(shape, 1 / rate, n))
    given = [(gamma(*law), weight) for law, weight in laws]
    u = log_rate_quantile(p, torch.tensor(0.2).double(), torch.tensor(sd**2).double(), given)
    assert (draws < float(u)).mean() == pytest.approx(p, abs=0.01)


def test_no_gamma_is_a_normal_quantile() -> None:
    u = log_rate_quantile(0.9, torch.tensor([1.0, -2.0]), torch.tensor([4.0, 0.0]), [])
    torch.testing.assert_close(u, torch.tensor([1.0 + 2 * stats.norm.ppf(0.9), -2.0]).float())


def test_shape_of_inverts_the_third_cumulant() -> None:
    shape = torch.logspace(-4, 5, 40, dtype=torch.float64)
    torch.testing.assert_close(shape_of(torch.polygamma(2, shape)), shape, rtol=1e-8, atol=0)


def test_the_left_tail_does_not_underflow() -> None:
    found = log_gamma_distribution(np.array([-2000.0, -29.9, -30.1]), np.array([1e-3, 0.2, 0.2]))
    np.testing.assert_allclose(found[0], np.exp(-2.0) / 1.0, rtol=1e-3)
    assert found[1] == pytest.approx(found[2] * np.exp(0.2 * 0.2), rel=1e-6)
