"""`tune`: the best of a small declared space on a validation part of train, resumable."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from pyrorec.data import InputError, Interactions, Missing, hold_out
from pyrorec.inference.configured import configured_model, configured_training
from pyrorec.inference.files import write_text
from pyrorec.inference.fit import fit
from pyrorec.inference.ledger import Ledger, digest_of, key_of
from pyrorec.inference.observations import check_values
from pyrorec.inference.search_space import Space
from pyrorec.inference.settings import Context, Training
from pyrorec.inference.settings_file import ModelSpec, missing_to_plain, model_to_plain, to_toml, training_to_plain
from pyrorec.inference.train import NonFiniteLoss
from pyrorec.inference.validation_metrics import Metric, metric_named

logger = logging.getLogger("pyrorec")
RESULTS, BEST = "results.jsonl", "best.toml"


@dataclass(frozen=True, eq=False)
class Tuned:
    """The winner, to be fitted on the whole log, and the table of all candidates, best first.

    Columns of `table`: the settings that vary, `score` (mean over seeds), `se_seeds` (over seeds, NaN for one),
    `se_users` (of one fit, users the unit), `difference` and `difference_se` (to the winner, paired over seeds),
    `fits`, `cpu_s` and `reason` (why it failed, empty where it did not).
    """

    table: pd.DataFrame
    model: ModelSpec
    training: Training
    missing: Missing


def tune(
    space: Space,
    log: Interactions,
    folder: Path,
    *,
    validation: float = 0.2,
    seeds: Sequence[int] = (0,),
    metric: Metric | None = None,
    context: Context | None = None,
) -> Tuned:
    """Fits every candidate of a space on a part of the log for every seed and judges it on the rest.

    The split is `hold_out` by the seed, so candidates are compared on the same cells; the fit has the same seed. Every
    result is appended to results.jsonl in `folder` under a hash of candidate, seed, log, fraction and metric: called
    again, `tune` fits only what is not there. A fit that fails (InputError, NonFiniteLoss) is written down with its
    reason and does not stop the others. best.toml is what `pyrorec fit --config` takes. Raises InputError for a space
    that cannot be read, a log that the metric cannot use, and where no candidate could be fitted.
    """
    metric = metric or metric_named(None, log)
    context = context or Context()
    metric.check(log)
    candidates = space.candidates()
    check_outcomes(candidates, log, metric)
    parts = {seed: hold_out(log, validation, seed) for seed in seeds}
    folder.mkdir(parents=True, exist_ok=True)
    ledger, mark = Ledger(folder / RESULTS), [digest_of(log), validation, repr(metric)]
    keys = {(n, seed): key_of(candidate, seed, *mark) for n, candidate in enumerate(candidates) for seed in seeds}
    open_ = [place for place, key in keys.items() if key not in ledger]
    for number, seed in tqdm(open_, unit="fit", disable=not context.progress, leave=False):
        quiet = replace(context, seed=seed, progress=False, folder=None, resume=False)
        row = attempt(candidates[number], *parts[seed], metric, quiet)
        ledger.add(keys[number, seed], {"candidate": candidates[number], "seed": seed, "metric": metric.name} | row)
    table = summary(candidates, {place: ledger.rows[key] for place, key in keys.items()}, seeds)
    winner = best_of(table, candidates)
    choice, training = configured_model(winner, log), configured_training(winner, len(log))
    settings = {
        "seed": int(seeds[0]), "missing": missing_to_plain(choice.missing),
        "model": model_to_plain(choice.model), "training": training_to_plain(training),
    }  # fmt: skip
    write_text(folder / BEST, to_toml(settings))
    return Tuned(table, choice.model, training, choice.missing)


def check_outcomes(candidates: list[dict[str, Any]], log: Interactions, metric: Metric) -> None:
    """Refuses candidates that predict different events, where the metric is a density of one."""
    events = set()
    for candidate in candidates:
        with suppress(InputError):  # candidates that cannot be built fail one by one, each with its reason
            model = configured_model(candidate, log).model
            events.add((model.outcome.value, model.family.support.is_discrete, model.family.coupled, model.binarise))
    if metric.compares_outcomes and len(events) > 1:
        raise InputError(
            "The candidates predict different events, whose densities cannot be compared (family and binarise differ): "
            "judge them by --metric ndcg@10, or tune each kind apart."
        )


def attempt(
    candidate: dict[str, Any], fitting: Interactions, validation: Interactions, metric: Metric, context: Context
) -> dict[str, Any]:
    """One fit and its score, or why there is none."""
    start = time.process_time()
    try:
        choice = configured_model(candidate, fitting)
        train = fitting.with_missing(choice.missing)
        check_values(train, choice.model)
        run = fit(choice.model, train, training=configured_training(candidate, len(train)), context=context)
        mean, se = metric.score(run, validation)
        if not np.isfinite(mean):
            raise NonFiniteLoss(f"the score is {mean}")
        found: dict[str, Any] = {"score": mean, "se": se, "epochs": len(run.metrics), "reason": ""}
    except (InputError, NonFiniteLoss) as failure:
        found = {"score": None, "se": None, "epochs": None, "reason": str(failure)}
    return found | {"cpu_s": time.process_time() - start}


def summary(
    candidates: list[dict[str, Any]], rows: dict[tuple[int, int], dict[str, Any]], seeds: Sequence[int]
) -> pd.DataFrame:
    """One row per candidate, indexed by its number, best first; those that failed for a seed have no score."""
    scores = np.array(
        [[rows[n, seed]["score"] for seed in seeds] for n in range(len(candidates))], dtype=np.float64
    )  # None becomes NaN
    table = varying(candidates)
    table["score"], table["se_seeds"] = scores.mean(1), error_of_mean(scores)
    table["se_users"] = [np.mean([as_number(rows[n, s]["se"]) for s in seeds]) for n in range(len(candidates))]
    if np.isfinite(scores.mean(1)).any():
        apart = scores - scores[int(np.nanargmax(scores.mean(1)))]
        table["difference"], table["difference_se"] = apart.mean(1), error_of_mean(apart)
    table["fits"] = np.isfinite(scores).sum(1)
    table["cpu_s"] = [sum(rows[n, s]["cpu_s"] for s in seeds) for n in range(len(candidates))]
    table["reason"] = [next(filter(None, (rows[n, s]["reason"] for s in seeds)), "") for n in range(len(candidates))]
    return table.sort_values("score", ascending=False, kind="stable").rename_axis("candidate")


def as_number(value: float | None) -> float:
    """NaN for None."""
    return float("nan") if value is None else value


def error_of_mean(scores: np.ndarray) -> np.ndarray:
    """Standard error of row means (rows,), NaN for a single column."""
    n = scores.shape[1]
    return np.full(len(scores), np.nan) if n < 2 else scores.std(1, ddof=1) / np.sqrt(n)


def varying(candidates: list[dict[str, Any]]) -> pd.DataFrame:
    """The settings in which candidates differ, one column each."""
    table = pd.json_normalize(candidates).astype(str)
    return table.loc[:, table.nunique(dropna=False) > 1].copy()


def best_of(table: pd.DataFrame, candidates: list[dict[str, Any]]) -> dict[str, Any]:
    """The candidate of the best mean score. Raises InputError where all failed."""
    done = table["score"].dropna()
    if not len(done):
        raise InputError(f"No candidate could be fitted; the first failed because: {table['reason'].iloc[0]}")
    return candidates[int(done.index[0])]
