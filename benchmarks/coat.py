"""Coat: trained on ratings of self-selected coats, judged on ratings of coats assigned at random.

    python -m benchmarks.coat [--data FILE] [--seeds 0 1 2] [--output FILE]

FILE is the Coat log (user_id, item_id, value, exposure and, if there are any, propensity). A click is a rating of 4 or
more. The 366 pairs rated in both parts are dropped from the test, which leaves 4,274 rows. Every hyper-parameter is
chosen on validation parts of train, drawn by the seed; the table shows means over seeds and, in brackets, standard
deviations. NDCG@5 ranks a user's own test rows. LL* is the log-loss after the best intercept shift, so LL - LL* is what
the base rate costs, which no self-selected log identifies: the last rows read it off 100 random labels, which are
then not judged, and average over draws of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit

import pyrorec as pr
from pyrorec.baselines import (
    Baseline,
    ClickScorer,
    Ease,
    IpsMF,
    LogisticMF,
    MixedLogistic,
    Popularity,
    PopularityIpsMF,
    Scorer,
    Train,
)
from pyrorec.data import Interactions
from pyrorec.evaluation import (
    auc,
    best_intercept_shift,
    expected_calibration_error,
    log_loss,
    ndcg_within_users,
    shifted_log_loss,
    within_user_auc,
)
from pyrorec.inference.pairwise import Pd, Pda

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "coat" / "interactions.parquet"
CLICK = 4.0
LABELS = 100
DRAWS = 50
EASE_PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0)
SPLITS = 5

Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From user and item codes (n,) to probabilities of a click, or to scores for the names in RANKING_ONLY."""

