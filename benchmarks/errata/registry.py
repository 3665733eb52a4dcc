"""The errata by id, each a function that computes its numbers."""

from __future__ import annotations

from collections.abc import Callable

Pair = tuple[float | None, float | None]
Numbers = dict[str, Pair]
ERRATA: dict[str, Callable[[], Numbers]] = {}


def erratum(name: str) -> Callable[[Callable[[], Numbers]], Callable[[], Numbers]]:
    """Registers a function that returns {quantity: (by the note, corrected)} under an erratum's id."""

    def add(function: Callable[[], Numbers]) -> Callable[[], Numbers]:
        ERRATA[name] = function
        return function

    return add
