"""The report of a run: figures, the numbers behind them, and one self-contained HTML page."""

from __future__ import annotations

from pyrorec.report.figures import (
    active_factors,
    calibration,
    loss_curves,
    popularity_under_interventions,
)
from pyrorec.report.page import write_report
from pyrorec.report.popularity import popularity_against_counts, recovered_against_true

__all__ = [
    "active_factors",
    "calibration",
    "loss_curves",
    "popularity_against_counts",
    "popularity_under_interventions",
    "recovered_against_true",
    "write_report",
]
