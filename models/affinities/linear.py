"""Linear affinity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pyrorec.models.affinities.base import Affinity


@dataclass(frozen=True)
class Linear(Affinity):
    """a = u'b_u + i'b_i + b0, with ids and features in u and i: every user gets the same order (maths 1.3, B26)."""

    name: ClassVar[str] = "linear"
    linear: ClassVar[bool] = True
    reads_features: ClassVar[bool] = True

    @property
    def factors(self) -> int:  # type: ignore[override]
        """None meet."""
        return 0
