"""A row of the log as one draw of a distribution over items (or, mirrored, over users)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.families import Family
from pyrorec.models.rows.decode import decode_dense, decode_stored, with_offsets
from pyrorec.models.rows.sparse import SparseRows

LARGEST_SAMPLE = 200_000_000
"""Cells that `sample` will draw at once; beyond, ask for fewer rows."""


class RowDistribution(TorchDistribution):
    """Rows of cells given their factors: batch shape (rows,), event shape (columns,).

    `factors` (rows, K) and `loadings` (columns, K) already carry every offset, so that eta = factors @
    loadings.T. `missing_weight` is the weight of a cell absent from the log, taken as a zero: 1 zero, 0
    unobserved. `log_prob` takes `SparseRows` or a dense (rows, columns) tensor of fully observed cells. Where the
    rows are items, `items` (rows,) are their numbers; where columns are, it is None.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = False

    def __init__(
        self, family: Family, factors: Tensor, loadings: Tensor, missing_weight: float, items: Tensor | None = None
    ) -> None:
        self.family, self.factors, self.loadings = family, factors, loadings
        self.missing_weight, self.items = missing_weight, items
        super().__init__(factors.shape[:-1], loadings.shape[:1], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(self.family.support, 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> RowDistribution:
        if torch.Size(batch_shape) == self.batch_shape:
            return self
        raise NotImplementedError("rows are drawn one by one: give as many factors as rows instead of expanding")

    @abstractmethod
    def log_prob(self, value: SparseRows | Tensor) -> Tensor:
        """Log-probability of each row, (rows,)."""

    def decode(self, rows: SparseRows) -> tuple[Tensor | None, Tensor]:
        """Row sums of the mass over missing columns (None where those say nothing), and eta where stored."""
        if not self.missing_weight:
            return None, decode_stored(self.factors, self.loadings, rows)
        if (line := self.family.mass_line()) is None:
            return decode_dense(self.factors, self.loadings, rows, self.family.mass)
        scale, shift = line
        row = torch.as_tensor(shift, dtype=self.factors.dtype, device=self.factors.device).expand(len(self.factors))
        moved = with_offsets(self.factors * scale, self.loadings, row, None)
        missing, _ = decode_dense(*moved, rows, self.family.mass)
        return missing, decode_stored(self.factors, self.loadings, rows)

    def family_of(self, rows: SparseRows) -> Family:
        """The family of the stored cells, with the fields of their items where it has any."""
        if not self.family.varies_by_item:
            return self.family
        return self.family.for_items(rows.column if self.items is None else self.items[rows.row])

    def row_mass(self, rows: SparseRows) -> tuple[Tensor, Tensor]:
        """The mass that each row says is there, and eta where stored.

        Missing cells count `missing_weight` each, stored cells their trials (none if masked).
        """
        missing, eta = self.decode(rows)
        stored = rows.sum_by_row(rows.trials * self.family.mass.value(eta))
        return stored if missing is None else self.missing_weight * missing + stored, eta

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Dense draws, sample_shape + (rows, columns), one trial a cell; no gradient.

        Raises ValueError beyond `LARGEST_SAMPLE` cells.
        """
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        if shape.numel() > LARGEST_SAMPLE:
            raise ValueError(
                f"a dense draw of {shape.numel():,} cells is beyond {LARGEST_SAMPLE:,}: draw fewer rows at a time"
            )
        with torch.no_grad():
            return self.drawn(self.linear_predictor(torch.Size(sample_shape)).expand(shape))

    def drawn(self, eta: Tensor) -> Tensor:
        """A draw of every cell given its linear predictor, one trial each."""
        columns = torch.arange(len(self.loadings), device=eta.device)
        family = self.family.for_items(columns if self.items is None else self.items[:, None])
        return self.replicate(family, eta, torch.ones((), dtype=eta.dtype, device=eta.device))

    def replicate(self, family: Family, eta: Tensor, trials: Tensor) -> Tensor:
        """Draws of cells of a family, or of the response that stands for it, given their linear predictors."""
        return family.sample(eta, trials)

    def linear_predictor(self, sample_shape: torch.Size) -> Tensor:
        """eta for every cell, broadcastable to sample_shape + (rows, columns)."""
        return self.factors @ self.loadings.T


def as_rows(value: SparseRows | Tensor) -> SparseRows:
    """Dense observations as rows whose every cell is stored."""
    return value if isinstance(value, SparseRows) else SparseRows.from_dense(value)
