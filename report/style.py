"""How every picture of the report looks: colours, sizes and the way to a PNG."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

# Okabe and Ito's colours, which stay apart for colour-blind readers; markers repeat what the colours say.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, GREY, BLACK = "#CC79A7", "#56B4E9", "#8A8A8A", "#222222"

#: Colour and marker of each question asked of popularity; other rows of a table are grey.
OF_INTERVENTION = {
    "observe": (BLUE, "o"),
    "deconfound": (VERMILION, "s"),
    "temper 0.5": (GREEN, "^"),
    "quality 0.5": (PURPLE, "v"),
}
OF_OTHERS = (GREY, "D")

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "text.usetex": False,
    "figure.facecolor": "white",
}
DPI = 120
WIDTH = 8.6


def canvas(
    columns: int, rows: int = 1, height: float = 3.2, *, width: float = WIDTH, **grid: Any
) -> tuple[Figure, np.ndarray]:
    """A figure with its axes (rows, columns); sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def captioned(figure: Figure, caption: str) -> Figure:
    """The finished figure with its caption as its label, which the page prints below it."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                _plain_ticks(axis)
    figure.set_label(caption)
    return figure


def _plain_ticks(axis: Axis) -> None:
    """Labels 1, 2, 5, 10 where a logarithmic axis spans little, and powers of ten only where it spans much."""
    low, high = axis.get_view_interval()
    axis.set_minor_formatter(NullFormatter())
    if high / low < 100:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def literal(label: object) -> str:
    """A label from the data, in which a dollar sign must not start a formula."""
    return str(label).replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes each time."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