Model = Callable[[Interactions, int], Predict]
"""From the train ratings and a seed to predictions."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, help="CSV of every fit")
    arguments = parser.parse_args()
    if not arguments.data.is_file():
        parser.exit(2, f"{arguments.data} is not there: give the Coat log by --data.\n")
    train, test = parts(arguments.data)
    table = pd.concat([one_seed(train, test, seed) for seed in arguments.seeds])
    print(f"{len(train):,} train rows, {len(test):,} test rows, click rates {rate(train):.3f} and {rate(test):.3f}")
    print(summary(table).to_string())
    if arguments.output:
        table.to_csv(arguments.output, index=False)


def parts(data: Path) -> tuple[Interactions, Interactions]:
    """(train, test) with ratings as values and the features beside the log, if any; absent cells say nothing."""
    tables = {f"{side}_features": data.with_name(f"{side}_features.parquet") for side in ("user", "item")}
    known = {name: path for name, path in tables.items() if path.exists()}
    return pr.split_by_exposure(pr.read_interactions(data, **known).with_missing(pr.Unobserved()))


def clicks(ratings: Interactions) -> Interactions:
    """Ratings as clicks."""
    return Train(ratings, CLICK).clicks


def rate(ratings: Interactions) -> float:
    """Share of clicks."""
    return float(clicks(ratings).value.mean())


def constant(train: Interactions, seed: int) -> Predict:
    """The click rate of train for everybody: what knowing nothing costs."""
    return lambda user, item: np.full(len(user), rate(train))


def by(make: Callable[[int], Baseline], threshold: float = CLICK) -> Model:
    """The baseline made for a seed; ratings from `threshold` on are its positives."""

    def fitted(train: Interactions, seed: int) -> Predict:
        scorer = make(seed).fit(Train(train, threshold))
        if isinstance(scorer, ClickScorer):
            return scorer.probabilities
        return of_pairs(scorer)

    return fitted


def of_pairs(scorer: Scorer) -> Predict:
    """The scores of pairs, read off those of all items."""

    def scores(user: np.ndarray, item: np.ndarray) -> np.ndarray:
        distinct, place = np.unique(user, return_inverse=True)
        return scorer.scores(distinct)[place, item]

    return scores


def ease_on_pattern(train: Interactions, seed: int) -> Predict:
    """EASE on who rated what, whatever the rating; penalty of the best within-user AUC of clicks held out."""
    splits = [pr.hold_out(train, 0.2, SPLITS * seed + number) for number in range(SPLITS)]

    def ease(penalty: float) -> Model:
        return by(lambda _: Ease(penalty), threshold=0.0)

    def found(penalty: float) -> float:
        return float(np.mean([judged(ease(penalty)(part, seed), held_out, False)["uAUC"] for part, held_out in splits]))

    return ease(max(EASE_PENALTIES, key=found))(train, seed)


MODELS: dict[str, Model] = {
    "global mean": constant,
    "item logistic": by(lambda seed: LogisticMF(factors=0, user_grid=(1e6,), seed=seed)),
    "user + item, mixed": by(lambda seed: MixedLogistic()),
    "logistic MF": by(lambda seed: LogisticMF(seed=seed)),
    "IPS-MF, given": by(lambda seed: IpsMF(seed=seed)),
    "IPS-MF, popularity": by(lambda seed: PopularityIpsMF(seed=seed)),
    "popularity": by(lambda seed: Popularity()),
    "EASE on the pattern": ease_on_pattern,
    "PDA": by(lambda seed: Pda(seed=seed)),
    "PD": by(lambda seed: Pd(seed=seed)),
}
RANKING_ONLY = frozenset({"popularity", "EASE on the pattern", "PDA", "PD"})
RECALIBRATED = ("user + item, mixed", "logistic MF", "IPS-MF, given")


def one_seed(train: Interactions, test: Interactions, seed: int) -> pd.DataFrame:
    """Every model fitted once, a row each, and a row for those recalibrated."""
    predictions = {name: model(train, seed) for name, model in MODELS.items() if fits(name, train)}
    rows = {name: judged(predict, test, name not in RANKING_ONLY) for name, predict in predictions.items()}
    for name in filter(predictions.__contains__, RECALIBRATED):
        rows[f"{name}, {LABELS} random labels"] = recalibrated_with(predictions[name], test, LABELS, DRAWS, seed)
    return pd.DataFrame(rows).T.rename_axis("model").reset_index().assign(seed=seed)


def fits(name: str, train: Interactions) -> bool:
    """Whether the log has what the model needs."""
    return name != "IPS-MF, given" or train.propensity is not None


def judged(predict: Predict, test: Interactions, probability: bool = True) -> pd.Series:
    """The measures on test ratings; those of probabilities are NaN for mere scores."""
    cells = clicks(test)
    score, outcome = predict(cells.user, cells.item), (cells.value, cells.trials)
    found = pd.Series(np.nan, index=["AUC", "uAUC", "NDCG@5", "LL", "LL*", "ECE"])
    found["AUC"] = auc(score, *outcome)
    found["uAUC"] = within_user_auc(cells.user, score, *outcome)
    found["NDCG@5"] = ndcg_within_users(cells.user, score, cells.value, 5)
    if probability:
        found["LL"], found["LL*"] = log_loss(score, *outcome), shifted_log_loss(score, *outcome)
        found["ECE"] = expected_calibration_error(score, *outcome)
    return found


def recalibrated_with(predict: Predict, test: Interactions, n: int, draws: int, seed: int) -> pd.Series:
    """The measures after an intercept shift learnt from `n` random test labels, judged on the rest; mean over draws."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(draws):
        labelled = np.isin(np.arange(len(test)), rng.permutation(len(test))[:n])
        rows.append(judged(shifted(predict, clicks(test.select(labelled))), test.select(~labelled)))
    return pd.DataFrame(rows).mean()


def shifted(predict: Predict, labels: Interactions) -> Predict:
    """The probabilities with the intercept that fits these labels best."""
    shift = best_intercept_shift(predict(labels.user, labels.item), labels.value, labels.trials)
    return lambda user, item: expit(logit(predict(user, item)) + shift)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds as text, models in order."""
    grouped = table.drop(columns="seed").groupby("model", sort=False)
    mean, sd = grouped.mean(), grouped.std()
    shown = {m: [f"{a:.4f} ({b:.4f})" for a, b in zip(mean[m], sd[m], strict=True)] for m in mean}
    return pd.DataFrame(shown, index=mean.index).replace("nan (nan)", "-")


if __name__ == "__main__":
    main()
