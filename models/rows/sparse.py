"""Rows of a user x item log as a value that a distribution can score."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class SparseRows:
    """Some rows in compressed form: the observed pattern and the values apart.

    `start` (rows + 1,) delimits each row's cells in `column`, `value` and `trials` (cells,). A stored cell of
    zero trials is masked: it says nothing, and is taken out of what the row says of its missing cells.
    """

    start: Tensor
    column: Tensor
    value: Tensor
    trials: Tensor
    columns: int

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), self.columns))

    @cached_property
    def row(self) -> Tensor:
        """Row number of each cell, (cells,)."""
        return torch.repeat_interleave(
            torch.arange(len(self), device=self.start.device), self.start.diff(), output_size=len(self.column)
        )

    @cached_property
    def flat(self) -> Tensor:
        """Position of each cell in the dense rows x columns array, (cells,)."""
        return self.row * self.columns + self.column

    def sum_by_row(self, cells: Tensor) -> Tensor:
        """Row sums of a quantity per cell, (rows,)."""
        total = torch.zeros(len(self), dtype=cells.dtype, device=cells.device)
        return total.index_add(0, self.row, cells)

    @cached_property
    def totals(self) -> Tensor:
        """Sum of values by row, (rows,)."""
        return self.sum_by_row(self.value)

    @cached_property
    def records(self) -> Tensor:
        """Number of unmasked cells by row, (rows,)."""
        return self.sum_by_row((self.trials > 0).to(self.value.dtype))

    def take(self, ids: Tensor) -> SparseRows:
        """The rows `ids`, in that order."""
        first = self.start[ids]
        lengths = self.start[ids + 1] - first
        start = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        cells = torch.arange(int(start[-1]), device=ids.device)
        cells += torch.repeat_interleave(first - start[:-1], lengths, output_size=len(cells))
        return SparseRows(start, self.column[cells], self.value[cells], self.trials[cells], self.columns)

    def to(self, device: torch.device | str) -> SparseRows:
        start, column, value, trials = (t.to(device) for t in (self.start, self.column, self.value, self.trials))
        return SparseRows(start, column, value, trials, self.columns)

    def cast(self, dtype: torch.dtype) -> SparseRows:
        """The same rows with values and trials in another floating type."""
        return SparseRows(self.start, self.column, self.value.to(dtype), self.trials.to(dtype), self.columns)

    @classmethod
    def from_dense(cls, value: Tensor, trials: Tensor | None = None) -> SparseRows:
        """Every cell of a dense (rows, columns) array as a stored cell of one trial (or of `trials`)."""
        rows, columns = value.shape
        trials = torch.ones_like(value) if trials is None else trials
        start = torch.arange(0, (rows + 1) * columns, columns, device=value.device)
        column = torch.arange(columns, device=value.device).repeat(rows)
        return cls(start, column, value.reshape(-1), trials.reshape(-1), columns)

    @classmethod
    def from_cells(
        cls, row: Tensor, column: Tensor, value: Tensor, trials: Tensor, shape: tuple[int, int]
    ) -> SparseRows:
        """From coordinates in any order; no pair may occur twice."""
        order = torch.argsort(row * shape[1] + column)
        lengths = torch.bincount(row, minlength=shape[0])
        start = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        return cls(start, column[order], value[order], trials[order], shape[1])
