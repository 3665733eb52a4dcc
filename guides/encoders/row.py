"""The row encoder of the paper: a network that reads a whole row, with an embedding of every column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pyrorec.guides.encoders.base import Encoder, Layered, Setting, pooled
from pyrorec.models.rows import SparseRows


@dataclass(frozen=True)
class RowEncoding(Layered):
    """One embedding per column and channel, summed over the row's cells, then `hidden` layers (maths 6.1)."""

    name: ClassVar[str] = "row"

    def build(self, setting: Setting) -> Encoder:
        return RowEncoder(self, setting)


class RowEncoder(Encoder):
    """The first layer is a weighted sum of one embedding per column and channel.

    It costs the number of stored cells, not of columns; its parameters grow with the catalogue.
    """

    def make_first(self, setting: Setting, width: int, summaries: int) -> None:
        columns = setting.rows.columns
        self.pattern = nn.Parameter(torch.randn(columns, width) * 0.3)
        self.value = nn.Parameter(torch.randn(columns, width) * 0.3) if self.inputs.varies else None
        self.bias = nn.Parameter(torch.zeros(width))

    def legible(self, rows: SparseRows) -> SparseRows:
        """The rows with the cells masked whose column has no embedding; columns appended after training are zeros."""
        seen = self.pattern.ne(0).any(-1)[rows.column].to(rows.value.dtype)
        return SparseRows(rows.start, rows.column, rows.value * seen, rows.trials * seen, rows.columns)

    def first(self, rows: SparseRows, pattern: Tensor, value: Tensor | None, others: Tensor | None) -> Tensor:
        h = self.bias + pooled(rows, self.pattern, pattern)
        return h if self.value is None or value is None else h + pooled(rows, self.value, value)
