"""Does uncertainty mean something: errors against widths of intervals, and coverage where the truth is known.

    python -m benchmarks.uncertainty LOG [--seeds 0 1 2] [--output FILE]

LOG is the MovieLens-100K log. Within deciles of the predicted mean, cells are split into five by the posterior sd of
the expected value (`pyrorec.evaluation.errors_by_width`): on simulated frailty worlds of 400 x 200 the error is that
of the expected count, against the truth, over all pairs; on MovieLens the ratings of a random quarter are held out,
and error and width hold their noise as well. Coverage of 90 % intervals: of popularity, activity and expected counts
of the worlds, of effects also with the one factor taken off that no count identifies (the ratio of means), and of the
ratings held out, with the noise added. `se` is binomial for items and users, and over users for cells, which share
them. The figure is written to docs/figures/uncertainty.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib import rc_context
from scipy.special import ndtri

import pyrorec as pr
from pyrorec.evaluation import errors_by_width
from pyrorec.report.style import BLUE, DPI, GREY, STYLE, canvas
from pyrorec.simulation import FrailtyWorld, interval_coverage
from pyrorec.simulation.world import Simulated

FIGURE = Path(__file__).parents[1] / "docs/figures/uncertainty.png"
WORLD = FrailtyWorld(users=400, items=200, mean_count=0.3)
WORLD_MODEL = pr.BilateralModel(factors=4)
RATINGS_MODEL = pr.BilateralModel(family=pr.Gaussian(), predictor=pr.Additive())
LEVEL = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, help="CSV of the coverage of every seed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    log = pr.read_interactions(arguments.log).with_missing(pr.Unobserved())
    worlds = [on_world(WORLD.simulate(seed), seed) for seed in arguments.seeds]
    ratings = [on_ratings(log, seed) for seed in arguments.seeds]
    curves = {"simulated counts": by_width(worlds), "MovieLens-100K ratings": by_width(ratings)}
    for name, curve in curves.items():
        ratio, lower, upper = curve.attrs["ratio"]
        print(f"{name}: widest fifth over narrowest {ratio:.2f} ({lower:.2f} to {upper:.2f})")
        print(curve.round(3).to_string())
    coverage = pd.concat([found for _, found in [*worlds, *ratings]], ignore_index=True)
    print(pooled(coverage).round(3).to_string())
    picture(curves)
    if arguments.output:
        coverage.to_csv(arguments.output, index=False)


Judged = tuple[pd.DataFrame, pd.DataFrame]
"""Cells (user, predicted, width, error), and coverage by quantity."""


def on_world(world: Simulated, seed: int) -> Judged:
    """Every pair of a world: expected counts against the truth."""
    run = pr.fit(WORLD_MODEL, world.train, seed=seed, context=pr.Context(progress=False))
    truth = world.truth.aligned(run.posterior.users, run.posterior.items)
    pairs = pd.MultiIndex.from_product([run.posterior.users, run.posterior.items], names=["user_id", "item_id"])
    found = run.score(pairs.to_frame(index=False))
    cells = cells_of(found, truth.expected_count.ravel(), seed)
    rows = [
        *effect(run, "item", "popularity", truth.popularity),
        *effect(run, "user", "activity", truth.activity),
        over_users("expected counts", cells["inside"], cells["user"]),
        over_users("expected counts, top decile", *top_decile(cells)),
    ]
    return cells, pd.DataFrame(rows).assign(seed=seed)


def on_ratings(log: pr.Interactions, seed: int) -> Judged:
    """Ratings held out at random: error of the expected rating, coverage of the rating itself."""
    train, test = pr.split_random(log, 0.25, seed)
    run = pr.fit(RATINGS_MODEL, train, seed=seed, context=pr.Context(progress=False))
    known = (train.user_counts[test.user] > 0) & (train.item_counts[test.item] > 0)
    test = test.select(known)
    found = run.score(test.to_frame()[["user_id", "item_id"]])
    cells = cells_of(found, test.value, seed)
    spread = np.sqrt(found["sd"] ** 2 + float(run.posterior.response.sd) ** 2)  # type: ignore[attr-defined]
    cells["width"] = spread  # an error of a rating holds its noise, so the width it is held against does too
    inside = (cells["error"].abs() < ndtri((1 + LEVEL) / 2) * spread).to_numpy()
    return cells, pd.DataFrame([over_users("ratings held out", inside, cells["user"])]).assign(seed=seed)


def cells_of(found: pd.DataFrame, truth: np.ndarray, seed: int) -> pd.DataFrame:
    """Prediction, width, error and whether the interval holds the truth, users of different seeds apart."""
    return pd.DataFrame(
        {
            "user": f"{seed} " + found["user_id"].astype(str),
            "predicted": found["mean"],
            "width": found["sd"],
            "error": found["mean"] - truth,
            "inside": (found["lower"] <= truth) & (truth <= found["upper"]),
        }
    )


def effect(run: pr.Run, side: str, name: str, truth: np.ndarray) -> list[dict[str, object]]:
    """Coverage of an effect as it stands, and with its mean set to that of the truth."""
    table = run.posterior.effects(side, LEVEL)
    level = table["mean"].mean() / truth.mean()
    rows = []
    for label, factor in ((name, 1.0), (f"{name}, level taken off", level)):
        share, se = interval_coverage(table["lower"].to_numpy(), table["upper"].to_numpy(), truth * factor)
        rows.append({"quantity": label, "n": len(truth), "coverage": share, "se": se})
    return rows


def top_decile(cells: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The cells of the largest predictions: whether they are inside, and their users."""
    top = cells[cells["predicted"] >= cells["predicted"].quantile(0.9)]
    return top["inside"], top["user"]


