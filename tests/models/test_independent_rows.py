"""Rows of independent cells against a cell-by-cell evaluation with scipy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from conftest import CELLWISE, plausible
from scipy import special, stats

from pyrorec.models.families import (
    Bernoulli,
    Beta,
    Binomial,
    Cloglog,
    ExponentialFamily,
    ExponentialResponse,
    Family,
    GammaResponse,
    Gaussian,
    GaussianKnown,
    GaussianPerItem,
    HurdleGamma,
    NegativeBinomial,
    Ordinal,
    Outcome,
    Poisson,
    Probit,
)
from pyrorec.models.rows import IndependentRows, SparseRows, base


def cloglog(clicks: np.ndarray, trials: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """A click is a Poisson count above zero."""
    clicked, idle = stats.poisson.logsf(0, rate), stats.poisson.logpmf(0, rate)
    return clicks * clicked + (trials - clicks) * idle + np.log(special.comb(trials, clicks))


def probit(clicks: np.ndarray, trials: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """A click is a standard normal below eta."""
    clicked, idle = special.log_ndtr(eta), special.log_ndtr(-eta)
    return clicks * clicked + (trials - clicks) * idle + np.log(special.comb(trials, clicks))


def hurdle(y: np.ndarray, n: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Odds .8 e^(1.3 eta) of an amount, which is then Gamma of shape 1.7."""
    some = special.expit(np.log(0.8) + 1.3 * eta)
    amount = stats.gamma.logpdf(np.where(y > 0, y / np.maximum(n, 1), 1.0), 1.7, scale=np.exp(eta) / 1.7)
    return n * np.where(y > 0, np.log(some) + amount, np.log1p(-some))


