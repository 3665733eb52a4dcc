"""Laws of a row's cells given their total, against scipy, sums over all outcomes and integrals over the total."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from pyrorec.models.families import (
    Dirichlet,
    ExponentialResponse,
    Family,
    GammaResponse,
    Multinomial,
    NegativeBinomial,
    Poisson,
)
from pyrorec.models.rows import COUPLED, GIVEN_TOTAL, SparseRows

ETA = np.array([[0.4, -0.9, 1.3, 0.2], [-0.3, 0.8, 0.1, -1.5]])
COUNTS = np.array([[3.0, 0, 6, 1], [0.0, 2, 0, 0]])
AMOUNTS = np.array([[0.4, 1.7, 2.2, 0.1], [3.0, 0.6, 0.2, 0.9]])


def rows(value: np.ndarray, trials: np.ndarray | None = None) -> SparseRows:
    return SparseRows.from_dense(torch.as_tensor(value), None if trials is None else torch.as_tensor(trials))


def log_p(family: Family, value: np.ndarray, eta: np.ndarray = ETA, trials: np.ndarray | None = None) -> np.ndarray:
    found: Tensor = GIVEN_TOTAL[type(family)](family, rows(value, trials), torch.as_tensor(eta).reshape(-1))
    return found.numpy()


def softmax(eta: np.ndarray) -> np.ndarray:
    weight = np.exp(eta - eta.max())
    return weight / weight.sum()


def splits(total: int, cells: int) -> np.ndarray:
    """Every way to spread a total over the cells."""
    return np.array([y for y in product(range(total + 1), repeat=cells) if sum(y) == total], dtype=float)


def test_every_coupled_family_is_among_them() -> None:
    assert set(COUPLED) < set(GIVEN_TOTAL)


@pytest.mark.parametrize("family", [Multinomial(), Poisson()], ids=lambda f: f.name)
def test_counts_given_their_total_are_scipys_multinomial(family: Family) -> None:
    expected = [stats.multinomial.logpmf(y, y.sum(), softmax(eta)) for y, eta in zip(COUNTS, ETA, strict=True)]
    np.testing.assert_allclose(log_p(family, COUNTS), expected, rtol=1e-12)


def test_shares_are_scipys_dirichlet() -> None:
    expected = [stats.dirichlet.logpdf(r / r.sum(), np.exp(eta)) for r, eta in zip(AMOUNTS, ETA, strict=True)]
    np.testing.assert_allclose(log_p(Dirichlet(), AMOUNTS), expected, rtol=1e-12)


def test_a_part_of_the_cells_has_the_law_of_the_whole_with_the_others_integrated_out() -> None:
    """Two cells of three: their total and the third integrate to the Dirichlet of the two, as their counts sum to the
    multinomial."""
    eta, share = ETA[0, :3], 0.3
    whole = stats.dirichlet(np.exp(eta))
    part, _ = integrate.quad(lambda s: s * whole.pdf([share * s, (1 - share) * s, 1 - s]), 0, 1, epsabs=1e-12)
    found = log_p(Dirichlet(), np.array([[share, 1 - share]]), eta[None, :2])
    np.testing.assert_allclose(np.exp(found), part, rtol=1e-7)
    joint = [stats.multinomial.pmf([2, 1, 4], 7, softmax(eta)), stats.binom.pmf(3, 7, softmax(eta)[:2].sum())]
    found = log_p(Multinomial(), np.array([[2.0, 1.0]]), eta[None, :2])
    np.testing.assert_allclose(np.exp(found), joint[0] / joint[1], rtol=1e-12)


@pytest.mark.parametrize("family", [GammaResponse(shape=2.5), ExponentialResponse()], ids=lambda f: f.name)
def test_shares_of_gammas_integrate_the_total_out_of_the_cells(family: Family) -> None:
    """The density of the amounts t r, times t^(m-1), over all totals t."""
    for value, eta, got in zip(AMOUNTS, ETA, log_p(family, AMOUNTS), strict=True):
        share = torch.as_tensor(value / value.sum())

        def at(t: float, share: Tensor = share, eta: np.ndarray = eta) -> float:
            each = family.log_prob(t * share, torch.ones(4).double(), torch.as_tensor(eta))
            return float(each.sum().exp()) * t**3

        exact, error = integrate.quad(at, 0, np.inf, epsabs=1e-13, limit=200)
        assert error < 1e-7 * exact
        np.testing.assert_allclose(np.exp(got), exact, rtol=1e-6)


def test_shares_of_gammas_alike_are_dirichlet() -> None:
    a = 1.7
    expected = [stats.dirichlet.logpdf(r / r.sum(), np.full(4, a)) for r in AMOUNTS]
    np.testing.assert_allclose(log_p(GammaResponse(shape=a), AMOUNTS, np.full((2, 4), 0.8)), expected, rtol=1e-12)


def test_negative_binomials_given_their_total_are_a_probability() -> None:
    """p(y) / sum over all ways to spread the same total, by scipy; at one mean a Dirichlet-multinomial."""
    r0, eta, y = 0.8, ETA[0], COUNTS[0]
    law = stats.nbinom(r0, r0 / (r0 + np.exp(eta)))
    every = law.pmf(splits(int(y.sum()), 4)).prod(1).sum()
    found = log_p(NegativeBinomial(dispersion=r0), COUNTS)
    np.testing.assert_allclose(np.exp(found[0]), law.pmf(y).prod() / every, rtol=1e-10)
    alike = log_p(NegativeBinomial(dispersion=r0), COUNTS, np.full((2, 4), 0.3))
    expected = [stats.dirichlet_multinomial.logpmf(v.astype(int), np.full(4, r0), int(v.sum())) for v in COUNTS]
    np.testing.assert_allclose(alike, expected, rtol=1e-10)


def test_negative_binomials_without_overdispersion_are_multinomial_at_large_totals() -> None:
    """A total of 3,000, far above what the cells expect, loses no digits."""
    value = np.array([[1500.0, 200, 1250, 50]])
    exact = log_p(Poisson(), value, ETA[:1])
    found = log_p(NegativeBinomial(dispersion=1e9), value, ETA[:1])
    np.testing.assert_allclose(found, exact, rtol=1e-4)
    r0, eta = 0.5, np.full((1, 4), 0.2)
    expected = stats.dirichlet_multinomial.logpmf(value[0].astype(int), np.full(4, r0), 3000)
    np.testing.assert_allclose(log_p(NegativeBinomial(dispersion=r0), value, eta), [expected], rtol=1e-9)


FAMILIES = [Multinomial(), Poisson(), NegativeBinomial(), Dirichlet(), GammaResponse(), ExponentialResponse()]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_masked_cells_are_not_there_and_single_ones_say_nothing(family: Family) -> None:
    value = AMOUNTS if family.outcome.graded else COUNTS
    seen = np.array([[1.0, 0, 1, 1], [0.0, 0, 1, 0]])
    got = log_p(family, value * seen, trials=seen)
    alone = log_p(family, value[:1, [0, 2, 3]], ETA[:1, [0, 2, 3]])
    np.testing.assert_allclose(got, [alone[0], 0.0], atol=1e-12)
    np.testing.assert_allclose(log_p(family, 0 * value, trials=0 * seen), [0.0, 0.0], atol=1e-12)
