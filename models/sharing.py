"""Who shares one latent popularity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pyrorec.models.component import Component
from pyrorec.models.registry import Registry


class Sharing(Component):
    """The unit that a latent popularity belongs to; its divergence is counted once a unit (maths 1.3, B13)."""

    registry: ClassVar[Registry[Sharing]] = Registry("sharing")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry.add(cls)


@dataclass(frozen=True)
class PerItem(Sharing):
    """One popularity an item, shared by all its interactions."""

    name: ClassVar[str] = "item"


@dataclass(frozen=True)
class PerPeriod(Sharing):
    """One popularity an item and period; `periods` of equal length between the first and the last timestamp.

    What is asked of a run is answered by the last period's popularity, which is the prior's for an item not seen then.
    Popularity that moves within an item is told from the item's own effect (maths 2.3, R3).
    """

    name: ClassVar[str] = "period"

    periods: int = 4

    def __post_init__(self) -> None:
        if self.periods < 1:
            raise ValueError(f"periods must be at least 1, not {self.periods}")


@dataclass(frozen=True)
class PerInteraction(Sharing):
    """One popularity an interaction: the likelihood factorises, and only the link's shape tells z from the rest
    (maths 2.1, 2.2)."""

    name: ClassVar[str] = "interaction"
