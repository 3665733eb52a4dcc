"""Alternation: which side is trained in which phase of an epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule(ABC):
    """An epoch is a sequence of phases, `passes` on each side; a phase passes once over all rows of its side."""

    passes: int = 1

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError(f"passes must be at least 1, not {self.passes}")

    @abstractmethod
    def phases(self) -> tuple[str, ...]:
        """Side names in order."""


@dataclass(frozen=True)
class ItemsThenUsers(Schedule):
    """Items first, `passes` times over each side."""

    def phases(self) -> tuple[str, ...]:
        return ("item",) * self.passes + ("user",) * self.passes


@dataclass(frozen=True)
class UsersThenItems(Schedule):
    """Users first, `passes` times over each side."""

    def phases(self) -> tuple[str, ...]:
        return ("user",) * self.passes + ("item",) * self.passes
