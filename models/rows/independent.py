"""Rows whose cells are independent given the factors."""

from __future__ import annotations

from torch import Tensor

from pyrorec.models.rows.base import RowDistribution, as_rows
from pyrorec.models.rows.decode import decode_stored
from pyrorec.models.rows.sparse import SparseRows


class IndependentRows(RowDistribution):
    """log p(row) = sum over stored cells of log p(value) + missing_weight x sum over the others of log p(0)."""

    def log_prob(self, value: SparseRows | Tensor) -> Tensor:
        rows = as_rows(value)
        missing, eta = self.decode(rows)
        stored = rows.sum_by_row(self.family_of(rows).log_prob(rows.value, rows.trials, eta))
        if missing is None:
            return stored
        cells = (rows.columns - rows.start.diff()).to(missing.dtype)
        return stored + self.missing_weight * self.family.zeros(missing, cells)

    def cell_log_prob(self, value: SparseRows | Tensor) -> Tensor:
        """Log-probability of each stored cell, (cells,)."""
        rows = as_rows(value)
        eta = decode_stored(self.factors, self.loadings, rows)
        return self.family_of(rows).log_prob(rows.value, rows.trials, eta)
