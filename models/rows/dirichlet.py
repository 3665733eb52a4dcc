"""Rows of shares: how a user divides a whole over the items of the row."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrorec.models.mass import safe_exp
from pyrorec.models.rows.base import as_rows
from pyrorec.models.rows.coupled import CoupledRows, same_rows
from pyrorec.models.rows.sparse import SparseRows


class DirichletRows(CoupledRows):
    """log p(row) = log G(a_0) - sum log G(a_i) + sum (a_i - 1) log r_i over the stored cells, a = e^eta (maths 6.5).

    r_i is a cell's value over its row's total, so that amounts may be given. Absent and masked cells are outside of
    the whole; a row of one cell says nothing. A weight of absent cells other than 0 raises ValueError.
    """

    def log_prob(self, value: SparseRows | Tensor) -> Tensor:
        rows = as_rows(value)
        same_rows(self.family, self.missing_weight)
        return log_dirichlet(rows, self.stored(rows))


def log_dirichlet(rows: SparseRows, eta: Tensor) -> Tensor:
    """The log-density of each row's shares, (rows,), given eta at the stored cells, (cells,)."""
    said = (rows.trials > 0).to(rows.value.dtype)
    a = safe_exp(eta)
    share = rows.value / rows.totals.clamp_min(torch.finfo(rows.value.dtype).tiny)[rows.row]
    log_share = torch.where(said > 0, share, torch.ones_like(share)).log()
    cells = rows.sum_by_row(said * ((a - 1) * log_share - torch.lgamma(a)))
    a0 = rows.sum_by_row(said * a)
    empty = a0 == 0
    return cells + torch.where(empty, a0, torch.lgamma(torch.where(empty, torch.ones_like(a0), a0)))
