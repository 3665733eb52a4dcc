"""Off-policy estimates on Open Bandit: each of two policies judged from the other's log, and by its own.

    python -m benchmarks.open_bandit FOLDER [--output FILE]

FOLDER holds interactions_men.parquet and interactions_women.parquet: item_id, value (click), timestamp, exposure
(random: uniform; biased: Bernoulli Thompson sampling), position, propensity and user features. An impression is an item
in one of three positions, and propensities are by item and position, so position is part of the context.

The uniform policy is known. Thompson's changed all week, and its log has propensities of the shown items alone; its
mean over the week, by position, is how often each item was shown there. dr's reward model is cross-fitted. The judge of
every estimate is the mean reward of the policy's own log; `z` is their difference in standard errors of both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import pyrorec as pr
from pyrorec.data import Apart

CAMPAIGNS = ("men", "women")
TRAINING = pr.Training(objective=pr.Expected(), epochs=20, learning_rate=0.03, validation_fraction=0)
SHOWN = ["value", "se", "lower", "upper", "judge", "judge_se", "z", "effective", "rewarded", "largest_weight"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, help="CSV of every estimate")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = pr.CrossFit(pr.PopularityModel(affinity=pr.Linear()), folds=5, training=TRAINING)
    tables = []
    for campaign in CAMPAIGNS:
        uniform, thompson = logs(arguments.folder, campaign)
        asked = {
            "uniform by Thompson's log": (pr.uniform_policy(uniform.items), thompson, uniform),
            "Thompson by the uniform log": (shown_by(thompson), uniform, thompson),
        }
        if campaign == "women":
            likely = thompson.select(thompson.propensity > 1e-5)
            asked["uniform by Thompson's log, less one record"] = (pr.uniform_policy(uniform.items), likely, uniform)
        for question, (target, log, own) in asked.items():
            try:
                table = judged(target, log, own, model)
            except pr.NoOverlap as refusal:
                print(f"{campaign}, {question}: refused. {refusal}")
                continue
            print(f"{campaign}, {question}")
            print(table[[*SHOWN, "mean_weight", "mean_weight_se"]].to_string(float_format=lambda x: f"{x:.5g}"))
            tables.append(table.reset_index().assign(campaign=campaign, question=question))
    if arguments.output:
        pd.concat(tables, ignore_index=True).to_csv(arguments.output, index=False)


def logs(folder: Path, campaign: str) -> tuple[pr.Interactions, pr.Interactions]:
    """(uniform, Thompson): records apart, the user a group of equal context together with the position."""
    frame = pd.read_parquet(folder / f"interactions_{campaign}.parquet")
    frame["user_id"] = frame["user_id"].astype(str) + "|" + frame["position"].astype(str)
    features = frame.groupby("user_id").first().filter(regex="^(position|user_feature_)").astype(str)
    parts = [frame[frame["exposure"] == exposure].drop(columns="exposure") for exposure in ("random", "biased")]
    uniform, thompson = (
        pr.read_interactions(part, duplicates=Apart(), user_features=features, to_fit=False) for part in parts
    )
    return uniform, thompson


def shown_by(log: pr.Interactions) -> pr.Policy:
    """The policy that shows each item as often as a log does at the same position, for every known context."""
    position = log.users.str.split("|").str[1].to_numpy()
    shown = pd.crosstab(position[log.user], log.items[log.item], normalize="index")
    shown.columns.name = "item_id"
    contexts = pd.Index(log.user_features.index, name="user_id")
    rows = shown.loc[contexts.str.split("|").str[1]].set_axis(contexts)
    return pr.tabled_policy(rows.stack().rename("probability").reset_index())


def judged(
    target: pr.Policy, log: pr.Interactions, own: pr.Interactions, model: pr.CrossFit | None = None
) -> pd.DataFrame:
    """Estimates from another policy's log beside the mean reward of the policy's own, records as units."""
    table = pr.off_policy(target, log, model=model, by_user=False)
    judge, judge_se = own.value.mean(), own.value.std(ddof=1) / np.sqrt(len(own))
    z = (table["value"] - judge) / np.hypot(table["se"], judge_se)
    return table.assign(judge=judge, judge_se=judge_se, z=z)


if __name__ == "__main__":
    main()
