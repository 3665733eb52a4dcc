"""Errors against the size of the log, and information on the split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes

from benchmarks.recovery.designs import DESIGNS
from benchmarks.recovery.product import exponent
from benchmarks.recovery.tables import rates
from pyrorec.report.style import BLUE, DPI, GREEN, GREY, PURPLE, STYLE, VERMILION, canvas

FIGURE = Path(__file__).parents[2] / "docs/figures/recovery.png"


def picture(table: pd.DataFrame, split: pd.DataFrame) -> None:
    """RMSE against N by design, and information on the split against the click rate."""
    error, sizes = rates(table), np.sort(table.records.unique())
    with rc_context(STYLE):
        figure, axes = canvas(4, height=2.9, width=11.0)
        for axis, name in zip(axes[0], DESIGNS, strict=False):
            draw_errors(axis, error.loc[name], sizes)
            axis.set(title=name, xlabel="interactions N")
        axes[0, 0].set_ylabel("RMSE, items drawn")
        last, rate, found = axes[0, 3], split["click rate"].to_numpy(), split["information a record"].to_numpy()
        last.loglog(rate, found, color=BLUE, marker="o", label=f"exponent {exponent(split):.2f}")
        last.loglog(rate, found[-1] * (rate / rate[-1]) ** 3, color=GREY, linestyle="--", label="P³")
        last.set(title="product: log G against d", xlabel="mean click rate P", ylabel="information a record")
        last.legend(loc="lower right")
        FIGURE.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(FIGURE, dpi=DPI)


def draw_errors(axis: Axes, error: pd.DataFrame, sizes: np.ndarray) -> None:
    """RMSE of every parameter of one design, and the rate it should fall at."""
    styles = zip((BLUE, VERMILION, GREEN, PURPLE), "os^D", strict=True)
    rmse = error.to_numpy()[:, : len(sizes)]
    for parameter, row, (colour, marker) in zip(error.index, rmse, styles, strict=True):
        axis.loglog(sizes, row, color=colour, marker=marker, label=parameter)
    middle = np.exp(np.log(rmse[:, 0]).mean())
    axis.loglog(sizes, middle * np.sqrt(sizes[0] / sizes), color=GREY, linestyle="--", label="1 / √N")
    axis.set_ylim(2e-3, 0.3)
    axis.legend(loc="upper right")
