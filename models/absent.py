"""What a cell that is absent from the log may say, as a family sees it."""

from __future__ import annotations

from enum import Enum


class Absent(Enum):
    """The meanings of an absent cell (maths 6.5), by the weight that it has as a zero."""

    ZERO = "a zero as sure as any in the log"
    WEAK_NEGATIVE = "a zero of another weight than one"
    MISSING = "nothing"

    @classmethod
    def of_weight(cls, weight: float) -> Absent:
        """1 is a zero, 0 is missing, anything else a weak negative."""
        return {1.0: cls.ZERO, 0.0: cls.MISSING}.get(float(weight), cls.WEAK_NEGATIVE)


ANY = frozenset(Absent)
"""Whatever the log says of its absent cells."""
EXACT = frozenset({Absent.ZERO, Absent.MISSING})
"""A zero or nothing: weights between have no meaning."""
ONLY_MISSING = frozenset({Absent.MISSING})
"""Values that are never zero, or of which a zero says no more than any other."""
