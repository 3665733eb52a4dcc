"""Rows with their frailty integrated out, against integration over z with scipy's densities."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import special, stats

from pyrorec.models.families import Cloglog, Family, Poisson
from pyrorec.models.rows import INTEGRATED, FrailtyRows, GammaCloglogRows, GammaPoissonRows, SparseRows
from pyrorec.models.rows.decode import with_offsets

LAWS: list[tuple[type[FrailtyRows], Family]] = [(GammaPoissonRows, Poisson()), (GammaCloglogRows, Cloglog())]
by_law = pytest.mark.parametrize(("kind", "family"), LAWS, ids=["poisson", "cloglog"])
by_weight = pytest.mark.parametrize("missing_weight", [1.0, 0.0, 0.3])


def cell_log_prob(family: Family, value: float, trials: float, rate: np.ndarray) -> np.ndarray:
    """scipy's log-probability of one cell at every rate."""
    if family.name == "poisson":
        return stats.poisson.logpmf(value, trials * rate)
    return value * stats.poisson.logsf(0, rate) - (trials - value) * rate + np.log(special.comb(trials, value))


def log_joint(
    family: Family, eta: np.ndarray, row: list[tuple[int, float, float]], missing_weight: float, shape: float
) -> tuple[np.ndarray, np.ndarray]:
    """A fine grid of t = log z and log p(row, t); `row` lists (column, value, trials) of stored cells."""
    t = np.linspace(-60 / min(shape, 1.0), 8, 40_001)
    z = np.exp(t)
    stored = {column: (value, trials) for column, value, trials in row}
    f = stats.gamma.logpdf(z, shape, scale=1 / shape) + t
    alike = Counter((float(e), stored.get(column)) for column, e in enumerate(eta))
    for (e, cell), times in alike.items():
        if cell is None:
            f = f - times * missing_weight * z * np.exp(e)
        elif cell[1] > 0:
            f = f + times * cell_log_prob(family, *cell, z * np.exp(e))
    return t, f


def log_evidence(*arguments) -> float:  # type: ignore[no-untyped-def]
    t, f = log_joint(*arguments)
    return float(special.logsumexp(f) + np.log(t[1] - t[0]))


def posterior_moments(*arguments) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """E z and E log z given the row."""
    t, f = log_joint(*arguments)
    weight = np.exp(f - special.logsumexp(f))
    return float(weight @ np.exp(t)), float(weight @ t)


def as_rows(rows: list[list[tuple[int, float, float]]], columns: int) -> SparseRows:
    flat = [(u, *cell) for u, row in enumerate(rows) for cell in row]
    u, i, value, trials = (torch.tensor(x) for x in zip(*flat, strict=True))
    return SparseRows.from_cells(u, i, value.double(), trials.double(), (len(rows), columns))


def example(family: Family) -> tuple[torch.Tensor, torch.Tensor, list[list[tuple[int, float, float]]]]:
    """Three rows of four columns: several trials and a masked cell; nothing but masked; zeros alone."""
    g = torch.Generator().manual_seed(4)
    left, right = torch.randn(3, 2, generator=g).double(), 0.5 * torch.randn(4, 2, generator=g).double()
    first = (
        [(0, 2.0, 3.0), (1, 0.0, 0.0), (2, 1.0, 1.0)]
        if family.name == "cloglog"
        else [(0, 5.0, 2.0), (1, 0.0, 0.0), (2, 1.0, 1.0)]
    )
    return left, right, [first, [(3, 0.0, 0.0)], [(1, 0.0, 2.0)]]


def test_every_integrated_combination_is_tested() -> None:
    assert {kind for kind, _ in LAWS} == set(INTEGRATED.values())


@by_law
@by_weight
@pytest.mark.parametrize("shape", [0.4, 1.0, 5.0])
def test_log_prob_integrates_over_z(
    kind: type[FrailtyRows], family: Family, missing_weight: float, shape: float
) -> None:
    left, right, rows = example(family)
    got = kind(family, left, right, missing_weight, shape).log_prob(as_rows(rows, 4))
    eta = (left @ right.T).numpy()
    expected = [log_evidence(family, eta[u], rows[u], missing_weight, shape) for u in range(3)]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 if family.name == "poisson" else 3e-5)


