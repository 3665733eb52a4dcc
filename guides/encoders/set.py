"""An inductive encoder: a row is the set of the other side's factors that it met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pyrorec.guides.encoders.base import Encoder, Layered, Setting, pooled
from pyrorec.models.rows import SparseRows

FLOOR = 1e-4
"""Smallest variance that is scaled up to one, as a share of the largest."""


@dataclass(frozen=True)
class SetEncoding(Layered):
    """The other side's posterior means, whitened and summed over the row's cells in both channels, through `hidden`
    layers.

    Its parameters do not grow with the catalogue, and a row of an item or user that came later is read like any other.
    Each side is read off the other's last refresh, without gradient.
    """

    name: ClassVar[str] = "set"

    def build(self, setting: Setting) -> Encoder:
        return SetEncoder(self, setting)


class SetEncoder(Encoder):
    """The first layer is affine in the pooled factors of each channel and in the row's length, total and mean value."""

    reads_others: ClassVar[bool] = True

    def make_first(self, setting: Setting, width: int, summaries: int) -> None:
        spread = setting.factors**-0.5
        self.pattern = nn.Parameter(torch.randn(setting.factors, width) * spread)
        self.value = nn.Parameter(torch.randn(setting.factors, width) * spread) if self.inputs.varies else None
        self.lengths = nn.Parameter(torch.randn(summaries, width) * 0.3)
        self.bias = nn.Parameter(torch.zeros(width))

    def first(self, rows: SparseRows, pattern: Tensor, value: Tensor | None, others: Tensor | None) -> Tensor:
        assert others is not None
        others = whitened(others)
        h = self.bias + self.summary(rows) @ self.lengths + pooled(rows, others, pattern) @ self.pattern
        return h if self.value is None or value is None else h + pooled(rows, others, value) @ self.value


@torch.no_grad()
def whitened(others: Tensor) -> Tensor:
    """Rows (columns, K) with mean 0 and covariance near I, turned as little as that allows.

    Pooling back and forth is a power iteration, under which all rows would come to look like the strongest direction,
    popularity; between orthogonal directions it finds K of them.
    """
    centred = others - others.mean(0)
    value, vector = torch.linalg.eigh(centred.T @ centred / len(centred))
    root = value.clamp_min(FLOOR * float(value.max())).rsqrt()
    return centred @ (vector * root) @ vector.T