def ordinal(y: np.ndarray, n: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Cuts 0, .7, 1.9, 2.2."""
    cuts = np.array([-np.inf, 0.0, 0.7, 1.9, 2.2, np.inf])
    rating = np.maximum((y / np.maximum(n, 1)).astype(int), 1)
    return n * np.log(special.expit(cuts[rating] - eta) - special.expit(cuts[rating - 1] - eta))


def share(y: np.ndarray, n: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Precision 6."""
    mean, r = special.expit(eta), np.where(n > 0, y / np.maximum(n, 1), 0.5)
    return n * stats.beta.logpdf(r, 6 * mean, 6 * (1 - mean))


def amount(y: np.ndarray, n: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Gamma of shape 1.7."""
    r = np.where(n > 0, y / np.maximum(n, 1), 1.0)
    return n * stats.gamma.logpdf(r, 1.7, scale=np.exp(eta) / 1.7)


def total_amount(y: np.ndarray, n: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Sum of n exponentials."""
    return (n > 0) * stats.gamma.logpdf(np.where(n > 0, y, 1.0), np.maximum(n, 1), scale=np.exp(eta))


FAMILIES: list[Family] = [
    Poisson(),
    Bernoulli(),
    Cloglog(),
    Gaussian(sd=0.7),
    Probit(),
    Binomial(),
    NegativeBinomial(dispersion=0.8),
    GaussianKnown(sd=0.7),
    GaussianPerItem(sd=0.7),
    ExponentialResponse(),
    GammaResponse(shape=1.7),
    HurdleGamma(shape=1.7, odds=0.8, slope=1.3),
    Beta(precision=6.0),
    Ordinal(gaps=(0.7, 1.2, 0.3)),
]
REFERENCE: dict[type[Family], Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    Poisson: lambda y, n, eta: stats.poisson.logpmf(y, n * np.exp(eta)),
    Bernoulli: lambda y, n, eta: stats.binom.logpmf(y, n, special.expit(eta)),
    Cloglog: lambda y, n, eta: cloglog(y, n, np.exp(eta)),
    Probit: probit,
    Gaussian: lambda y, n, eta: n * stats.norm.logpdf(y / np.maximum(n, 1), eta, 0.7),
    GaussianKnown: lambda y, n, eta: n * stats.norm.logpdf(y / np.maximum(n, 1), eta, 0.7),
    GaussianPerItem: lambda y, n, eta: n * stats.norm.logpdf(y / np.maximum(n, 1), eta, 0.7),
    Binomial: lambda y, n, eta: stats.binom.logpmf(y, 5 * n, special.expit(eta)),
    NegativeBinomial: lambda y, n, eta: (
        (n > 0) * stats.nbinom.logpmf(y, np.maximum(n, 1) * 0.8, 0.8 / (0.8 + np.exp(eta)))
    ),
    ExponentialResponse: total_amount,
    GammaResponse: amount,
    HurdleGamma: hurdle,
    Beta: share,
    Ordinal: ordinal,
}
WEIGHTS = [1.0, 0.0, 0.3]
by_name = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
by_weight = pytest.mark.parametrize(
    ("family", "missing_weight"),
    [(family, weight) for family in FAMILIES for weight in WEIGHTS if family.absent_refusal(weight) is None],
    ids=lambda x: getattr(x, "name", x),
)


@dataclass(frozen=True)
class Cells:
    """Dense arrays (rows, columns): value, trials, and which cells are stored at all."""

    value: np.ndarray
    trials: np.ndarray
    stored: np.ndarray

    def sparse(self, dtype: torch.dtype = torch.float64) -> SparseRows:
        row, column = self.stored.nonzero()
        return SparseRows.from_cells(
            torch.as_tensor(row),
            torch.as_tensor(column),
            torch.as_tensor(self.value[row, column], dtype=dtype),
            torch.as_tensor(self.trials[row, column], dtype=dtype),
            self.value.shape,
        )


def cells(family: Family, seed: int = 0, rows: int = 5, columns: int = 7) -> Cells:
    """Stored cells of 0 to 4 trials (0 is masked), some missing."""
    rng = np.random.default_rng(seed)
    stored = rng.random((rows, columns)) < 0.6
    trials = rng.integers(0, 5, (rows, columns)) * stored
    value = {
        Outcome.CLICK: rng.binomial(trials, 0.5),
        Outcome.COUNT: rng.poisson(2.0, trials.shape) * (trials > 0),
    }.get(family.outcome, rng.normal(size=trials.shape) * (trials > 0))
    value = plausible(family, torch.as_tensor(value).double(), torch.as_tensor(trials).double()).numpy()
    return Cells(value.astype(float), trials.astype(float), stored)


def factors(seed: int, rows: int = 5, columns: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 3, generator=g).double(), torch.randn(columns, 3, generator=g).double()


def naive(family: Family, data: Cells, eta: np.ndarray, missing_weight: float) -> np.ndarray:
    """Each cell by itself: recorded, masked (nothing), or missing (a weighted zero)."""
    reference, total = REFERENCE[type(family)], np.zeros(len(eta))
    for u, i in np.ndindex(*eta.shape):
        if not data.stored[u, i]:
            total[u] += missing_weight * reference(0.0, 1.0, eta[u, i]) if missing_weight else 0.0
        elif data.trials[u, i] > 0:
            total[u] += reference(data.value[u, i], data.trials[u, i], eta[u, i])
    return total


def test_every_family_has_an_independent_reference() -> None:
    assert set(CELLWISE) == set(REFERENCE) == {type(family) for family in FAMILIES}


@by_weight
def test_log_prob_of_rows_is_the_sum_over_cells(family: Family, missing_weight: float) -> None:
    data, (left, right) = cells(family), factors(1)
    got = IndependentRows(family, left, right, missing_weight).log_prob(data.sparse())
    np.testing.assert_allclose(got, naive(family, data, (left @ right.T).numpy(), missing_weight), rtol=1e-11)


@by_weight
def test_a_masked_cell_counts_as_if_its_column_were_not_there(family: Family, missing_weight: float) -> None:
    data, (left, right) = cells(family, seed=3), factors(2)
    data.stored[0, 4], data.trials[0, 4], data.value[0, 4] = True, 0.0, 0.0
    others = np.arange(7) != 4
    kept = Cells(data.value[:1, others], data.trials[:1, others], data.stored[:1, others])
    masked = IndependentRows(family, left, right, missing_weight).log_prob(data.sparse())[0]
    removed = IndependentRows(family, left[:1], right[others], missing_weight).log_prob(kept.sparse())[0]
    assert float(masked) == pytest.approx(float(removed), rel=1e-12)


@by_name
def test_dense_values_are_fully_observed_rows(family: Family) -> None:
    data, (left, right) = cells(family, seed=4), factors(3)
    value = torch.as_tensor(np.minimum(data.value, 1.0))
    value = plausible(family, value, torch.ones_like(value))
    expected = REFERENCE[type(family)](value.numpy(), np.ones((5, 7)), (left @ right.T).numpy()).sum(-1)
    for missing_weight in [weight for weight in WEIGHTS if family.absent_refusal(weight) is None]:
        np.testing.assert_allclose(
            IndependentRows(family, left, right, missing_weight).log_prob(value), expected, rtol=1e-11
        )


@by_name
def test_cell_log_prob_is_per_stored_cell(family: Family) -> None:
    data, (left, right) = cells(family), factors(1)
    rows, eta = data.sparse(), (left @ right.T).numpy()[data.stored]
    got = IndependentRows(family, left, right, 1.0).cell_log_prob(rows).numpy()
    seen = data.trials[data.stored] > 0
    expected = REFERENCE[type(family)](data.value[data.stored], data.trials[data.stored], eta)
    np.testing.assert_allclose(got[seen], expected[seen], rtol=1e-11)
    assert not got[~seen].any()


@by_weight
def test_gradients_match_finite_differences_of_the_reference(family: Family, missing_weight: float) -> None:
    data, (left, right) = cells(family, seed=5), factors(4)
    f, b = left.clone().requires_grad_(), right.clone().requires_grad_()
    IndependentRows(family, f, b, missing_weight).log_prob(data.sparse()).sum().backward()

    def value(a: np.ndarray, c: np.ndarray) -> float:
        return float(naive(family, data, a @ c.T, missing_weight).sum())

    np.testing.assert_allclose(
        f.grad[1], difference(lambda x: value(with_row(left, 1, x), right.numpy()), left[1]), rtol=1e-6, atol=1e-7
    )  # type: ignore[index]
    np.testing.assert_allclose(
        b.grad[2], difference(lambda x: value(left.numpy(), with_row(right, 2, x)), right[2]), rtol=1e-6, atol=1e-7
    )  # type: ignore[index]


def with_row(table: torch.Tensor, row: int, x: np.ndarray) -> np.ndarray:
    out = table.numpy().copy()
    out[row] = x
    return out


def difference(f: Callable[[np.ndarray], float], at: torch.Tensor, step: float = 1e-5) -> np.ndarray:
    """Central differences of f, one coordinate at a time."""
    x = at.numpy()
    return np.array([(f(x + d) - f(x - d)) / (2 * step) for d in step * np.eye(len(x))])


@by_name
def test_samples_have_the_mean_and_variance_of_the_law(family: Family) -> None:
    left, right = factors(5, rows=2, columns=3)
    eta = 0.5 * (left @ right.T).numpy()
    draws = IndependentRows(family, 0.5 * left, right, 1.0).sample((8000,)).numpy()
    rate = np.exp(eta)
    clicks = {"bernoulli": special.expit(eta), "cloglog": -np.expm1(-rate), "probit": special.ndtr(eta)}
    click = clicks.get(family.name)
    mean = {"poisson": rate, "gaussian": eta}.get(family.name, click)
    variance = {"poisson": rate, "gaussian": np.full_like(eta, 0.49)}.get(family.name)
    if mean is None:
        mean, variance = moments_of(family, eta)
    variance = click * (1 - click) if variance is None else variance
    assert draws.shape == (8000, 2, 3)
    assert (np.abs(draws.mean(0) - mean) < 4 * np.sqrt(variance / 8000)).all()
    spread = ((draws - mean) ** 2).std(0) / np.sqrt(8000)
    assert (np.abs(((draws - mean) ** 2).mean(0) - variance) < 4 * spread + 1e-9).all()


def moments_of(family: Family, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance as the family states them; of ratings from their probabilities."""
    at = torch.as_tensor(eta)
    if isinstance(family, ExponentialFamily):
        return family.mean(at).numpy(), family.variance(at).numpy()
    ratings = np.arange(1.0, 6.0)[:, None, None]
    p = np.exp(ordinal(ratings, np.ones_like(ratings), eta))
    mean = (p * ratings).sum(0)
    return mean, (p * (ratings - mean) ** 2).sum(0)


def test_fields_of_items_follow_their_items_on_both_sides() -> None:
    """User rows know an item by its column, item rows by its number; both give the same likelihood and slopes."""
    family = GaussianPerItem(sd=torch.tensor([0.3, 0.7, 1.1, 0.2, 2.0, 0.9, 0.5]).double().requires_grad_())
    data, (left, right) = cells(GaussianPerItem(), seed=6), factors(8)
    users, eta, seen = data.sparse(), (left @ right.T).numpy(), data.trials > 0
    sd = np.broadcast_to(family.sd.detach().numpy(), seen.shape)
    each = data.trials * stats.norm.logpdf(data.value / np.maximum(data.trials, 1), eta, sd)
    by_user = IndependentRows(family, left, right, 0.0).log_prob(users)
    np.testing.assert_allclose(by_user.detach(), (each * seen).sum(1), rtol=1e-11)
    picked = torch.tensor([5, 0, 3])
    items = Cells(data.value.T, data.trials.T, data.stored.T).sparse().take(picked)
    by_item = IndependentRows(family, right[picked], left, 0.0, picked).log_prob(items)
    np.testing.assert_allclose(by_item.detach(), (each * seen).sum(0)[picked], rtol=1e-11)
    slopes = [torch.autograd.grad(total.sum(), family.sd)[0] for total in (by_user, by_item)]
    torch.testing.assert_close(slopes[0][picked], slopes[1][picked])
    assert not slopes[1][[1, 2, 4, 6]].any()
    law = IndependentRows(family, 0 * right[picked], left, 0.0, picked)
    torch.testing.assert_close(law.sample((4000,)).std((0, 2)), family.sd.detach()[picked], rtol=0.05, atol=0)


@pytest.mark.parametrize("missing_weight", [0.0, 0.3])
@pytest.mark.parametrize("name", ["negative-binomial", "hurdle-gamma", "gaussian", "gamma", "beta", "ordinal"])
def test_gradients_reach_what_a_family_learns(name: str, missing_weight: float) -> None:
    """Through stored cells and, where absent cells are zeros, through the dense sum as well."""
    (family,) = (f for f in FAMILIES if f.name == name)
    weight = missing_weight if family.absent_refusal(missing_weight) is None else 0.0
    rows, (left, right) = cells(family, seed=7).sparse(), factors(9)
    starts = [torch.as_tensor(getattr(family, field), dtype=torch.float64) for field in family.learned]

    def total(*learned: torch.Tensor) -> torch.Tensor:
        used = replace(family, **dict(zip(family.learned, learned, strict=True)))
        return IndependentRows(used, left, right, weight).log_prob(rows).sum()

    assert torch.autograd.gradcheck(total, [start.requires_grad_() for start in starts], atol=1e-6, rtol=1e-6)


def test_too_large_a_sample_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    law = IndependentRows(Poisson(), *factors(6), 1.0)
    monkeypatch.setattr(base, "LARGEST_SAMPLE", 70)
    assert law.sample((2,)).shape == (2, 5, 7)
    with pytest.raises(ValueError, match="draw fewer rows"):
        law.sample((3,))


def test_rows_are_not_expanded() -> None:
    law = IndependentRows(Poisson(), *factors(7), 1.0)
    assert law.expand((5,)) is law
    assert (law.batch_shape, law.event_shape) == ((5,), (7,))
    with pytest.raises(NotImplementedError, match="as many factors as rows"):
        law.expand((2, 5))


@by_weight
@pytest.mark.parametrize("largest", [60.0, -60.0])
def test_extreme_float32_predictors_stay_finite(family: Family, missing_weight: float, largest: float) -> None:
    left = torch.tensor([[largest], [0.0], [1.0]], requires_grad=True)
    right = torch.tensor([[1.0], [0.5], [-1.0], [0.0]], requires_grad=True)
    largest_count = {Outcome.COUNT: 352_698.0}.get(family.outcome, 1.0)
    trials = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
    values = plausible(family, torch.tensor([largest_count, 0.0, 1.0, 1.0, 0.0]), trials)
    rows = SparseRows.from_cells(torch.tensor([0, 0, 0, 1, 2]), torch.tensor([0, 1, 2, 3, 0]), values, trials, (3, 4))
    value = IndependentRows(family, left, right, missing_weight).log_prob(rows)
    value.sum().backward()
    assert value.dtype == torch.float32
    assert all(bool(t.isfinite().all()) for t in (value, left.grad, right.grad))
