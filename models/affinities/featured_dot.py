"""The dot product of factors that features inform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pyrorec.models.affinities.base import Affinity


@dataclass(frozen=True)
class FeaturedDot(Affinity):
    """a = (theta_u + x_u W) . (beta_i + x_i V) + b0, ids and features of both sides.

    What features tell of a row's factors is learned with the rest, so that rows of few records lean on their features.
    """

    name: ClassVar[str] = "featured-dot"
    linear: ClassVar[bool] = False
    reads_features: ClassVar[bool] = True

    factors: int = 4
