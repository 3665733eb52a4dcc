"""The Jaakkola-Jordan bound: never above the exact expectation, tight where it has to be, and its best xi."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import special

from pyrorec.models.families import Bernoulli, Binomial, Family, Poisson
from pyrorec.models.families.jaakkola_jordan import jaakkola_jordan
from pyrorec.models.integrals.jaakkola_jordan import parabola, softplus_bound
from pyrorec.models.rows import SparseRows
from pyrorec.models.rows.bounded import bounded_log_prob, missing_softplus
from pyrorec.models.rows.predictor_moments import PredictorMoments

EPS = np.linspace(-12, 12, 4801)
WEIGHT = np.exp(-0.5 * EPS**2) / np.exp(-0.5 * EPS**2).sum()
MEANS, SDS = np.array([-12.0, -4.0, -1.0, 0.0, 0.3, 2.0, 9.0]), np.array([1e-4, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0])
FAMILIES = [Bernoulli(), Binomial(size=4)]


def f64(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def grid() -> tuple[torch.Tensor, torch.Tensor]:
    """Every mean with every variance."""
    mean, sd = np.meshgrid(MEANS, SDS, indexing="ij")
    return f64(mean.ravel()), f64(sd.ravel() ** 2)


def exact_softplus(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """E softplus by a trapezoid of 4,801 nodes in NumPy."""
    x = mean.numpy()[:, None] + variance.sqrt().numpy()[:, None] * EPS
    return f64(np.logaddexp(0, x) @ WEIGHT)


def test_it_is_the_formula_of_the_specification() -> None:
    """-U(-m, v) = log sigma(xi) + (m - xi) / 2, xi = sqrt(m^2 + v) (maths 5)."""
    mean, variance = grid()
    xi = torch.sqrt(mean**2 + variance).numpy()
    expected = special.log_expit(xi) + (mean.numpy() - xi) / 2
    np.testing.assert_allclose(-softplus_bound(-mean, variance), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("sd", "gap"), [(0.1, 5.3e-4), (0.3, 4.7e-3), (1, 4.9e-2), (2, 0.16), (4, 0.43), (8, 0.96)])
def test_its_largest_gap_is_the_one_stated(sd: float, gap: float) -> None:
    mean = torch.linspace(-10, 10, 201, dtype=torch.float64)
    variance = torch.full_like(mean, sd**2)
    excess = softplus_bound(mean, variance) - exact_softplus(mean, variance)
    assert float(excess.min()) >= 0
    assert float(excess.max()) == pytest.approx(gap, rel=0.02)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
@pytest.mark.parametrize("trials", [1.0, 3.0])
def test_it_is_never_above_the_exact_expectation(family: Family, trials: float) -> None:
    mean, variance = grid()
    size = family.size if isinstance(family, Binomial) else 1
    for value in range(int(size * trials) + 1):
        y, n = torch.full_like(mean, value), torch.full_like(mean, trials)
        log_base = np.log(special.binom(size * trials, value))
        exact = y * mean - size * trials * exact_softplus(mean, variance) + log_base
        gap = exact - jaakkola_jordan(family, y, n, mean, variance)
        assert float(gap.min()) > -1e-11
        assert float(gap.max()) > 0.1
        np.testing.assert_allclose(exact, family.expected_log_prob(y, n, mean, variance), rtol=1e-6, atol=3e-7)


def test_it_bounds_every_law_with_these_moments() -> None:
    """Of two points at m +- s, as much as of a normal."""
    mean, variance = grid()
    sd = variance.sqrt()
    two_points = 0.5 * (F.softplus(mean - sd) + F.softplus(mean + sd))
    assert float((softplus_bound(mean, variance) - two_points).min()) > -1e-12


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_it_is_exact_without_variance(family: Family) -> None:
    mean = f64([-40.0, -3.0, -1e-9, 0.0, 0.6, 30.0])
    value, trials = f64([0.0, 1, 2, 0, 3, 2]), f64([1.0, 2, 3, 0, 3, 2])
    known = family.log_prob(value, trials, mean)
    distance = [
        (known - jaakkola_jordan(family, value, trials, mean, torch.full_like(mean, v))).abs().max()
        for v in (1e-2, 1e-4, 0.0)
    ]
    assert distance[0] > distance[1] > distance[2]
    torch.testing.assert_close(
        jaakkola_jordan(family, value, trials, mean, torch.zeros_like(mean)), known, rtol=1e-12, atol=1e-11
    )
    assert float(jaakkola_jordan(family, f64(0.0), f64(0.0), f64(1.3), f64(0.4))) == 0.0  # a masked cell says nothing


def test_no_other_xi_is_better() -> None:
    mean, variance = grid()
    second = mean**2 + variance
    best = second.sqrt()
    bound = softplus_bound(mean, variance)
    torch.testing.assert_close(parabola(mean, second, best), bound, rtol=1e-12, atol=1e-12)
    for factor in (0.2, 0.7, 0.99, 1.01, 1.5, 6.0):
        moved = parabola(mean, second, best * factor)
        assert float((moved - bound).min()) > -1e-12, factor  # above, so minus n times it is lower
        assert float((moved - exact_softplus(mean, variance)).min()) > -1e-11, factor
    assert float((parabola(mean, second, best * 1.5) - bound).max()) > 0.05


def test_gradients_equal_finite_differences() -> None:
    mean = f64([-9.0, -1.0, 0.0, 1e-3, 0.6, 7.0]).requires_grad_()
    variance = f64([0.5, 0.01, 0.3, 1e-3, 2.5, 40.0]).requires_grad_()
    assert torch.autograd.gradcheck(softplus_bound, (mean, variance), eps=1e-6, atol=1e-8, rtol=1e-7)
    value, trials = f64([0.0, 1, 2, 0, 3, 2]), f64([1.0, 2, 3, 0, 3, 2])
    assert torch.autograd.gradcheck(
        lambda m, v: jaakkola_jordan(Binomial(size=4), value, trials, m, v), (mean, variance), eps=1e-6, atol=1e-7
    )


def test_single_precision_keeps_small_bounds() -> None:
    """Far from a click the bound is v / (4 |m|) + e^m, which a difference of numbers near |m| would lose."""
    mean, variance = f64([-14.0, -10.0, -6.0, 0.0, 12.0]), f64([1e-4, 1e-3, 0.3, 0.0, 0.5])
    m, v = mean.float().requires_grad_(), variance.float().requires_grad_()
    got = softplus_bound(m, v)
    torch.testing.assert_close(got.double(), softplus_bound(mean, variance), rtol=2e-6, atol=0)
    slopes = torch.autograd.grad(got.sum(), [m, v])
    double = [x.clone().requires_grad_() for x in (mean, variance)]
    for slope, exact in zip(slopes, torch.autograd.grad(softplus_bound(*double).sum(), double), strict=True):
        torch.testing.assert_close(slope.double(), exact, rtol=5e-6, atol=1e-9)


def test_other_families_are_refused() -> None:
    one = torch.ones(1)
    with pytest.raises(NotImplementedError, match="clicks under a logit, family bernoulli or binomial, not poisson"):
        jaakkola_jordan(Poisson(), one, one, one, one)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double() * 0.7


def moments(*shape: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return normal(*shape, seed=seed), normal(*shape, seed=seed + 100).square()


def rows_of() -> SparseRows:
    """Three rows of four columns: stored cells with trials other than one, and a masked one."""
    value, trials = f64([1.0, 0, 2, 1, 0]), f64([1.0, 1, 3, 2, 0])
    row, column = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([1, 3, 0, 2, 3])
    return SparseRows.from_cells(row, column, value, trials, (3, 4))


def test_moments_are_those_of_the_product() -> None:
    """Mean and variance of every cell against a million draws (maths 6.4)."""
    factors, loadings = moments(2, 3, seed=1), moments(2, 3, seed=2)
    row, column = moments(2, seed=3), moments(2, seed=4)
    eta = PredictorMoments.of_product(factors, loadings, row, column)
    draws, g = 1_000_000, torch.Generator().manual_seed(0)

    def drawn(law: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return law[0] + law[1].sqrt() * torch.randn(draws, *law[0].shape, generator=g).double()

    x = (drawn(factors)[:, :, None] * drawn(loadings)[:, None]).sum(-1) + drawn(row)[..., None] + drawn(column)[:, None]
    mean, variance = eta.left @ eta.right.T, eta.left_square @ eta.right_variance.T
    assert ((x.mean(0) - mean).abs() < 4 * (variance / draws).sqrt()).all()
    error = ((x - x.mean(0)).square().var(0) / draws).sqrt()
    assert ((x.var(0) - variance).abs() < 4 * error).all()


@pytest.mark.parametrize(
    ("family", "weight"), [(Bernoulli(), 1.0), (Bernoulli(), 0.3), (Binomial(size=4), 0.5), (Bernoulli(), 0.0)],
    ids=lambda x: getattr(x, "name", str(x)),
)  # fmt: skip
def test_a_row_is_the_sum_of_its_cells(family: Family, weight: float) -> None:
    rows = rows_of()
    eta = PredictorMoments.of_product(
        moments(3, 2, seed=1), moments(4, 2, seed=2), moments(3, seed=3), moments(4, seed=4)
    )
    mean, variance = eta.left @ eta.right.T, eta.left_square @ eta.right_variance.T
    stored = {(int(r), int(c)): n for n, (r, c) in enumerate(zip(rows.row, rows.column, strict=True))}
    expected = torch.zeros(3).double()
    for r, c in itertools.product(range(3), range(4)):
        at = stored.get((r, c))
        y, n, share = (f64(0.0), f64(1.0), weight) if at is None else (rows.value[at], rows.trials[at], 1.0)
        expected[r] += share * jaakkola_jordan(family, y, n, mean[r, c], variance[r, c])
    torch.testing.assert_close(bounded_log_prob(family, weight, eta, rows), expected, rtol=1e-12, atol=1e-12)


def test_the_dense_gradient_equals_finite_differences() -> None:
    made = PredictorMoments.of_product(moments(3, 2, seed=1), moments(4, 2, seed=2), (normal(3, seed=3), None), None)
    parts = [p.detach().requires_grad_() for p in (made.left, made.right, made.left_square, made.right_variance)]
    weights = f64([0.3, 1.0, -2.0])
    assert torch.autograd.gradcheck(
        lambda *given: weights * missing_softplus(PredictorMoments(*given), rows_of()), parts, eps=1e-6, atol=1e-8
    )
