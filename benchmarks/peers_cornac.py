"""Cornac's BiVAECF on the splits of `benchmarks.ranking_p1`, judged as everything there is.

    python -m benchmarks.peers_cornac LOG [--seeds 42 43 44] [--fits 1 2] [--output FILE]

Its sizes, epochs, batches and rate are those of the row "plain BiVAE, cornac's recipe" of `ranking_p1`; users and items
are ranked by posterior means. What differs is cornac's own: a rate sigma(theta.beta), below one, without intercept; a
prior N(0, I); one draw of the other side for a whole pass; rows in the order of the log, not shuffled. Cornac is no
dependency of the package.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

import pyrorec as pr
from benchmarks.ranking_p1 import CORNACS_RECIPE, SHOWN
from pyrorec.baselines import Baseline, Scorer, Train
from pyrorec.baselines.base import ItemScores, Users
from pyrorec.inference.evaluate import Test, baseline_scorer, row


@dataclass(frozen=True)
class Factors(Scorer):
    """Dot products of users' and items' posterior means, (users, K) and (items, K)."""

    users: ItemScores
    items: ItemScores

    def scores(self, users: Users) -> ItemScores:
        return self.users[users] @ self.items.T


@dataclass(frozen=True)
class BiVAECF(Baseline):
    """Cornac's model at `CORNACS_RECIPE`; `seed` is that of its fit."""

    name: ClassVar[str] = "cornac BiVAECF"

    seed: int

    def fit(self, train: Train) -> Factors:
        from cornac.data import Dataset
        from cornac.models import BiVAECF as Theirs

        model, training = CORNACS_RECIPE
        log = train.log
        data = Dataset.build(zip(log.user.tolist(), log.item.tolist(), log.pattern.tolist(), strict=True))
        fitted = Theirs(
            k=model.factors, encoder_structure=list(model.hidden), act_fn="tanh", likelihood="pois",
            n_epochs=training.epochs, batch_size=training.batch_size, learning_rate=training.learning_rate,
            beta_kl=training.kl_weight, seed=self.seed, use_gpu=False,
        ).fit(data)  # fmt: skip
        return Factors(
            under_codes(fitted.get_user_vectors(), data.uid_map, log.n_users),
            under_codes(fitted.get_item_vectors(), data.iid_map, log.n_items),
        )


def under_codes(vectors: ItemScores, places: dict[int, int], rows: int) -> ItemScores:
    """Vectors (places, K) under the codes of a log with so many rows; `places` maps codes to places.

    A code without a place, which has no cell in train, has a vector of zeros; it is never recommended.
    """
    found = np.zeros((rows, vectors.shape[1]), dtype=np.float32)
    found[list(places.keys())] = vectors[list(places.values())]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--fits", type=int, nargs="+", default=[1, 2], help="seeds of the fits on each split")
    parser.add_argument("--output", type=Path, help="CSV of every fit")
    arguments = parser.parse_args()
    if find_spec("cornac") is None:
        parser.error("cornac is not installed: `pip install cornac==3.0.1` in this environment, then run this again")
    torch.set_num_threads(1)
    log = pr.read_interactions(arguments.log)
    table = pd.DataFrame([one_fit(log, seed, fit) for seed in arguments.seeds for fit in arguments.fits])
    print(table.to_string(index=False, float_format=lambda x: f"{x:.4f}"))
    print(table[[*SHOWN, "cpu_s"]].agg(["mean", "std"]).to_string(float_format=lambda x: f"{x:.4f}"))
    if arguments.output:
        table.to_csv(arguments.output, index=False)


def one_fit(log: pr.Interactions, seed: int, fit: int) -> pd.Series:
    """The row of one fit on one split."""
    train, test = (Train(part) for part in pr.split_random(log, 0.25, seed))
    start = time.process_time()
    scorer = baseline_scorer(BiVAECF(fit), train)
    seconds = time.process_time() - start
    judged = row(scorer, Test(train.positives, train, test.positives, None, None, ""), (10, 50))
    return pd.concat([pd.Series({"seed": seed, "fit": fit}), judged[SHOWN], pd.Series({"cpu_s": seconds})])


if __name__ == "__main__":
    main()
