"""What every encoder has: cells in two channels, hidden layers, and heads that return laws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrorec.guides.covariances import Diagonal
from pyrorec.guides.encoder import NormalHead, RowPosterior
from pyrorec.guides.inputs import NORMALISATIONS, RowInput
from pyrorec.models.encoding import Covariance, Encoding
from pyrorec.models.families import Outcome
from pyrorec.models.rows import SparseRows

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": F.relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
}


@dataclass(frozen=True)
class Setting:
    """One side as its encoder is built for it.

    `rows` are what is fitted; `varies` says whether values are read beside the pattern, by default where they vary;
    `scale` bounds the sds of the factors; `effect` asks for a head for a drawn effect, and says how far apart rows
    start, None where there is none; `dropout` hides that share
    of a row's cells in training.
    """

    rows: SparseRows
    outcome: Outcome
    varies: bool | None
    factors: int
    scale: float
    effect: float | None
    dropout: float
    covariance: Covariance = field(default_factory=Diagonal)


@dataclass(frozen=True)
class Layered(Encoding):
    """Widths of the hidden layers, their activation by name, and by what a row's cells are divided.

    `normalisation` divides them by the root of their number, by their number ("mean") or by nothing ("none").
    """

    hidden: tuple[int, ...] = (100,)
    activation: str = "tanh"
    normalisation: str = "root"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden widths must be above zero, not {list(self.hidden)}")
        for name, known in (("activation", ACTIVATIONS), ("normalisation", NORMALISATIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"there is no {name} '{getattr(self, name)}'; there are: {', '.join(known)}")

    @abstractmethod
    def build(self, setting: Setting) -> Encoder:
        """The network for one side."""


class Encoder(nn.Module, ABC):
    """Pattern and values of a row -> hidden layers -> normal posterior of its factors (and of its effect).

    That of the effect is in units of the population's law, N(0, 1) being the prior; the guide makes its law of it
    (`guides/effect.py`). A drawn effect reads, beside the last hidden layer, the row's length, total and mean value,
    standardised over the fitting rows. An encoding without hidden layers has one, as wide as there are factors.
    """

    reads_others: ClassVar[bool] = False
    """Whether it reads the other side's factors."""
    summary_mean: Tensor
    summary_sd: Tensor

    def __init__(self, encoding: Layered, setting: Setting) -> None:
        super().__init__()
        self.inputs = RowInput(setting.rows, setting.outcome, setting.varies, encoding.normalisation)
        self.dropout, self.activation = setting.dropout, ACTIVATIONS[encoding.activation]
        widths = encoding.hidden or (setting.factors,)
        summary = self.inputs.summary(setting.rows)
        self.make_first(setting, widths[0], summary.shape[1])
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.factors_head: NormalHead = setting.covariance.head(widths[-1], setting.factors, setting.scale)  # type: ignore[assignment]
        self.register_buffer("summary_mean", summary.mean(0))
        self.register_buffer("summary_sd", summary.std(0, correction=0).clamp_min(1e-3))
        self.effect_head: NormalHead | None = None
        if setting.effect is not None:
            self.effect_head = NormalHead(widths[-1] + summary.shape[1], 1, 1.0, setting.effect)

    @abstractmethod
    def make_first(self, setting: Setting, width: int, summaries: int) -> None:
        """Makes the parameters of the first layer."""

    @abstractmethod
    def first(self, rows: SparseRows, pattern: Tensor, value: Tensor | None, others: Tensor | None) -> Tensor:
        """The first layer before its activation, (rows, width), of the weights of each cell in both channels."""

    def hidden(self, rows: SparseRows, others: Tensor | None = None) -> Tensor:
        """The last hidden layer, (rows, width)."""
        pattern, value = self.inputs(rows)
        if self.training and self.dropout:
            keep = torch.rand_like(pattern).ge(self.dropout) / (1 - self.dropout)
            pattern, value = pattern * keep, None if value is None else value * keep
        h = self.activation(self.first(rows, pattern, value, others))
        for layer in self.layers:
            h = self.activation(layer(h))
        return h

    def forward(self, rows: SparseRows, others: Tensor | None = None) -> RowPosterior:
        """q of some rows; `others` (columns, K) are the other side's posterior means, where they are read."""
        h = self.hidden(rows, others)
        factors = self.factors_head.law(h)
        if self.effect_head is None:
            return RowPosterior(factors, None)
        mean, sd = self.effect_head(torch.cat([h, self.summary(rows)], -1))  # in units of the population
        return RowPosterior(factors, dist.Normal(mean.squeeze(-1), sd.squeeze(-1)))

    def legible(self, rows: SparseRows) -> SparseRows:
        """The rows with the cells masked that it cannot read: here none, since no column has parameters of its own."""
        return rows

    def summary(self, rows: SparseRows) -> Tensor:
        """Length, total and mean value of each row, standardised: (rows, 3)."""
        return (self.inputs.summary(rows) - self.summary_mean) / self.summary_sd


def pooled(rows: SparseRows, table: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum over each row's cells of its columns' entries in `table` (columns, width): (rows, width)."""
    return F.embedding_bag(
        rows.column, table, rows.start, mode="sum", per_sample_weights=weights, include_last_offset=True
    )
