"""Independent coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pyrorec.guides.encoder import NormalHead
from pyrorec.models.encoding import Covariance


@dataclass(frozen=True)
class Diagonal(Covariance):
    """q of a row's factors is a normal with independent coordinates (maths 6.1)."""

    name: ClassVar[str] = "diagonal"

    def head(self, inputs: int, factors: int, scale: float) -> NormalHead:
        return NormalHead(inputs, factors, scale)
