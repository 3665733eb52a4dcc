"""The row encoder of the paper: a network that reads a row and returns a posterior."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrorec.guides.inputs import RowInput
from pyrorec.models.rows import SparseRows


@dataclass(frozen=True)
class RowPosterior:
    """q of some rows: factors with event shape (K,), and the effect where it is not integrated out."""

    factors: dist.TorchDistribution
    effect: dist.TorchDistribution | None


class NormalHead(nn.Module):
    """A normal law read off a hidden layer: mean affine, sd = scale x sigmoid(affine).

    Every family here is log-concave in eta, so the best posterior sd of a coordinate never exceeds its
    prior's `scale`: the bound costs nothing and keeps E exp(theta.beta) finite (maths 6.4).
    """

    scale: Tensor

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.mean = nn.Linear(inputs, outputs)
        self.raw_sd = nn.Linear(inputs, outputs)
        nn.init.normal_(self.mean.weight, std=3 * scale / inputs**0.5)  # means start as spread out as the prior
        nn.init.zeros_(self.mean.bias)
        nn.init.zeros_(self.raw_sd.weight)
        nn.init.constant_(self.raw_sd.bias, 1.0)  # start near the prior: an early KL would only be noise

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(hidden), self.scale * torch.sigmoid(self.raw_sd(hidden)) + 1e-6

    @torch.no_grad()
    def standardise(self, mean: Tensor, sd: Tensor) -> None:
        """From now on the law of (x - mean) / sd, where it was that of x."""
        self.mean.weight.div_(sd)
        self.mean.bias.sub_(mean).div_(sd)
        self.scale.div_(sd)


class RowEncoder(nn.Module):
    """Pattern and values of a row -> tanh layers -> normal posterior of its factors (and of its effect).

    The first layer is a weighted sum of one embedding per column and channel, so it costs the number of
    stored cells, not of columns. `dropout` hides that share of a row's cells in training. A sampled effect reads,
    beside the last hidden layer, the row's length, total and mean value, standardised over the fitting rows.
    """

    summary_mean: Tensor
    summary_sd: Tensor

    def __init__(
        self, rows: SparseRows, inputs: RowInput, hidden: tuple[int, ...], factors: int, scale: float,
        effect: bool, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.inputs, self.dropout = inputs, dropout
        widths = hidden or (factors,)
        self.pattern = nn.Parameter(torch.randn(rows.columns, widths[0]) * 0.3)
        self.value = nn.Parameter(torch.randn(rows.columns, widths[0]) * 0.3) if inputs.varies else None
        self.bias = nn.Parameter(torch.zeros(widths[0]))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.factors_head = NormalHead(widths[-1], factors, scale)
        summary = inputs.summary(rows)
        self.register_buffer("summary_mean", summary.mean(0))
        self.register_buffer("summary_sd", summary.std(0, correction=0).clamp_min(1e-3))
        self.effect_head = NormalHead(widths[-1] + summary.shape[1], 1, 1.0) if effect else None

    def legible(self, rows: SparseRows) -> SparseRows:
        """The rows with the cells masked whose column has no embedding; columns appended after training are zeros."""
        seen = self.pattern.ne(0).any(-1)[rows.column].to(rows.value.dtype)
        return SparseRows(rows.start, rows.column, rows.value * seen, rows.trials * seen, rows.columns)

    def _embed(self, rows: SparseRows, table: Tensor, weights: Tensor) -> Tensor:
        return F.embedding_bag(
            rows.column, table, rows.start, mode="sum", per_sample_weights=weights, include_last_offset=True
        )

    def hidden(self, rows: SparseRows) -> Tensor:
        """The last hidden layer, (rows, width)."""
        pattern, value = self.inputs(rows)
        keep = None
        if self.training and self.dropout:
            keep = torch.rand_like(pattern).ge(self.dropout) / (1 - self.dropout)
        h = self.bias + self._embed(rows, self.pattern, pattern if keep is None else pattern * keep)
        if self.value is not None and value is not None:
            h = h + self._embed(rows, self.value, value if keep is None else value * keep)
        h = torch.tanh(h)
        for layer in self.layers:
            h = torch.tanh(layer(h))
        return h

    def forward(self, rows: SparseRows) -> RowPosterior:
        h = self.hidden(rows)
        factors = dist.Normal(*self.factors_head(h)).to_event(1)
        if self.effect_head is None:
            return RowPosterior(factors, None)
        summary = (self.inputs.summary(rows) - self.summary_mean) / self.summary_sd
        mean, sd = self.effect_head(torch.cat([h, summary], -1))
        return RowPosterior(factors, dist.Normal(mean.squeeze(-1), sd.squeeze(-1)))
