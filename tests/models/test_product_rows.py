"""Rows of clicks under a product: against a loop over cells with scipy, and their hand-written gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats

from pyrorec.models.families import Bernoulli
from pyrorec.models.predictors import Product, ProductRatio, ProductSaturation, ProductTanh
from pyrorec.models.rows import ProductRows, SparseRows

LINKS = {
    ProductSaturation(saturation=0.7): lambda z: -np.expm1(-0.7 * z),
    ProductRatio(midpoint=1.3): lambda z: z / (z + 1.3),
    ProductTanh(steepness=0.9): lambda z: np.tanh(0.45 * z),
}
by_link = pytest.mark.parametrize("predictor", LINKS, ids=lambda p: p.name)
by_orientation = pytest.mark.parametrize("of_rows", [False, True], ids=["columns are items", "rows are items"])
ROWS, COLUMNS = 4, 5


def example(of_rows: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, SparseRows]:
    """Factors, loadings, log z and cells: several trials, a zero that is stored, and a masked cell."""
    g = torch.Generator().manual_seed(3)
    left, right = torch.randn(ROWS, 3, generator=g).double(), torch.randn(COLUMNS, 3, generator=g).double()
    log_z = torch.randn((ROWS, 1) if of_rows else (1, COLUMNS), generator=g).double()
    rows = SparseRows.from_cells(
        torch.tensor([0, 0, 2, 3]), torch.tensor([1, 3, 0, 4]), torch.tensor([1.0, 0, 2, 0]).double(),
        torch.tensor([1.0, 1, 3, 0]).double(), (ROWS, COLUMNS),
    )  # fmt: skip
    return left, right, log_z, rows


@by_orientation
@by_link
@pytest.mark.parametrize("weight", [1.0, 0.3, 0.0])
def test_log_prob_is_a_sum_over_cells(predictor: Product, of_rows: bool, weight: float) -> None:
    left, right, log_z, rows = example(of_rows)
    p = special.expit((left @ right.T).numpy()) * LINKS[predictor](np.exp(log_z.numpy()))
    value, trials, times = np.zeros(p.shape), np.ones(p.shape), np.full(p.shape, weight)
    value[rows.row, rows.column], trials[rows.row, rows.column] = rows.value, rows.trials
    times[rows.row, rows.column] = 1.0
    expected = (times * stats.binom.logpmf(value, trials, p)).sum(1)
    got = ProductRows(Bernoulli(), left, right, weight, predictor, log_z).log_prob(rows)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@by_orientation
@by_link
def test_the_gradient_is_that_of_finite_differences(predictor: Product, of_rows: bool) -> None:
    *given, rows = example(of_rows)
    leaves = [x.requires_grad_() for x in given]
    assert torch.autograd.gradcheck(
        lambda left, right, log_z: ProductRows(Bernoulli(), left, right, 0.7, predictor, log_z).log_prob(rows), leaves
    )


@by_link
def test_single_precision_holds_where_links_are_tiny_or_full_and_matches_sure(predictor: Product) -> None:
    """z from 1e-12 to 1e6 and logits from -60 to 60: mass and gradient within single precision of the double ones."""
    log_z = torch.log(torch.tensor([[1e-12, 1e-6, 1e-2, 1.0, 1e2, 1e6]]))
    eta = torch.tensor([-60.0, -8.0, 0.0, 8.0, 60.0])[:, None]
    nothing = SparseRows.from_cells(*(torch.zeros(0).long(),) * 2, *(torch.zeros(0),) * 2, (5, 1))
    for z in log_z[0]:
        found = []
        for dtype in (torch.float32, torch.float64):
            left, one = eta.to(dtype).requires_grad_(), torch.ones(1, 1, dtype=dtype)
            total = ProductRows(Bernoulli(), left, one, 1.0, predictor, z.to(dtype)[None, None]).log_prob(
                nothing.cast(dtype)
            )
            (slope,) = torch.autograd.grad(total.sum(), left)
            found.append((total.detach().double(), slope.double()))
        for single, double in zip(*found, strict=True):
            ordinary = double.abs() < 60  # beyond, a click is surer than single precision can tell
            torch.testing.assert_close(single[ordinary], double[ordinary], rtol=1e-4, atol=1e-7)
            assert bool(single.isfinite().all())


@by_link
def test_draws_have_the_probability_of_a_click(predictor: Product) -> None:
    left, right, log_z, _ = example(False)
    law = ProductRows(Bernoulli(), left, right, 1.0, predictor, log_z)
    torch.manual_seed(0)
    mean = law.sample((8_000,)).mean(0).numpy()
    p = special.expit((left @ right.T).numpy()) * LINKS[predictor](np.exp(log_z.numpy()))
    assert (np.abs(mean - p) < 4.5 * np.sqrt(p * (1 - p) / 8_000) + 1e-12).all()
