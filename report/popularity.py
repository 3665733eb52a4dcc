"""Pictures of the items' popularity: against their counts, and against the truth where it is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyrorec.data.truth import Truth
from pyrorec.inference.run import Run
from pyrorec.models.families import Outcome
from pyrorec.report import numbers
from pyrorec.report.style import BLACK, BLUE, SKY, STYLE, VERMILION, canvas, captioned
from pyrorec.simulation import interval_coverage

MOST_INTERVALS = 2_000
"""Items drawn with their interval; beyond, a sample."""
UNITS = {
    Outcome.CLICK: "clicks",
    Outcome.COUNT: "events",
    Outcome.RATING: "ratings",
    Outcome.AMOUNT: "cells",
    Outcome.SHARE: "cells",
}
"""What an item's count counts."""


@rc_context(STYLE)
def popularity_against_counts(run: Run) -> Figure:
    """Each item's popularity (mean and 90 % interval) against its count, the population's law at the margin."""
    table, rate = numbers.popularity_table(run), numbers.is_rate(run)
    figure, ((scatter, margin),) = canvas(2, height=3.9, width_ratios=[3, 1], sharey=True)
    drawn = _sample(table, run.seed)
    scatter.vlines(drawn["count"], drawn.lower, drawn.upper, color=SKY, linewidth=0.8, label="90 % interval")
    scatter.plot(drawn["count"], drawn["mean"], "o", color=BLUE, markersize=3, label="posterior mean")
    unit = UNITS[run.spec.outcome]
    scatter.set(xlabel=f"{unit} of the item in the log", ylabel=_popularity_label(rate))
    scatter.set_xscale("log") if (table["count"] > 0).all() else scatter.set_xscale("symlog", linthresh=1)
    _popularity_axis(scatter, table[["mean"]], rate)
    _population(margin, run, table["mean"].to_numpy(), rate)
    figure.legend(loc="outside upper left", ncols=4)
    law = run.posterior.population
    assert law is not None
    shown = "" if len(drawn) == len(table) else f" A sample of {len(drawn):,} of {len(table):,} items is drawn."
    return captioned(
        figure,
        "Left: what the log says about each item's popularity; intervals narrow as counts grow, and items of equal "
        "count lie apart as far as affinity explains their counts. Right: the population law that Deconfound averages "
        "over, "
        f"beside the items' posterior means. The population has mean {float(law.mean):.3g}, the posterior means "
        f"average {table['mean'].mean():.3g}; far apart, they say that the level sits in popularity instead of the "
        f"intercept, and that Deconfound's absolute level cannot be trusted.{shown}",
    )


def _sample(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    if len(table) <= MOST_INTERVALS:
        return table
    return table.iloc[np.sort(np.random.default_rng(seed).permutation(len(table))[:MOST_INTERVALS])]


def _popularity_label(rate: bool) -> str:
    return "popularity z (rate, population mean 1)" if rate else "popularity ζ (log scale, population sd 1)"


def _popularity_axis(axes: Axes, means: pd.DataFrame, rate: bool) -> None:
    """A vertical scale that holds all means; interval ends may leave it."""
    low, high = means.to_numpy().min(), means.to_numpy().max()
    if rate:
        axes.set_yscale("log")
        axes.set_ylim(low / 4, high * 2)
    else:
        axes.set_ylim(low - 1, high + 1)


def _population(axes: Axes, run: Run, means: np.ndarray, rate: bool) -> None:
    """Density of the population law on the axis' own scale, and of the posterior means."""
    law = run.posterior.population
    assert law is not None
    low, high = axes.get_ylim()
    grid = np.geomspace(low, high, 300) if rate else np.linspace(low, high, 300)
    bins = np.geomspace(low, high, 31) if rate else np.linspace(low, high, 31)
    density = law.log_prob(torch.as_tensor(grid)).exp().numpy() * (grid if rate else 1.0)
    inside, _ = np.histogram(means, bins)
    width = np.diff(np.log(bins) if rate else bins)
    axes.stairs(inside / len(means) / width, bins, orientation="horizontal", fill=True, color=SKY, label="items' means")
    axes.plot(density, grid, color=VERMILION, label="population law")
    axes.set_xlabel("density of log z" if rate else "density of ζ")


@rc_context(STYLE)
def recovered_against_true(run: Run, truth: Truth) -> Figure:
    """Recovered popularity (mean and 90 % interval) against the true one, coverage in the title."""
    table, rate = numbers.recovery_table(run, truth), numbers.is_rate(run)
    shift = numbers.level_shift(table, rate)
    level = table[["lower", "upper"]] * shift if rate else table[["lower", "upper"]] + shift
    raw, raw_se = interval_coverage(table.lower.to_numpy(), table.upper.to_numpy(), table.true.to_numpy())
    aligned, aligned_se = interval_coverage(level.lower.to_numpy(), level.upper.to_numpy(), table.true.to_numpy())
    figure, ((axes,),) = canvas(1, height=4.3, width=5.6)
    drawn = _sample(table, run.seed)
    axes.vlines(drawn.true, drawn.lower, drawn.upper, color=SKY, linewidth=0.8, label="90 % interval")
    axes.plot(drawn.true, drawn["mean"], "o", color=BLUE, markersize=3, label="posterior mean")
    ends = np.array([table.true.min(), table.true.max()])
    axes.plot(ends, ends, color=BLACK, linewidth=1, label="recovered = true")
    axes.plot(ends, ends / shift if rate else ends - shift, ":", color=VERMILION, label="the same, level aligned")
    _popularity_axis(axes, table[["mean", "true"]], rate)
    axes.set_xscale("log" if rate else "linear")
    axes.set(
        xlabel="true popularity z (rate)" if rate else "true popularity (log, standardised over items)",
        ylabel=_popularity_label(rate),
        title=f"90 % intervals hold {100 * raw:.0f} ± {100 * raw_se:.0f} % of the true values\n"
        f"({100 * aligned:.0f} ± {100 * aligned_se:.0f} % after the mean log level is aligned)",
    )
    axes.legend()
    quality = " Quality enters the log as popularity does and cannot be told from it." if truth.quality.any() else ""
    return captioned(
        figure,
        "Known popularity of the simulated items against what the run recovered. The level is shared with the "
        "intercept and with activity and is held by the priors alone, hence the second figure in the title; coverage "
        f"far below 90 % after alignment means that the intervals are too narrow.{quality}",
    )
