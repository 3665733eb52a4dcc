"""Linear predictors of whole rows, with a hand-written gradient.

A row of zeros needs only the sum of u(eta) over its columns, and its stored cells need eta at their places.
Both come from one matrix product, one pass over one buffer, and one product back for each gradient.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyrorec.models.mass import Mass
from pyrorec.models.rows.sparse import SparseRows


class _DenseDecode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, factors: Tensor, loadings: Tensor, flat: Tensor, mass: type[Mass]) -> tuple[Tensor, Tensor]:
        eta = factors @ loadings.T
        stored = eta.view(-1)[flat]
        eta.view(-1)[flat] = mass.nothing
        total, slope = mass.sum_and_slope(eta)
        ctx.save_for_backward(factors, loadings, slope, flat)
        return total, stored

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, grad_stored: Tensor) -> tuple[Tensor | None, ...]:
        factors, loadings, slope, flat = ctx.saved_tensors
        grad = slope * grad_total[:, None]
        grad.view(-1)[flat] = grad_stored  # no cell is stored twice, so nothing is lost by plain indexing
        wants_factors, wants_loadings = ctx.needs_input_grad[:2]
        return (
            grad @ loadings if wants_factors else None,
            grad.T @ factors if wants_loadings else None,
            None,
            None,
        )


def decode_dense(factors: Tensor, loadings: Tensor, rows: SparseRows, mass: type[Mass]) -> tuple[Tensor, Tensor]:
    """Sum of u(eta) over the columns not stored in each row (rows,), and eta at the stored cells (cells,).

    Stored cells are left out before anything is summed: one of them may dwarf the rest of its row, and taking it
    out of a sum afterwards would leave only its rounding error.

    eta = factors @ loadings.T with factors (rows, K) and loadings (columns, K). First derivatives only.
    """
    return _DenseDecode.apply(factors, loadings, rows.flat, mass)


class _SparseDecode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, factors: Tensor, loadings: Tensor, row: Tensor, column: Tensor, start: Tensor) -> Tensor:
        ctx.save_for_backward(factors, loadings, row, column, start)
        return (factors[row] * loadings[column]).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        factors, loadings, row, column, start = ctx.saved_tensors
        wants_factors, wants_loadings = ctx.needs_input_grad[:2]
        to_factors = to_loadings = None
        if wants_factors:
            to_factors = F.embedding_bag(
                column, loadings, start, mode="sum", per_sample_weights=grad, include_last_offset=True
            )
        if wants_loadings:
            to_loadings = torch.zeros_like(loadings).index_add_(0, column, grad[:, None] * factors[row])
        return to_factors, to_loadings, None, None, None


def decode_stored(factors: Tensor, loadings: Tensor, rows: SparseRows) -> Tensor:
    """eta at the stored cells alone (cells,), without the dense product. First derivatives only."""
    return _SparseDecode.apply(factors, loadings, rows.row, rows.column, rows.start)


def with_offsets(factors: Tensor, loadings: Tensor, row: Tensor | None, column: Tensor | None) -> tuple[Tensor, Tensor]:
    """Factors and loadings widened so that their product also adds an offset per row and per column."""
    left, right = [factors], [loadings]
    if row is not None:
        left.append(row[:, None])
        right.append(torch.ones_like(loadings[:, :1]))
    if column is not None:
        left.append(torch.ones_like(factors[:, :1]))
        right.append(column[:, None])
    return torch.cat(left, -1), torch.cat(right, -1)