def over_users(name: str, inside: np.ndarray | pd.Series, user: pd.Series) -> dict[str, object]:
    """Coverage of cells, with the standard error of a mean over users' cells (a ratio estimate)."""
    table = pd.DataFrame({"inside": np.asarray(inside, dtype=float), "user": user.to_numpy()})
    share = table["inside"].mean()
    apart = (table["inside"] - share).groupby(table["user"]).sum()
    return {"quantity": name, "n": len(table), "coverage": share, "se": np.sqrt((apart**2).sum()) / len(table)}


def by_width(judged: list[Judged]) -> pd.DataFrame:
    """Errors by width over the cells of all seeds."""
    cells = pd.concat([table for table, _ in judged], ignore_index=True)
    return errors_by_width(cells["user"], cells["predicted"], cells["width"], cells["error"])


def pooled(coverage: pd.DataFrame) -> pd.DataFrame:
    """Coverage over all seeds."""
    weighted = coverage.assign(
        inside=coverage["coverage"] * coverage["n"], variance=(coverage["se"] * coverage["n"]) ** 2
    )
    table = weighted.groupby("quantity", sort=False)[["n", "inside", "variance"]].sum()
    found = pd.DataFrame({"n": table["n"], "coverage": table["inside"] / table["n"]})
    found["se"] = np.sqrt(table["variance"]) / table["n"]
    found["short of nominal by"] = LEVEL - found["coverage"]
    return found


def picture(curves: dict[str, pd.DataFrame]) -> None:
    """Relative error against relative width, with bands; the dashed line is proportion."""
    with rc_context(STYLE):
        figure, axes = canvas(len(curves), height=3.0, width=7.4)
        for axis, (name, curve) in zip(axes[0], curves.items(), strict=True):
            width = curve["width"].to_numpy()
            axis.fill_between(width, curve["lower"], curve["upper"], color=BLUE, alpha=0.2, linewidth=0)
            axis.plot(width, curve["rmse"], color=BLUE, marker="o", label="error, 90 % band")
            axis.plot(width, width, color=GREY, linestyle="--", label="error in proportion")
            axis.axhline(1.0, color=GREY, linestyle=":", label="widths say nothing")
            axis.set(title=name, xlabel="sd, relative to its decile", ylabel="RMSE, relative to its decile")
        axes[0, 0].legend(loc="upper left")
        FIGURE.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(FIGURE, dpi=DPI)


if __name__ == "__main__":
    main()
