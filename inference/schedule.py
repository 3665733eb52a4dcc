"""Alternation: which side is trained in which phase of an epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Schedule(ABC):
    """An epoch is a sequence of phases; a phase passes once over all rows of its side.

    `live` says whether the other side's posterior comes from its encoder at every step, with gradient, or is the one
    kept at its last phase.
    """

    live: ClassVar[bool] = False

    @abstractmethod
    def phases(self) -> tuple[str, ...]:
        """Side names in order."""


@dataclass(frozen=True)
class Alternating(Schedule):
    """`passes` on each side; `user_passes` and `item_passes`, where given, are those of one side."""

    passes: int = 1
    user_passes: int | None = None
    item_passes: int | None = None

    def __post_init__(self) -> None:
        for name in ("passes", "user_passes", "item_passes"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise ValueError(f"{name} must be at least 1, not {given}")

    @property
    def users(self) -> tuple[str, ...]:
        """The phases of the users' side."""
        return ("user",) * (self.user_passes or self.passes)

    @property
    def items(self) -> tuple[str, ...]:
        """The phases of the items' side."""
        return ("item",) * (self.item_passes or self.passes)


@dataclass(frozen=True)
class ItemsThenUsers(Alternating):
    """The phases of the items' side first, then those of the users'."""

    def phases(self) -> tuple[str, ...]:
        return self.items + self.users


@dataclass(frozen=True)
class UsersThenItems(Alternating):
    """The phases of the users' side first, then those of the items'."""

    def phases(self) -> tuple[str, ...]:
        return self.users + self.items


@dataclass(frozen=True)
class Joint(Schedule):
    """Both sides at once: every step takes some users' rows and encodes every item's, both with gradient.

    The one ELBO of the user side, with the items' KL whole and the users' by their share (maths 6.1). It costs a pass
    of the item encoder over all items a step, and never observes an item's row, so it also serves families that
    couple a user's cells.
    """

    live: ClassVar[bool] = True

    passes: int = 1

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError(f"passes must be at least 1, not {self.passes}")

    def phases(self) -> tuple[str, ...]:
        return ("user",) * self.passes
