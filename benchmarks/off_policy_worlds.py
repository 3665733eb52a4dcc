"""Off-policy estimates in worlds where popularity decides who sees what, and the value of every policy is known.

    python -m benchmarks.off_policy_worlds [--worlds 3] [--logs 100] [--output FILE]

In each world items are shown in proportion to z_i e^(.3 a_ui) and clicked with probability 1 - exp(-.3 z_i^.3 e^a_ui),
so popularity and taste are in both. A popularity model is fitted to 20,000 impressions; its policies are judged
from other logs of 10,000 impressions of the same logging policy, beside their exact value. `naive` is the mean reward
of the records weighted by the target's probability without propensities; a log is refused as `pr.off_policy` refuses.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

import pyrorec as pr
from pyrorec.data.truth import Truth
from pyrorec.simulation import FrailtyWorld, logged_impressions, policy_value, popularity_policy

TRAINING = pr.Training(objective=pr.Expected(), epochs=30, learning_rate=0.03, validation_fraction=0)
WORLD = FrailtyWorld(users=300, items=60, popularity_in_outcome=0.3, features=False)
RULES = {"greedy": pr.EpsilonGreedy(), "epsilon .3": pr.EpsilonGreedy(0.3), "softmax .1": pr.Softmax(0.1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=3)
    parser.add_argument("--logs", type=int, default=100, help="logs of each world")
    parser.add_argument("--output", type=Path, help="CSV of every estimate")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for seed in range(arguments.worlds) for row in one_world(seed, arguments.logs)]
    table = pd.DataFrame(rows)
    print(summary(table).to_string(float_format=lambda x: f"{x:.4f}"))
    if arguments.output:
        table.to_csv(arguments.output, index=False)


def one_world(seed: int, logs: int) -> list[dict[str, float | str]]:
    """Every estimate of every policy from every log of a world."""
    truth = WORLD.simulate(seed).truth
    shown = popularity_policy(truth, 1.0, taste=0.3)
    train = logged_impressions(truth, shown, 20_000, seed=1_000_000 + seed)
    run = pr.fit(pr.PopularityModel(), train, training=TRAINING, context=pr.Context(seed=seed, progress=False))
    policies = {name: pr.policy(run, rule, intervention=pr.Deconfound()) for name, rule in RULES.items()}
    policies["uniform"] = pr.uniform_policy(truth.items)
    rows = []
    for number in tqdm(range(logs), desc=f"world {seed}", unit="log"):
        log = logged_impressions(truth, shown, 10_000, seed=1_000 * seed + number)
        for name, target in policies.items():
            rows += [row | {"world": seed, "policy": name} for row in one_log(truth, run, target, log)]
    return rows


def one_log(truth: Truth, run: pr.Run, target: pr.Policy, log: pr.Interactions) -> list[dict[str, float | str]]:
    """The estimates of a policy from a log, with what the policy is worth."""
    chances = np.zeros((len(truth.users), len(truth.items)))
    chances[:, truth.items.get_indexer(target.items)] = target.probabilities(truth.users)
    value, liked = policy_value(truth, chances), chances[log.user, log.item]
    naive = {"estimator": "naive", "estimate": float(log.value @ liked / liked.sum()), "truth": value}
    try:
        table = pr.off_policy(target, log, model=run, by_user=False)
    except pr.NoOverlap:
        return [naive, {"estimator": "refused", "truth": value}]
    return [naive] + [
        {
            "estimator": name, "estimate": row.value, "truth": value, "effective": row.effective, "se": row.se,
            "inside": float(row.lower <= value <= row.upper),
        }
        for name, row in table.iterrows()
    ]  # fmt: skip


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """By policy and estimator: truth, mean error with its standard error, RMSE, mean standard error, coverage."""
    error = table["estimate"] - table["truth"]
    grouped = table.assign(error=error, square=error**2).groupby(["policy", "estimator"], sort=False)
    found = grouped.agg(
        logs=("truth", "size"), truth=("truth", "mean"), error=("error", "mean"), error_se=("error", "sem"),
        rmse=("square", "mean"), se=("se", "mean"), coverage=("inside", "mean"), effective=("effective", "mean"),
    )  # fmt: skip
    return found.assign(rmse=np.sqrt(found["rmse"]))


if __name__ == "__main__":
    main()