@by_law
@by_weight
def test_a_masked_cell_counts_as_if_its_column_were_not_there(
    kind: type[FrailtyRows], family: Family, missing_weight: float
) -> None:
    left, right, rows = example(family)
    masked = kind(family, left[:1], right, missing_weight, 0.8).log_prob(as_rows(rows[:1], 4))
    moved = [(0, *rows[0][0][1:]), (1, *rows[0][2][1:])]
    removed = kind(family, left[:1], right[[0, 2, 3]], missing_weight, 0.8).log_prob(as_rows([moved], 3))
    torch.testing.assert_close(masked, removed, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [0.05, 1.0, 30.0])
def test_one_column_is_negative_binomial(shape: float) -> None:
    count, rate = np.array([0.0, 1, 2, 7, 40]), np.array([0.3, 0.3, 2.0, 5.0, 30.0])
    left = torch.as_tensor(np.log(rate))[:, None]
    law = GammaPoissonRows(Poisson(), left, torch.ones(1, 1).double(), 1.0, shape)
    expected = stats.nbinom.logpmf(count, shape, shape / (shape + rate))
    np.testing.assert_allclose(law.log_prob(torch.as_tensor(count)[:, None]), expected, rtol=1e-9)


def clicks_law(rate: float, clicks: int, idle: bool, shape: float) -> tuple[GammaCloglogRows, SparseRows, tuple]:
    """A row of `clicks` clicked cells, and one seen but not clicked where `idle`, all at one rate."""
    cells = clicks + idle
    left = torch.tensor([[np.log(rate)]], dtype=torch.float64)
    law = GammaCloglogRows(Cloglog(), left, torch.ones(cells, 1).double(), 1.0, shape)
    row = [(i, float(i < clicks), 1.0) for i in range(cells)]
    return law, as_rows([row], cells), (Cloglog(), np.full(cells, np.log(rate)), row, 1.0, shape)


by_clicks = pytest.mark.parametrize(
    ("rate", "clicks", "idle", "shape"),
    [
        case
        for case in itertools.product((0.01, 1.0, 20.0), (0, 1, 3, 40), (True, False), (0.1, 0.3, 1.0, 5.0))
        if case[1] or case[2]
    ],
)


@by_clicks
def test_cloglog_quadrature(rate: float, clicks: int, idle: bool, shape: float) -> None:
    law, rows, reference = clicks_law(rate, clicks, idle, shape)
    tolerance = 1e-4 if clicks else 1e-10
    assert float(law.log_prob(rows)) == pytest.approx(log_evidence(*reference), abs=tolerance)


@by_clicks
def test_cloglog_frailty_posterior_has_the_moments_of_z(rate: float, clicks: int, idle: bool, shape: float) -> None:
    law, rows, reference = clicks_law(rate, clicks, idle, shape)
    q = law.frailty_posterior(rows)
    mean, mean_log = posterior_moments(*reference)
    assert float(q.mean) == pytest.approx(mean, rel=1e-3)
    assert float(torch.digamma(q.concentration) - q.rate.log()) == pytest.approx(mean_log, abs=1e-2)


@by_weight
def test_poisson_frailty_posterior_is_conjugate(missing_weight: float) -> None:
    left, right, rows = example(Poisson())
    q = GammaPoissonRows(Poisson(), left, right, missing_weight, 0.8).frailty_posterior(as_rows(rows, 4))
    rate = np.exp((left @ right.T).numpy())
    seen = [
        2 * rate[0, 0] + rate[0, 2] + missing_weight * rate[0, 3],
        missing_weight * rate[1, :3].sum(),
        2 * rate[2, 1] + missing_weight * rate[2, [0, 2, 3]].sum(),
    ]
    np.testing.assert_allclose(q.concentration, [0.8 + 6, 0.8, 0.8])
    np.testing.assert_allclose(q.rate, 0.8 + np.array(seen), rtol=1e-12)


@by_law
def test_unclicked_rows_have_an_exact_posterior(kind: type[FrailtyRows], family: Family) -> None:
    left, right, _ = example(family)
    q = kind(family, left, right, 1.0, 0.8).frailty_posterior(torch.zeros(3, 4).double())
    np.testing.assert_allclose(q.concentration, [0.8] * 3)
    np.testing.assert_allclose(q.rate, 0.8 + np.exp((left @ right.T).numpy()).sum(-1), rtol=1e-12)


