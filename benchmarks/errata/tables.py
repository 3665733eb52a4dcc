"""The rows of both tables."""

from __future__ import annotations

from benchmarks.errata.integrals import APPROXIMATIONS, GRID_SDS, worst_error
from benchmarks.errata.registry import ERRATA


def shown(value: float | None) -> str:
    """Four significant digits, a dash for nothing."""
    return "-" if value is None else f"{value:.4g}"


def rows() -> list[tuple[str, str, str, str]]:
    """(id, quantity, by the note, corrected) of every erratum."""
    return [
        (name, what, shown(wrong), shown(right))
        for name, function in ERRATA.items()
        for what, (wrong, right) in function().items()
    ]


def approximation_rows() -> list[list[str]]:
    """Worst errors of each approximation at each sd (maths 1.5)."""
    return [
        [name, *(f"{worst_error(function, sd):.2g}" for sd in GRID_SDS)] for name, function in APPROXIMATIONS.items()
    ]
