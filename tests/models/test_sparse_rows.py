"""Sparse rows and their decoders against dense arithmetic."""

from __future__ import annotations

import pytest
import torch

from pyrorec.models.mass import LARGEST_LOG_RATE, ExpMass, Mass, SoftplusMass, SquareMass, safe_exp
from pyrorec.models.rows import SparseRows
from pyrorec.models.rows.decode import decode_dense, decode_stored, with_offsets

MASSES = [ExpMass, SoftplusMass, SquareMass]
DENSE = {
    ExpMass: torch.exp,
    SoftplusMass: lambda eta: torch.log1p(torch.exp(eta)),
    SquareMass: lambda eta: eta * eta,
}


def unordered() -> SparseRows:
    """[[0, 2, .], [., ., .], [4, ., 1]] of trials [[3, 2, .], ..., [5, ., 0]], given in a jumbled order."""
    return SparseRows.from_cells(
        row=torch.tensor([2, 0, 2, 0]),
        column=torch.tensor([2, 1, 0, 0]),
        value=torch.tensor([1.0, 2, 4, 0]),
        trials=torch.tensor([0.0, 2, 5, 3]),
        shape=(3, 3),
    )


MISSING = torch.tensor([[0.0, 0, 1], [1, 1, 1], [0, 1, 0]])
"""Which cells of `unordered` are not stored."""


def test_from_cells_sorts_rows_and_columns() -> None:
    rows = unordered()
    assert rows.start.tolist() == [0, 2, 2, 4]
    assert rows.column.tolist() == [0, 1, 0, 2]
    assert rows.value.tolist() == [0, 2, 4, 1]
    assert rows.trials.tolist() == [3, 2, 5, 0]
    assert rows.row.tolist() == [0, 0, 2, 2]
    assert rows.flat.tolist() == [0, 1, 6, 8]
    assert (len(rows), tuple(rows.shape)) == (3, (3, 3))


def test_row_sums() -> None:
    rows = unordered()
    assert rows.totals.tolist() == [2, 0, 5]
    assert rows.records.tolist() == [2, 0, 1]  # a cell of no trials is no record
    assert rows.sum_by_row(torch.tensor([1.0, 10, 100, 1000])).tolist() == [11, 0, 1100]


def test_take_reorders_repeats_and_keeps_empty_rows() -> None:
    taken = unordered().take(torch.tensor([2, 1, 0, 2]))
    assert taken.start.tolist() == [0, 2, 2, 4, 6]
    assert taken.column.tolist() == [0, 2, 0, 1, 0, 2]
    assert taken.value.tolist() == [4, 1, 0, 2, 4, 1]
    assert taken.trials.tolist() == [5, 0, 3, 2, 5, 0]
    nothing = unordered().take(torch.tensor([], dtype=torch.long))
    assert (len(nothing), nothing.totals.tolist()) == (0, [])


def test_from_dense_stores_every_cell() -> None:
    value = torch.tensor([[0.0, 2, 0], [1, 0, 3]])
    rows = SparseRows.from_dense(value)
    assert rows.start.tolist() == [0, 3, 6]
    assert rows.column.tolist() == [0, 1, 2, 0, 1, 2]
    assert rows.value.tolist() == [0, 2, 0, 1, 0, 3]
    assert rows.trials.tolist() == [1] * 6
    assert SparseRows.from_dense(value, trials=value + 4).trials.tolist() == [4, 6, 4, 5, 4, 7]


def test_cast_and_move_keep_the_pattern() -> None:
    rows = unordered().cast(torch.float64).to("cpu")
    assert rows.value.dtype == rows.trials.dtype == torch.float64
    assert rows.column.dtype == torch.int64
    assert rows.flat.tolist() == [0, 1, 6, 8]


