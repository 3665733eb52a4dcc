"""Prints both tables and draws the figures."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import torch

from benchmarks.errata.figures import DRAWN
from benchmarks.errata.integrals import GRID_SDS
from benchmarks.errata.tables import approximation_rows, rows
from pyrorec.report.style import STYLE

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "figures"


def main() -> None:
    """Prints both tables and draws the figures."""
    torch.set_num_threads(1)
    print("| id | quantity | note | correct |\n|---|---|---|---|")
    for row in rows():
        print(f"| {' | '.join(row)} |")
    print(f"\n| method | {' | '.join(f'{sd:g}' for sd in GRID_SDS)} |")
    for line in approximation_rows():
        print(f"| {' | '.join(line)} |")
    FIGURES.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        for name, draw in DRAWN.items():
            (FIGURES / name).write_bytes(draw())


if __name__ == "__main__":
    main()
