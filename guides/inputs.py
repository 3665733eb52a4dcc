"""What an encoder sees of a row: the pattern of its cells, and their values, apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrorec.models.families import Outcome
from pyrorec.models.rows import SparseRows

NORMALISATIONS = {"root": 0.5, "mean": 1.0, "none": 0.0}
"""By which power of their number a row's cells are divided."""


class RowInput(nn.Module):
    """Weights of a row's cells in the pattern channel and in the value channel.

    Both are divided by the square root of the number of cells in the row, so that long and short rows reach
    the first layer at one scale, or by another power of it, as `normalisation` names it. Values are per trial (log1p
    of counts and amounts), standardised by mean and sd over the fitting rows; the value channel is absent when values
    do not vary. Masked cells weigh nothing.
    """

    mean: Tensor
    sd: Tensor

    def __init__(
        self, rows: SparseRows, outcome: Outcome, varies: bool | None = None, normalisation: str = "root"
    ) -> None:
        super().__init__()
        self.power = NORMALISATIONS[normalisation]
        self.counts = outcome in (Outcome.COUNT, Outcome.AMOUNT)
        seen = self._raw(rows)[rows.trials > 0]
        sd = seen.std() if len(seen) > 1 else torch.zeros(())
        self.varies = bool(sd > 1e-6) if varies is None else varies
        self.register_buffer("mean", seen.mean() if len(seen) else torch.zeros(()))
        self.register_buffer("sd", sd if self.varies else torch.ones(()))

    def _raw(self, rows: SparseRows) -> Tensor:
        per_trial = rows.value / rows.trials.clamp_min(1.0)
        return per_trial.clamp_min(0).log1p() if self.counts else per_trial

    def forward(self, rows: SparseRows) -> tuple[Tensor, Tensor | None]:
        """Pattern weights and, where values vary, value weights of each cell, (cells,)."""
        pattern = (rows.trials > 0).to(rows.value.dtype) / rows.records.clamp_min(1.0).pow(self.power)[rows.row]
        if not self.varies:
            return pattern, None
        return pattern, pattern * (self._raw(rows) - self.mean) / self.sd

    def summary(self, rows: SparseRows) -> Tensor:
        """log(1 + cells), log(1 + |total|) and the mean standardised value of each row, (rows, 3)."""
        standard = (self._raw(rows) - self.mean) / self.sd * (rows.trials > 0)
        mean = rows.sum_by_row(standard) / rows.records.clamp_min(1.0)
        return torch.stack([rows.records.log1p(), rows.totals.abs().log1p(), mean], -1)
