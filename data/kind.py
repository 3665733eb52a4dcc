"""What sort of values a log holds; families and defaults are chosen by it."""

from __future__ import annotations

from enum import Enum

import numpy as np

#: Whole numbers up to here, without zeros, are read as grades of interest or repeated clicks, not as counts.
LARGEST_GRADE = 5.0


class Kind(Enum):
    """The four sorts of logs."""

    CLICKS = "clicks with true negatives"
    IMPLICIT = "implicit clicks"
    COUNTS = "counts"
    RATINGS = "ratings"


def is_whole(value: np.ndarray) -> bool:
    """Whether all values are whole numbers."""
    return bool(np.all(value == np.floor(value)))


def kind_of(value: np.ndarray, trials: np.ndarray) -> Kind:
    """The kind of a log from its cells: value (cells,) and trials (cells,).

    Reals and negative numbers are ratings; whole numbers that never exceed their trials are clicks as soon as
    one impression failed to be clicked or was repeated; other whole numbers are counts where one is zero or
    exceeds 5, and implicit clicks where all lie in 1..5.
    """
    if not is_whole(value) or bool(np.any(value < 0.0)):
        return Kind.RATINGS
    has_zero = bool(np.any(value == 0.0))
    if bool(np.all(value <= trials)) and (has_zero or bool(np.any(trials > 1.0))):
        return Kind.CLICKS
    return Kind.COUNTS if has_zero or bool(np.any(value > LARGEST_GRADE)) else Kind.IMPLICIT
