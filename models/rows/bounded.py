"""Rows of clicks with both sides integrated out, by the Jaakkola-Jordan bound (maths 6.4): never above the expectation.

The bound needs two moments of eta, which a product of independent factors has in closed form, and nothing is drawn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyrorec.models.families import Family
from pyrorec.models.families.jaakkola_jordan import jaakkola_jordan
from pyrorec.models.integrals.jaakkola_jordan import bound_and_slopes
from pyrorec.models.rows.predictor_moments import PredictorMoments
from pyrorec.models.rows.sparse import SparseRows


class _DenseBound(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, left: Tensor, right: Tensor, left_square: Tensor, right_variance: Tensor, flat: Tensor
    ) -> Tensor:
        found = bound_and_slopes(left @ right.T, left_square @ right_variance.T)
        for cells in found:
            cells.view(-1)[flat] = 0.0
        ctx.save_for_backward(left, right, left_square, right_variance, *found[1:])
        return found[0].sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, right, left_square, right_variance, by_mean, by_variance = ctx.saved_tensors
        wants, scale = ctx.needs_input_grad, grad[:, None]
        return (
            by_mean @ right * scale if wants[0] else None,
            by_mean.T @ (left * scale) if wants[1] else None,
            by_variance @ right_variance * scale if wants[2] else None,
            by_variance.T @ (left_square * scale) if wants[3] else None,
            None,
        )


def missing_softplus(eta: PredictorMoments, rows: SparseRows) -> Tensor:
    """Upper bound of the sum of E softplus(eta) over the columns not stored in each row, (rows,).

    Each cell has its own best xi. Stored cells are left out before anything is summed. First derivatives only.
    """
    total: Tensor = _DenseBound.apply(eta.left, eta.right, eta.left_square, eta.right_variance, rows.flat)
    return total


def bounded_log_prob(family: Family, missing_weight: float, eta: PredictorMoments, rows: SparseRows) -> Tensor:
    """Lower bound of E log p(row) over every law of eta with these moments, (rows,).

    Raises NotImplementedError for a family that is no clicks under a logit.
    """
    cells = jaakkola_jordan(family, rows.value, rows.trials, *eta.stored(rows))
    stored = rows.sum_by_row(cells)
    if not missing_weight:
        return stored
    missing = (rows.columns - rows.start.diff()).to(stored.dtype)
    return stored + missing_weight * family.zeros(missing_softplus(eta, rows), missing)
