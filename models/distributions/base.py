"""Distributions of an item's popularity (and, mirrored, of a user's activity)."""

from __future__ import annotations

from abc import abstractmethod
from enum import Enum
from typing import Any, ClassVar

from torch import Tensor

from pyrorec.models.component import Component
from pyrorec.models.registry import Registry


class Scale(Enum):
    """The two scales of popularity, never mixed (maths 0)."""

    RATE = "rate z > 0"
    LOG = "standardised log zeta"


class PopularityDistribution(Component):
    """The population law of popularity across items."""

    registry: ClassVar[Registry[PopularityDistribution]] = Registry("popularity distribution")
    scale: ClassVar[Scale]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry.add(cls)

    @abstractmethod
    def population(self, like: Tensor | None = None) -> Any:
        """The law p(z) of one item drawn from the population; batch shape (), dtype and device as `like`."""