@by_law
@by_weight
def test_gradients_match_finite_differences_of_the_integral(
    kind: type[FrailtyRows], family: Family, missing_weight: float
) -> None:
    left, right, rows = example(family)
    shape = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    f, b = left.clone().requires_grad_(), right.clone().requires_grad_()
    kind(family, f, b, missing_weight, shape).log_prob(as_rows(rows, 4)).sum().backward()

    def value(x: np.ndarray) -> float:
        eta = x[:6].reshape(3, 2) @ x[6:14].reshape(4, 2).T
        return sum(log_evidence(family, eta[u], rows[u], missing_weight, x[14]) for u in range(3))

    at = np.concatenate([left.numpy().ravel(), right.numpy().ravel(), [0.9]])
    got = np.concatenate([f.grad.ravel(), b.grad.ravel(), [shape.grad]])  # type: ignore[union-attr]
    np.testing.assert_allclose(got, differences(value, at), rtol=0, atol=1e-7 if family.name == "poisson" else 2e-4)


def differences(f: Callable[[np.ndarray], float], x: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """Central differences of f, one coordinate at a time."""
    return np.array([(f(x + d) - f(x - d)) / (2 * step) for d in step * np.eye(len(x))])


@by_law
def test_samples_share_the_frailty_of_their_row(kind: type[FrailtyRows], family: Family) -> None:
    n, shape = 20_000, 3.0
    rate = np.array([0.4, 1.5])
    law = kind(family, torch.zeros(1, 1).double() + 1, torch.as_tensor(np.log(rate))[:, None], 1.0, shape)
    draws = law.sample((n,)).numpy()[:, 0]
    # E f, E f g and E g of the cells given z, integrated over z ~ Gamma(shape, shape)
    laplace = lambda s: (1 + s / shape) ** -shape  # noqa: E731
    if family.name == "poisson":
        mean, product = rate, rate.prod() * (1 + 1 / shape)
        variance = rate + rate**2 / shape
    else:
        mean = 1 - laplace(rate)
        product = 1 - laplace(rate[0]) - laplace(rate[1]) + laplace(rate.sum())
        variance = mean * (1 - mean)
    assert (np.abs(draws.mean(0) - mean) < 4 * np.sqrt(variance / n)).all()
    squares, crossed = (draws - mean) ** 2, draws.prod(-1)
    assert (np.abs(squares.mean(0) - variance) < 4 * squares.std(0) / np.sqrt(n)).all()
    assert abs(crossed.mean() - product) < 4 * crossed.std() / np.sqrt(n)


@pytest.mark.parametrize("count", [352_698.0, 9_000_000.0])
def test_large_float32_counts_keep_the_fraction(count: float) -> None:
    """y eta and log y! are millions each and nearly cancel; what is left is the rounding of the float32 rate."""
    law = GammaPoissonRows(Poisson(), torch.ones(1, 1), torch.tensor([[12.5]]), 1.0, 0.5)
    expected = stats.nbinom.logpmf(count, 0.5, 0.5 / (0.5 + np.exp(12.5)))
    assert float(law.log_prob(torch.tensor([[count]]))) == pytest.approx(expected, abs=1e-7 * count)


@by_law
@by_weight
@pytest.mark.parametrize("largest", [60.0, -60.0, 25.0])
def test_extreme_float32_predictors_stay_finite(
    kind: type[FrailtyRows], family: Family, missing_weight: float, largest: float
) -> None:
    left = torch.tensor([[largest], [0.0], [1.0], [largest]], requires_grad=True)
    right = torch.tensor([[1.0], [0.97], [-1.0], [0.0]], requires_grad=True)
    count = 352_698.0 if family.name == "poisson" else 1.0
    rows = SparseRows.from_cells(
        torch.tensor([0, 0, 0, 1, 2, 3, 3]),
        torch.tensor([0, 1, 2, 3, 0, 0, 1]),
        torch.tensor([count, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
        torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
        (4, 4),
    )
    shape = torch.tensor(0.5, requires_grad=True)
    law = kind(family, left, right, missing_weight, shape)
    value = law.log_prob(rows)
    value.sum().backward()
    posterior = law.frailty_posterior(rows)
    for tensor in (value, left.grad, right.grad, shape.grad, posterior.concentration, posterior.rate):
        assert bool(tensor.isfinite().all())  # type: ignore[union-attr]
    assert bool((posterior.concentration > 0).all())
    assert bool((posterior.rate > 0).all())


@pytest.mark.parametrize("level", [0.0, 25.0, 60.0, 200.0])
def test_gamma_poisson_stays_exact_where_rates_overflow(level: float) -> None:
    """Lifting every eta by a constant is the same as lowering the prior's rate: no gain from running away."""
    generator = torch.Generator().manual_seed(5)
    factors = torch.randn(4, 3, generator=generator)
    loadings = torch.randn(7, 3, generator=generator)
    value = torch.poisson(torch.full((4, 7), 300.0), generator=generator)
    left, right = with_offsets(factors, loadings, torch.full((4,), level), None)
    got = GammaPoissonRows(Poisson(), left, right, 1.0, 0.7).log_prob(value)
    eta = left.double() @ right.double().T
    a, n = 0.7, value.double().sum(-1)
    log_mass = torch.logsumexp(eta, -1)
    expected = (
        (value * eta - torch.lgamma(value.double() + 1)).sum(-1)
        + torch.lgamma(a + n) - torch.lgamma(torch.tensor(a).double()) + a * np.log(a)
        - (a + n) * torch.logaddexp(torch.tensor(a).double().log(), log_mass)
    )  # fmt: skip
    assert (got <= 0).all()
    np.testing.assert_allclose(got, expected, rtol=3e-5)


@pytest.mark.parametrize("peak", [8.0, 15.0, 25.0])
def test_a_saturated_click_leaves_the_other_cells_their_weight(peak: float) -> None:
    """One click at a huge rate among 1,999 idle cells of rate e^-8, float32 against float64: no runaway is rewarded."""
    eta = torch.full((2000, 1), -8.0)
    eta[0] = peak
    cell = torch.tensor([0]), torch.tensor([0]), torch.ones(1), torch.ones(1)
    found = []
    for dtype in (torch.float32, torch.float64):
        loadings = eta.to(dtype).requires_grad_()
        rows = SparseRows.from_cells(*cell, (1, 2000)).cast(dtype)
        law = GammaCloglogRows(Cloglog(), torch.ones(1, 1, dtype=dtype), loadings, 1.0, 1.0)
        value = law.log_prob(rows).sum()
        (gradient,) = torch.autograd.grad(value, loadings)
        found.append((float(value.detach()), gradient[1:].double()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("peak", [12.0, 20.0, 60.0])
def test_a_masked_cell_that_dwarfs_its_row_says_nothing(peak: float) -> None:
    """A validation cell of rate e^peak beside three cells: as if the column were not there (float32)."""
    eta = torch.tensor([[peak], [-1.0], [0.5], [0.2]])
    rows = SparseRows.from_cells(
        torch.tensor([0, 0]), torch.tensor([0, 2]), torch.tensor([0.0, 2.0]), torch.tensor([0.0, 1.0]), (1, 4)
    )
    without = SparseRows.from_cells(torch.tensor([0]), torch.tensor([1]), torch.tensor([2.0]), torch.ones(1), (1, 3))
    masked = GammaPoissonRows(Poisson(), torch.ones(1, 1), eta, 1.0, 0.8).log_prob(rows)
    gone = GammaPoissonRows(Poisson(), torch.ones(1, 1), eta[1:], 1.0, 0.8).log_prob(without)
    torch.testing.assert_close(masked, gone, rtol=1e-5, atol=1e-5)


@by_law
def test_a_prior_of_another_mean_is_a_shift_of_the_level(kind: type[FrailtyRows], family: Family) -> None:
    """z ~ Gamma(a, b) is z' a / b with z' ~ Gamma(a, a): the same rows, their level higher by log(a / b)."""
    left, right, rows = example(family)
    shape, rate = torch.tensor([0.7, 2.0, 5.0]).double(), torch.tensor([1.4, 0.5, 5.0]).double()
    moved = with_offsets(left, right, (shape / rate).log(), None)
    observed = as_rows(rows, 4)
    own, common = kind(family, left, right, 0.3, shape, rate), kind(family, *moved, 0.3, shape)
    np.testing.assert_allclose(own.log_prob(observed), common.log_prob(observed), rtol=0, atol=1e-9)
    q, p = own.frailty_posterior(observed), common.frailty_posterior(observed)
    np.testing.assert_allclose(q.concentration, p.concentration, rtol=1e-9)
    np.testing.assert_allclose(q.mean, p.mean * shape / rate, rtol=1e-9)
