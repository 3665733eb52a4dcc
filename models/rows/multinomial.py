"""Rows of counts whose total is given: events spread over items by a softmax."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrorec.models.mass import ExpMass
from pyrorec.models.rows.base import as_rows
from pyrorec.models.rows.coupled import CoupledRows, log_sum_exp_rows, same_rows
from pyrorec.models.rows.decode import decode_dense, with_offsets
from pyrorec.models.rows.sparse import SparseRows


class MultinomialRows(CoupledRows):
    """log p(row) = sum_stored y eta - n log sum e^eta + log n! - sum log y!, n the row's total (maths 6.5, 6.6).

    The sum under the logarithm is over all columns but the masked ones where absent cells are zeros (weight 1), over
    the stored ones where they are missing (weight 0); other weights raise ValueError. The dense sum is one pass with
    a hand-written gradient, each row lowered by its largest eta first.
    """

    def log_prob(self, value: SparseRows | Tensor) -> Tensor:
        rows = as_rows(value)
        same_rows(self.family, self.missing_weight)
        eta = self.stored(rows)
        log_total = log_sum_exp_rows(eta, rows, rows.trials > 0)
        if self.missing_weight:
            log_total = torch.logaddexp(log_total, self._log_absent(rows))
        return log_multinomial(rows, eta, log_total)

    def _log_absent(self, rows: SparseRows) -> Tensor:
        """log of the sum of e^eta over the columns not stored, (rows,)."""
        with torch.no_grad():
            dense = self.factors @ self.loadings.T
            dense.view(-1)[rows.flat] = -torch.inf
            top = torch.nan_to_num(dense.amax(-1), neginf=0.0)
        factors, loadings = with_offsets(self.factors, self.loadings, -top, None)
        total, _ = decode_dense(factors, loadings, rows, ExpMass)
        none = total == 0
        return torch.where(none, total - torch.inf, top + torch.where(none, torch.ones_like(total), total).log())


def log_multinomial(rows: SparseRows, eta: Tensor, log_total: Tensor) -> Tensor:
    """sum y eta - n log_total + log n! - sum log y! of each row, (rows,); eta (cells,), log_total (rows,)."""
    said = rows.sum_by_row(rows.value * eta - torch.lgamma(rows.value + 1))
    n = rows.totals
    normaliser = torch.where(n > 0, n * torch.where(n > 0, log_total, torch.zeros_like(n)), torch.zeros_like(n))
    return said - normaliser + torch.lgamma(n + 1)
