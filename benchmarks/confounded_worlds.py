"""Does deconfounding help where popularity, not taste, decided who saw what?

    python -m benchmarks.confounded_worlds [--worlds 20] [--output FILE]

Each world is a fresh draw of the frailty process: the log is confounded, the test pairs are shown at random. On those
that the log does not hold, `Deconfound`, `Observe` and the plain model (popularity left out), as it is and with its
users centred afterwards, are compared by within-user AUC and NDCG@10. Then the 90 % intervals of popularity: with
affinities held at their truth, where they must cover, and with everything estimated, which is only reported.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

import pyrorec as pr
from pyrorec.guides import BilateralGuide
from pyrorec.inference.observations import observe
from pyrorec.inference.posterior import read_posterior
from pyrorec.inference.train import module_local
from pyrorec.models.bilateral import Bilateral
from pyrorec.simulation import FrailtyWorld, interval_coverage

FACTORS = 8
TRAINING = pr.Training(epochs=80)
MEASURES = ["within_user_auc", "ndcg@10"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1000, help="seed of the first world")
    parser.add_argument("--output", type=Path, help="CSV of every world")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [one_world(arguments.seed + n) for n in tqdm(range(arguments.worlds), unit="world")]
    table = pd.DataFrame([row for row, _, _ in rows])
    print(summary(table).to_string(float_format=lambda x: f"{x:.4f}"))
    for name, number in (("affinities held at their truth", 1), ("everything estimated", 2)):
        inside = np.concatenate([row[number] for row in rows])
        worlds = np.array([row[number].mean() for row in rows])
        se = worlds.std(ddof=1) / len(worlds) ** 0.5  # items of one world share its level, so worlds are the units
        print(f"90 % intervals of popularity, {name}: cover {inside.mean():.3f} (se {se:.3f}) of {len(inside):,}")
    if arguments.output:
        table.to_csv(arguments.output, index=False)


def one_world(seed: int) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """Measures of each scorer on the random pairs, and which intervals of popularity hold the truth."""
    world = FrailtyWorld(users=400, items=200).simulate(seed)
    context = pr.Context(seed=seed, progress=False)
    frailty = pr.fit(pr.BilateralModel(factors=FACTORS), world.train, training=TRAINING, context=context)
    plain = pr.fit(
        pr.BilateralModel(factors=FACTORS, predictor=pr.Plain()), world.train, training=TRAINING, context=context
    )
    asked = {"observe": pr.Observe(), "deconfound": pr.Deconfound()}
    test = unseen(world.test, world.train)
    judged = pr.evaluate(frailty, test, at=(10,), interventions=asked, baselines=())
    for name, run in (("plain", plain), ("plain, centred", centred(plain))):
        judged.loc[name] = pr.evaluate(run, test, at=(10,), baselines=()).loc["observe"]
    row = {f"{m} {name}": judged.loc[name, m] for m in MEASURES for name in judged.index}
    return row, covered(held_at_truth(world), world), covered(frailty.posterior.effects("item"), world)


def unseen(test: pr.Interactions, train: pr.Interactions) -> pr.Interactions:
    """The random pairs that the log does not hold: seen ones may not be recommended."""
    pair = test.user * test.n_items + test.item
    return test.select(~np.isin(pair, train.user * train.n_items + train.item))


def centred(run: pr.Run) -> pr.Run:
    """The plain run with its users centred after the fit: how much of the gain needs no popularity at all."""
    posterior = run.posterior
    return replace(run, posterior=replace(posterior, user_mean=posterior.user_mean - posterior.user_mean.mean(0)))


def held_at_truth(world) -> pd.DataFrame:  # type: ignore[no-untyped-def]
    """Intervals of popularity with factors, intercept and shapes at their truth; activity unknown as ever."""
    truth, spec = world.truth, pr.BilateralModel(factors=world.truth.user_factors.shape[1])
    rows = observe(world.train, spec, None).all
    model = Bilateral(spec, world.train.n_users, world.train.n_items, 1.0, truth.scalars.intercept)
    guide = BilateralGuide(model, rows)
    for side, factors, shape in (
        ("user", truth.user_factors, truth.scalars.activity_shape),
        ("item", truth.item_factors, truth.scalars.popularity_shape),
    ):
        guide.posterior[side].mean.copy_(torch.as_tensor(factors))
        guide.posterior[side].sd.fill_(1e-6)
        getattr(model, side).effect.log_values["shape"].data.fill_(np.log(shape))
    with module_local():
        for _ in range(50):
            for side in ("user", "item"):
                guide.refresh_effects(model, side, rows[side])
        return read_posterior(model, guide, world.train.users, world.train.items).effects("item")


def covered(intervals: pd.DataFrame, world) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Which intervals hold the truth."""
    inside = (intervals["lower"] <= world.truth.popularity) & (world.truth.popularity <= intervals["upper"])
    assert np.isclose(
        inside.mean(), interval_coverage(intervals["lower"], intervals["upper"], world.truth.popularity)[0]
    )
    return inside.to_numpy(dtype=float)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard error over worlds, and of the paired differences."""
    out = {}
    for measure in MEASURES:
        columns = {name: table[f"{measure} {name}"] for name in ("observe", "deconfound", "plain", "plain, centred")}
        columns |= {
            "deconfound - observe": columns["deconfound"] - columns["observe"],
            "deconfound - plain": columns["deconfound"] - columns["plain"],
            "deconfound - plain, centred": columns["deconfound"] - columns["plain, centred"],
        }
        for name, values in columns.items():
            se = values.std() / len(values) ** 0.5
            out[(measure, name)] = {"mean": values.mean(), "se": se, "mean / se": values.mean() / se}
    return pd.DataFrame(out).T


if __name__ == "__main__":
    main()