@pytest.mark.parametrize("mass", MASSES)
def test_dense_decode_matches_autograd_on_the_dense_product(mass: type[Mass]) -> None:
    factors, loadings = torch.randn(3, 2).double(), torch.randn(3, 2).double()
    cell_weights, row_weights = torch.randn(4).double(), torch.randn(3).double()
    rows = unordered()

    def gradients(total_and_stored) -> list[torch.Tensor]:  # type: ignore[no-untyped-def]
        f, b = factors.clone().requires_grad_(), loadings.clone().requires_grad_()
        total, stored = total_and_stored(f, b)
        value = (row_weights * total).sum() + (cell_weights * stored**2).sum()
        return [value.detach(), *torch.autograd.grad(value, [f, b])]

    def dense(f: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        eta = f @ b.T
        return (DENSE[mass](eta) * MISSING).sum(-1), eta[[0, 0, 2, 2], [0, 1, 0, 2]]

    for got, expected in zip(gradients(lambda f, b: decode_dense(f, b, rows, mass)), gradients(dense), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mass", MASSES)
def test_dense_decode_passes_gradcheck(mass: type[Mass]) -> None:
    factors = torch.randn(3, 2).double().requires_grad_()
    loadings = torch.randn(3, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda f, b: decode_dense(f, b, unordered(), mass), (factors, loadings))


def test_stored_decode_matches_autograd_and_gradcheck() -> None:
    factors = torch.randn(3, 2).double().requires_grad_()
    loadings = torch.randn(3, 2).double().requires_grad_()
    rows = unordered()
    eta = factors @ loadings.T
    got = decode_stored(factors, loadings, rows)
    torch.testing.assert_close(got, eta[[0, 0, 2, 2], [0, 1, 0, 2]])
    assert torch.autograd.gradcheck(lambda f, b: decode_stored(f, b, rows), (factors, loadings))


@pytest.mark.parametrize("side", [0, 1])
def test_decoders_differentiate_one_argument_alone(side: int) -> None:
    given = [torch.randn(3, 2).double(), torch.randn(3, 2).double()]
    given[side].requires_grad_()
    total, stored = decode_dense(*given, unordered(), ExpMass)
    (dense,) = torch.autograd.grad(total.sum() + stored.sum(), given[side])
    eta = given[0] @ given[1].T
    (expected,) = torch.autograd.grad((eta.exp() * MISSING).sum() + eta[[0, 0, 2, 2], [0, 1, 0, 2]].sum(), given[side])
    torch.testing.assert_close(dense, expected)
    (sparse,) = torch.autograd.grad(decode_stored(*given, unordered()).sum(), given[side])
    assert sparse.isfinite().all()


@pytest.mark.parametrize("mass", MASSES)
def test_a_stored_cell_that_dwarfs_its_row_leaves_the_rest_exact(mass: type[Mass]) -> None:
    """Summing everything and taking the stored cell out again would leave rounding error only (float32)."""
    loadings = torch.tensor([[25.0], [-8.0], [-7.0]])
    rows = SparseRows.from_cells(*torch.tensor([[0], [0]]), torch.ones(1), torch.ones(1), (1, 3))
    total, _ = decode_dense(torch.ones(1, 1), loadings, rows, mass)
    expected = DENSE[mass](loadings[1:].double()).sum()
    torch.testing.assert_close(total[0].double(), expected, rtol=1e-6, atol=0)


def test_mass_beyond_the_largest_rate_is_the_tangent() -> None:
    eta = torch.tensor([LARGEST_LOG_RATE - 1, LARGEST_LOG_RATE, LARGEST_LOG_RATE + 2], dtype=torch.float64)
    edge = torch.tensor(LARGEST_LOG_RATE, dtype=torch.float64).exp()
    torch.testing.assert_close(safe_exp(eta), torch.stack([eta[0].exp(), edge, 3 * edge]))
    total, slope = ExpMass.sum_and_slope(eta.clone()[None])
    torch.testing.assert_close(total, safe_exp(eta).sum()[None])
    torch.testing.assert_close(slope[0], torch.stack([eta[0].exp(), edge, edge]))


def test_offsets_are_added_by_the_product() -> None:
    factors, loadings = torch.randn(3, 2), torch.randn(4, 2)
    row, column = torch.randn(3), torch.randn(4)
    left, right = with_offsets(factors, loadings, row, column)
    torch.testing.assert_close(left @ right.T, factors @ loadings.T + row[:, None] + column)
    left, right = with_offsets(factors, loadings, None, column)
    torch.testing.assert_close(left @ right.T, factors @ loadings.T + column)
