"""The numbers behind the figures, as tables; those on calibration stand in `checks`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pyrorec.data import Entry, InputError
from pyrorec.data.truth import Truth
from pyrorec.evaluation import (
    item_counts,
    popularity_bias_metrics,
    positives,
    score_chunks,
    top_k,
)
from pyrorec.inference.evaluate import default_interventions, run_scorer
from pyrorec.inference.observations import cells
from pyrorec.inference.run import Run
from pyrorec.models.distributions import Scale

RANKED_CELLS = 5_000_000
"""Users are sampled where scoring all of them would take more cells than this."""
BIAS = ("arp", "aplt", "gini", "item_coverage")


def is_rate(run: Run) -> bool:
    """Whether popularity is a rate z > 0, and not a standardised logarithm."""
    return run.posterior.item_effect.predictor.scale is Scale.RATE


def popularity_table(run: Run) -> pd.DataFrame:
    """Mean, sd, lower and upper (90 %) of each item's popularity, with `count` as the model saw the log.

    The count is the sum of the item's counts or clicks; for ratings, their number. Raises InputError where the
    model holds no popularity.
    """
    if run.posterior.popularity is None:
        raise InputError("The model holds no popularity (predictor plain), so there is no posterior of it to show.")
    value, _ = cells(run.log, run.spec)
    if run.spec.outcome.graded:
        value = run.log.matrix(Entry.PATTERN)
    return run.posterior.effects("item").assign(count=np.asarray(value.sum(axis=0)).ravel())


def recovery_table(run: Run, truth: Truth) -> pd.DataFrame:
    """`popularity_table` with the `true` popularity on the model's scale.

    The true log z is standardised over the items where the model's popularity is a standardised logarithm.
    """
    true = truth.aligned(run.posterior.users, run.posterior.items).popularity
    if not is_rate(run):
        true = (np.log(true) - np.log(true).mean()) / np.log(true).std()
    return popularity_table(run).assign(true=true)


def level_shift(table: pd.DataFrame, rate: bool) -> float:
    """What to multiply (rate) or add (logarithm) to give recovered popularity the mean (log) level of the true."""
    if rate:
        return float(np.exp(np.mean(np.log(table.true) - np.log(table["mean"]))))
    return float((table.true - table["mean"]).mean())


def sampled_users(run: Run, largest: int) -> np.ndarray:
    """Codes of all users, or of so many that users x items stays within `largest` cells, in order."""
    most = max(1, largest // max(1, run.log.n_items))
    return np.sort(np.random.default_rng(run.seed).permutation(run.log.n_users)[:most])


def ranked_lists(run: Run, k: int = 10) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Users, and their k best unseen items (users, k) under Observe, Deconfound and Temper(0.5)."""
    seen = run.log.matrix(Entry.PATTERN)
    users, allowed = sampled_users(run, RANKED_CELLS), item_counts(seen) > 0
    rows = max(1, 2_000_000 // run.log.n_items)
    lists = {}
    for name, intervention in default_interventions(run).items():
        scores = run_scorer(run, name, intervention).scores
        lists[name] = top_k(score_chunks(scores, users, rows), seen, allowed, k)[1]
    return users, lists


def bias_table(run: Run, users: np.ndarray, lists: dict[str, np.ndarray]) -> pd.DataFrame:
    """ARP, APLT, Gini and item coverage of the lists, one row each, columns as in `evaluate`."""
    train = positives(run.log.matrix(Entry.PATTERN))
    k = next(iter(lists.values())).shape[1]
    rows = {name: popularity_bias_metrics(ranked, users, train, at=(k,)) for name, ranked in lists.items()}
    return pd.DataFrame(rows).T[[f"{metric}@{k}" for metric in BIAS]]


def factor_table(run: Run) -> pd.DataFrame:
    """Per factor, relative to its prior variance: `user_means`, `item_means` (variance over rows of the posterior
    means) and `user_spread`, `item_spread` (mean posterior variance); `share` of the variance of affinity.

    A row's factor is active where the variance of its means exceeds 0.01 (Burda, Grosse and Salakhutdinov
    2016, 5.2). `share` is var(user means) x E[item means^2], over its sum. Sorted by share.
    """
    posterior, factors = run.posterior, run.spec.factors
    user_prior, item_prior = run.model.factor_variances()
    user, item = (m[:, :factors].double().numpy() for m in (posterior.user_mean, posterior.item_mean))
    strength = user.var(axis=0) * (item**2).mean(axis=0)
    table = pd.DataFrame(
        {
            "user_means": user.var(axis=0) / user_prior,
            "user_spread": (posterior.user_sd[:, :factors].double().numpy() ** 2).mean(axis=0) / user_prior,
            "item_means": item.var(axis=0) / item_prior,
            "item_spread": (posterior.item_sd[:, :factors].double().numpy() ** 2).mean(axis=0) / item_prior,
            "share": strength / max(strength.sum(), 1e-300),
        }
    )
    return table.sort_values("share", ascending=False, kind="stable")
