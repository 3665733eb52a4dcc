"""Rows of users whose cells are one draw."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrorec.models.families import Family
from pyrorec.models.rows.base import RowDistribution
from pyrorec.models.rows.decode import decode_stored
from pyrorec.models.rows.sparse import SparseRows


class CoupledRows(RowDistribution):
    """Rows of a coupled family; `totals` (rows,) are the trials that `sample` draws of each row, 1 where not given."""

    totals: Tensor | None = None

    def with_totals(self, totals: Tensor) -> CoupledRows:
        """The same law, whose draws have these totals."""
        new = type(self)(self.family, self.factors, self.loadings, self.missing_weight)
        new.totals = totals
        return new

    def stored(self, rows: SparseRows) -> Tensor:
        """eta at the stored cells, (cells,)."""
        return decode_stored(self.factors, self.loadings, rows)

    def drawn(self, eta: Tensor) -> Tensor:
        """A draw of whole rows given their linear predictors."""
        totals = torch.ones(self.batch_shape, dtype=eta.dtype) if self.totals is None else self.totals
        return self.family.sample(eta, totals.expand(eta.shape[:-1]))


def log_sum_exp_rows(eta: Tensor, rows: SparseRows, said: Tensor) -> Tensor:
    """log of the sum of e^eta over the cells that are said to count, by row, (rows,); -inf for a row without any."""
    top = torch.full((len(rows),), -torch.inf, dtype=eta.dtype, device=eta.device)
    top = top.scatter_reduce(0, rows.row[said], eta.detach()[said], "amax")
    finite = torch.nan_to_num(top, neginf=0.0)
    total = rows.sum_by_row(torch.where(said, (eta - finite[rows.row]).clamp_max(0).exp(), torch.zeros_like(eta)))
    empty = total == 0
    return torch.where(empty, total - torch.inf, finite + torch.where(empty, torch.ones_like(total), total).log())


def same_rows(family: Family, weight: float) -> None:
    """Raises ValueError for a weight of absent cells that the family cannot describe."""
    if (reason := family.absent_refusal(weight)) is not None:
        raise ValueError(reason)
