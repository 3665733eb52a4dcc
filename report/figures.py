"""The pictures of a run; each function returns a matplotlib Figure whose label is its caption."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyrorec.data import Entry, InputError, Interactions
from pyrorec.evaluation import item_counts
from pyrorec.inference.objective import MAP
from pyrorec.inference.run import Run
from pyrorec.models.families import Outcome
from pyrorec.report import checks, numbers
from pyrorec.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    OF_INTERVENTION,
    OF_OTHERS,
    ORANGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILION,
    canvas,
    captioned,
    literal,
)

OF_SIDE = {"user": ("user side", BLUE, "-"), "item": ("item side", VERMILION, "--"), "record": ("records", BLUE, "-")}
OF_SITE = {"user_factors": BLUE, "item_factors": VERMILION, "popularity": ORANGE, "activity": GREEN}
WHAT = {
    Outcome.CLICK: "share of clicks",
    Outcome.COUNT: "count",
    Outcome.RATING: "rating",
    Outcome.AMOUNT: "amount",
    Outcome.SHARE: "share",
}
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, SKY, GREY, BLACK)
"""For the sites of weights, of which a model may have many."""


@rc_context(STYLE)
def loss_curves(run: Run) -> Figure:
    """ELBO, reconstruction and each KL per observed record, by epoch and side; the validation score if watched."""
    metrics = pd.DataFrame(run.metrics).set_index("epoch")
    watched = metrics["validation"].dropna() if "validation" in metrics else pd.Series(dtype=float)
    figure, ((elbo, reconstruction), (kl, validation)) = canvas(2, 2, height=5.4, sharex=True)
    for side, (named, colour, line) in OF_SIDE.items():
        _curve(elbo, metrics, f"{side}/elbo", named, colour, line)
        _curve(reconstruction, metrics, f"{side}/reconstruction", named, colour, line)
        sites = [name.removeprefix(f"{side}/kl_") for name in metrics if name.startswith(f"{side}/kl_")]
        for number, site in enumerate(sites):
            hue = OF_SITE.get(site, PALETTE[number % len(PALETTE)])
            label = site.replace("_", " ") + ("" if side == "record" else f", {named}")
            _curve(kl, metrics, f"{side}/kl_{site}", label, hue, line)
    validation.plot(watched.index, watched, color=BLACK, marker="o")
    if watched.empty:
        validation.set_yticks([])
        validation.text(0.5, 0.5, "nothing was held out", transform=validation.transAxes, ha="center", color=GREY)
    prior = "Minus log prior (MAP)" if isinstance(run.training.objective, MAP) else "KL to the prior"
    titles = ("ELBO", "Reconstruction (log-likelihood)", prior, "Validation score, higher is better")
    for axes, title in zip((elbo, reconstruction, kl, validation), titles, strict=True):
        axes.set(title=title, ylabel="score" if axes is validation else "nats per observed record")
    for axes in (kl, validation):
        axes.set_xlabel("epoch")
    for axes in (elbo, reconstruction):
        _without_start(axes)
    best = run.best_epoch
    if best is not None:
        for axes in figure.axes:
            axes.axvline(best, color=GREY, linewidth=1, linestyle=":", label="epoch kept" if axes is elbo else None)
    elbo.legend()
    kl.set_ylim(0, (1.2 + 0.08 * len(kl.lines)) * max(kl.get_ylim()[1], 1e-9))
    kl.legend(fontsize=7, ncols=2, loc="upper right")
    kept = f"The dotted line marks epoch {best}, whose parameters were kept" if best is not None else (
        "Nothing was watched after the KL warm-up, so the last epoch was kept"
    )  # fmt: skip
    finishing = sum(bool(line.get("finishing")) for line in run.metrics)
    jump = f" The last {finishing} epochs also see the cells held out before, hence the step." if finishing else ""
    return captioned(
        figure,
        f"Terms of the objective by epoch, each side seen from its own phase of training. {kept}.{jump} Curves that "
        "still rise before that ask for more epochs; the vertical range of the upper pictures leaves out the first "
        "epochs.",
    )


def _curve(axes: Axes, metrics: pd.DataFrame, name: str, label: str, colour: str, line: str) -> None:
    if name in metrics:
        axes.plot(metrics.index, metrics[name], line, color=colour, label=label)


def _without_start(axes: Axes) -> None:
    """Fits the vertical range to all but the first tenth of every curve, where values are far from the rest."""
    curves = [np.asarray(line.get_ydata(), float) for line in axes.lines]
    late = np.concatenate([curve[len(curve) // 10 :] for curve in curves])
    margin = 0.08 * (np.ptp(late) or 1.0)
    axes.set_ylim(late.min() - margin, late.max() + margin)


@rc_context(STYLE)
def calibration(run: Run, test: Interactions | None = None) -> Figure:
    """Reliability on a test log with true negatives; else predicted against observed on the train log.

    The caption says which, and why.
    """
    if test is None:
        return _train_calibration(run, "No test log was given")
    try:
        tables = checks.reliability(run, test)
    except InputError as reason:
        return _train_calibration(run, str(reason).rstrip("."))
    figure, ((axes,),) = canvas(1, height=4.3, width=5.0)
    for name, table in tables.items():
        colour, marker = OF_INTERVENTION.get(name, OF_OTHERS)
        error = np.average((table.predicted - table.observed).abs(), weights=table.trials)
        se = 1.645 * np.sqrt(table.observed * (1 - table.observed) / table.trials)
        axes.errorbar(
            table.predicted, table.observed, yerr=se, color=colour, marker=marker, elinewidth=0.9,
            linewidth=1, label=f"{name}: calibration error {error:.3f}",
        )  # fmt: skip
    axes.plot([0, 1], [0, 1], color=BLACK, linewidth=1, label="predicted = observed")
    high = min(1.0, 1.15 * max(table[["predicted", "observed"]].to_numpy().max() for table in tables.values()))
    axes.set(xlabel="predicted click probability", ylabel="observed share of clicks", xlim=(0, high), ylim=(0, high))
    figure.legend(loc="outside upper left")
    return captioned(
        figure,
        "Test log: cells with true negatives in ten groups of about equally many trials, ordered by predicted "
        "probability; bars are 90 % intervals of the observed share. Below the line a run promises too much, above "
        "it too little; a distance that is everywhere alike says that only the base rate of the two logs differs. "
        "Which intervention should lie on the line depends on how the test cells were exposed: Observe for a log "
        "like the train log, Deconfound for randomly shown items.",
    )


def _train_calibration(run: Run, reason: str) -> Figure:
    table = checks.checked_cells(run)
    groups, items = checks.by_prediction(table), checks.item_sums(table, run.spec.outcome)
    graded, what = run.spec.outcome.graded, WHAT[run.spec.outcome]
    figure, ((cells, totals),) = canvas(2, height=4.1)
    cells.errorbar(
        groups.predicted, groups.observed, yerr=1.645 * groups.se, color=BLUE, marker="o", linewidth=1, elinewidth=0.9,
        label="a tenth of the cells",
    )  # fmt: skip
    cells.set(title="Tenths of cells by prediction", xlabel=f"predicted mean {what}", ylabel=f"observed mean {what}")
    totals.plot(items.predicted, items.observed, "o", color=BLUE, markersize=3, label="an item")
    per_item = f"mean {what} of an item" if graded else f"total {what.removeprefix('share of ')} of an item"
    totals.set(title="Items", xlabel=f"predicted {per_item}", ylabel=f"observed {per_item}")
    for axes, points in ((cells, groups), (totals, items)):
        _equal_axes(axes, points[["predicted", "observed"]].to_numpy(), log=not graded)
        axes.legend(loc="upper left")
    return captioned(
        figure,
        f"Train log, not a test: {reason}, so the picture compares predictions under Observe with {len(table):,} "
        "train cells, which the fit has seen. Points on the line say that the model describes its own log, not "
        "that it predicts; bars are 90 % intervals of the observed mean, cells taken as independent.",
    )


def _equal_axes(axes: Axes, points: np.ndarray, log: bool) -> None:
    """The same range on both axes, with the line where they agree."""
    shown = points[points > 0] if log and (points > 0).any() else points
    low, high = shown.min(), shown.max()
    if log:
        axes.set_xscale("log")
        axes.set_yscale("log")
    low, high = (low / 1.4, high * 1.4) if log else (low - 0.1, high + 0.1)
    axes.plot([low, high], [low, high], color=BLACK, linewidth=1, label="predicted = observed")
    axes.set(xlim=(low, high), ylim=(low, high))


@rc_context(STYLE)
def popularity_under_interventions(run: Run, evaluation: pd.DataFrame | None = None, k: int = 10) -> Figure:
    """ARP, APLT, Gini and coverage of each row, and how often the items of the lists occur in the log.

    `evaluation` is a table of `evaluate` with length `k`; without it the measures are those of the run alone.
    """
    users, lists = numbers.ranked_lists(run, k)
    columns = [f"{metric}@{k}" for metric in numbers.BIAS]
    given = evaluation is not None and set(columns) <= set(evaluation.columns)
    table = evaluation[columns] if evaluation is not None and given else numbers.bias_table(run, users, lists)
    figure, axes = canvas(4, 2, height=2.6 + 0.24 * len(table) + 2.2)
    for axis, column, title in zip(axes[0], columns, TITLES, strict=True):
        _dots(axis, table[column], title.format(k=k), names=axis is axes[0][0])
    grid = axes[1][0].get_gridspec()
    for axis in axes[1]:
        axis.remove()
    _list_counts(figure.add_subplot(grid[1, :]), run, lists, k)
    whom = f"{len(users):,} users" + ("" if len(users) == run.log.n_users else f", a sample of {run.log.n_users:,}")
    source = "from the evaluation table" if given else f"for {whom}"
    return captioned(
        figure,
        f"Above, {source}: ARP is the mean number of users of a recommended item, APLT the share of long-tail items in "
        "a list, Gini how unequally items are recommended (0 alike, 1 one item), coverage the share of items "
        f"recommended at all. Below, for {whom}: how often items of different popularity stand in the top-{k} lists, "
        "beside the log itself. Curves to the right of the log favour popular items more than users did.",
    )


TITLES = ("ARP@{k} (users)", "APLT@{k}", "Gini@{k}", "Coverage@{k}")


def _dots(axes: Axes, values: pd.Series, title: str, names: bool) -> None:
    rows = np.arange(len(values))[::-1]
    for row, name, value in zip(rows, values.index, values, strict=True):
        colour, marker = OF_INTERVENTION.get(str(name), OF_OTHERS)
        axes.plot([0, value], [row, row], color=colour, linewidth=1)
        axes.plot(value, row, marker, color=colour, markersize=6, clip_on=False)
    axes.set(title=title, yticks=rows, ylim=(-0.6, len(rows) - 0.4))
    axes.set_yticklabels([literal(name) for name in values.index] if names else [])
    axes.set_xlim(0, 1.02 if values.max() <= 1 else None)
    axes.grid(axis="y", visible=False)


def _list_counts(axes: Axes, run: Run, lists: dict[str, np.ndarray], k: int) -> None:
    counts = item_counts(run.log.matrix(Entry.PATTERN))
    edges = np.geomspace(0.8 * counts[counts > 0].min(), 1.25 * counts.max(), 25)
    middle = np.sqrt(edges[1:] * edges[:-1])
    share, _ = np.histogram(counts, edges, weights=counts / counts.sum())
    axes.stairs(share, edges, fill=True, color="#DDDDDD", label="cells of the log")
    for name, ranked in lists.items():
        colour, marker = OF_INTERVENTION.get(name, OF_OTHERS)
        recommended = counts[ranked[ranked >= 0]]
        found, _ = np.histogram(recommended, edges)
        axes.plot(middle, found / max(1, len(recommended)), color=colour, marker=marker, markersize=3.5, label=name)
    axes.set_xscale("log")
    axes.set(xlabel="users of the item in the log", ylabel="share", title=f"Items of the top-{k} lists by popularity")
    axes.legend(loc="upper left")


@rc_context(STYLE)
def active_factors(run: Run) -> Figure:
    """Per factor and side, variance of the posterior means and mean posterior variance; share of affinity."""
    table = numbers.factor_table(run)
    place = np.arange(len(table))
    figure, (sides,) = canvas(3, height=3.2)
    top = 1.08 * max(1.0, *(table[f"{side}_means"].add(table[f"{side}_spread"]).max() for side in ("user", "item")))
    for axes, side in zip(sides[:2], ("user", "item"), strict=True):
        means, spread = table[f"{side}_means"], table[f"{side}_spread"]
        axes.bar(place, means, color=BLUE, label="variance of the means")
        axes.bar(place, spread, bottom=means, color="#CFE3F1", label="mean posterior variance")
        axes.axhline(1, color=BLACK, linewidth=0.8, linestyle="--", label="prior variance")
        axes.set(
            title=f"{side.capitalize()}s",
            ylim=(0, top),
            xlabel="factor, largest share first",
            ylabel="relative to the prior variance",
        )
    sides[2].bar(place, table.share, color=PURPLE)
    sides[2].set(title="Affinity", xlabel="factor, largest share first", ylabel="share of variance")
    figure.legend(*sides[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    active = int(((table.user_means > 0.01) & (table.item_means > 0.01)).sum())
    return captioned(
        figure,
        f"{active} of {len(table)} factors are active on both sides (variance of posterior means above 0.01 of the "
        "prior's). A factor whose bar is all pale has learned nothing: its posterior is the prior. Bars that end "
        "well above or below the dashed line say that the prior's width does not suit that side. Users are counted "
        "around their mean; the axes are one rotation among many, so single factors have no meaning of their own.",
    )
