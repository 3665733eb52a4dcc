"""What a cell that is absent from the log says.

A log holds some (user, item) cells and is silent about the others. The three types say how much the silence
counts: as a zero in full, not at all, or as a zero of a given weight (Hu, Koren and Volinsky 2008).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from pyrorec.data.errors import InputError


@dataclass(frozen=True)
class Zero:
    """An absent cell is a zero, as sure as any zero in the log."""

    @property
    def weight(self) -> float:
        return 1.0


@dataclass(frozen=True)
class Unobserved:
    """An absent cell says nothing and enters no likelihood."""

    @property
    def weight(self) -> float:
        return 0.0


@dataclass(frozen=True)
class Weighted:
    """An absent cell is a zero of weight `weight` > 0, beside observed cells of weight 1.

    Raises InputError for a weight that is not positive and finite.
    """

    weight: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0.0):
            raise InputError(
                f"The weight of missing cells must be positive and finite, but is {self.weight}; "
                "use Unobserved() for weight 0."
            )


Missing: TypeAlias = Zero | Unobserved | Weighted
