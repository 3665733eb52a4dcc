"""Mean and variance of the linear predictor in every cell of some rows, each as one product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from pyrorec.models.rows.decode import decode_stored, with_offsets
from pyrorec.models.rows.sparse import SparseRows

Moments = tuple[Tensor, Tensor]
"""A mean and a variance."""


@dataclass(frozen=True)
class PredictorMoments:
    """eta of every cell: mean `left` @ `right`.T, variance `left_square` @ `right_variance`.T, offsets included.

    left (rows, J), right (columns, J); left_square (rows, L), right_variance (columns, L).
    """

    left: Tensor
    right: Tensor
    left_square: Tensor
    right_variance: Tensor

    @classmethod
    def of_product(
        cls, factors: Moments, loadings: Moments, row: tuple[Tensor, Tensor | None], column: Moments | None
    ) -> Self:
        """Of independent coordinates: `factors` (rows, K), `loadings` (columns, K), an offset per row and per column.

        The mean is a . b and the variance sum(a^2 t^2 + b^2 s^2 + s^2 t^2) over coordinates of means a, b and sds s, t
        (maths 6.4). A row's offset is a number where it has no variance.
        """
        (a, s2), (b, t2) = factors, loadings
        column_mean, column_variance = column or (None, None)
        left, right = with_offsets(a, b, row[0], column_mean)
        spreads = torch.cat([a.square() + s2, s2], -1), torch.cat([t2, b.square()], -1)
        left_square, right_variance = with_offsets(*spreads, row[1], column_variance)
        return cls(left, right, left_square, right_variance)

    def stored(self, rows: SparseRows) -> Moments:
        """Mean and variance of eta at the stored cells, (cells,)."""
        return (
            decode_stored(self.left, self.right, rows),
            decode_stored(self.left_square, self.right_variance, rows),
        )
