"""Rows with the other side integrated out, against quadrature cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyrorec.models.families import Bernoulli, Cloglog, Family, Gaussian, Poisson
from pyrorec.models.predictors import UnfitPair
from pyrorec.models.rows import SparseRows
from pyrorec.models.rows.expected import NormalPredictor, expected_log_prob


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double() * 0.7


def rows_of(family: Family) -> SparseRows:
    """Three rows of four columns: stored cells with trials other than one, and a masked one."""
    value = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.0]).double()
    trials = torch.tensor([1.0, 1.0, 3.0, 2.0, 0.0]).double()
    row, column = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([1, 3, 0, 2, 3])
    return SparseRows.from_cells(row, column, value, trials, (3, 4))


@pytest.mark.parametrize(("family", "weight"), [
    (Poisson(), 1.0), (Poisson(), 0.3), (Gaussian(sd=0.8), 0.7), (Cloglog(), 0.5), (Bernoulli(), 0.0),
], ids=lambda x: getattr(x, "name", str(x)))  # fmt: skip
def test_it_is_the_sum_of_every_cells_expectation(family: Family, weight: float) -> None:
    rows = rows_of(family)
    factors, mean, sd, row, offset = (draw(*s, seed=n) for n, s in enumerate([(3, 2), (4, 2), (4, 2), (3,), (4,)]))
    spread = draw(4, seed=9).square() + 0.1
    eta = NormalPredictor.of(factors, (mean, sd.square()), row, (offset, spread))
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    m = factors @ mean.T + row[:, None] + offset
    s = (factors.square() @ sd.square().T + spread).sqrt()
    stored = {(int(r), int(c)): n for n, (r, c) in enumerate(zip(rows.row, rows.column, strict=True))}
    expected = torch.zeros(3).double()
    one, zero = torch.ones(()).double(), torch.zeros(()).double()
    for r in range(3):
        for c in range(4):
            at = stored.get((r, c))
            value, trials, share = (zero, one, weight) if at is None else (rows.value[at], rows.trials[at], 1.0)
            for x, w in zip(nodes, weights, strict=True):
                expected[r] += share * w * family.log_prob(value, trials, m[r, c] + x * s[r, c])
    torch.testing.assert_close(expected_log_prob(family, weight, eta, rows), expected, rtol=1e-6, atol=1e-7)


def test_absent_clicks_under_a_logit_are_refused() -> None:
    loadings = draw(4, 2, seed=1), draw(4, 2, seed=2).square()
    eta = NormalPredictor.of(draw(3, 2, seed=0), loadings, draw(3, seed=3), None)
    with pytest.raises(UnfitPair, match="missing unobserved"):
        expected_log_prob(Bernoulli(), 1.0, eta, rows_of(Bernoulli()))
