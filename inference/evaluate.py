"""`evaluate`: a run and its baselines on a test log, one row per scorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from pyrorec.baselines import Baseline, ClickScorer, Ease, Popularity, Train, Unfit
from pyrorec.data import Entry, InputError, Interactions, Kind
from pyrorec.evaluation import (
    CALIBRATION_METRICS,
    auc,
    calibration_metrics,
    evaluable_users,
    item_counts,
    mae,
    poisson_deviance,
    popularity_bias_metrics,
    positives,
    ranking_metrics,
    rmse,
    score_chunks,
    top_k,
    within_user_auc,
)
from pyrorec.inference.intervention import Deconfound, Intervention, Observe, Temper
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.run import EXPOSURE, Run
from pyrorec.inference.scores import PlugIn, Predictive, pair_surface, surface
from pyrorec.models.families import Cloglog, Outcome, Poisson
from pyrorec.models.joint import JointModel
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.predictors import Offset

Scores = Callable[[np.ndarray], np.ndarray]
PairScores = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Scorer:
    """Something that ranks: scores of users (users, items), of pairs, and whether the latter are probabilities.

    `values` are expected counts or ratings of pairs, None where there are none.
    """

    name: str
    scores: Scores
    pairs: PairScores
    probability: bool
    values: PairScores | None = None


@dataclass(frozen=True)
class Test:
    """A test log in the codes of a run: positives, and the explicit cells if there are negatives.

    `seen` are all cells of the train log, which are never recommended; `train` is what baselines fit.
    `valued` are the test cells whose value can be compared with an expected one: ratings, or counts with zeros.
    """

    seen: sparse.csr_array
    train: Train
    positives: sparse.csr_array
    explicit: Interactions | None
    valued: Interactions | None
    reason: str


def evaluate(
    run: Run,
    test: Interactions,
    *,
    at: int | Sequence[int] = (10, 50),
    interventions: dict[str, Intervention] | None = None,
    baselines: Sequence[Baseline] = (Popularity(), Ease()),
) -> pd.DataFrame:
    """Ranking, calibration and popularity bias of a run under each intervention, baselines beside.

    Users need a positive in test and a row in train; seen items are left out; items never seen in train are
    not recommended but count in the ideal. Calibration is computed on test cells with true negatives only,
    else NaN, with the reason in `.attrs["notes"]`. Test users unknown to the run are left out, items unknown to it
    count in the ideal as any item never seen in train does; the notes say how many. Positive means above zero; for
    ratings, at or above the train mean, in test and in what the baselines learn from. A baseline that yields
    probabilities is judged for calibration as the run is; one that the log cannot feed is left out with a note.
    """
    if run.view == EXPOSURE:
        run.refuse_view("evaluate")
    lengths = (int(at),) if isinstance(at, Integral) else tuple(at)  # type: ignore[arg-type]
    prepared, notes = prepare(run, test)
    asked = default_interventions(run) if interventions is None else interventions
    names = [*asked, *(baseline.name for baseline in baselines)]
    if len(set(names)) < len(names):
        raise InputError(f"Two rows of the table would have one name among {', '.join(names)}; judge them apart.")
    scorers = [run_scorer(run, name, intervention) for name, intervention in asked.items()]
    for baseline in baselines:
        try:
            scorers.append(baseline_scorer(baseline, prepared.train))
        except Unfit as skipped:
            notes.append(str(skipped))
    if prepared.reason:
        notes.append(prepared.reason)
    table = pd.DataFrame({s.name: row(s, prepared, lengths) for s in scorers}).T
    table.index.name = "model"
    table.attrs["notes"] = notes
    return table


def default_interventions(run: Run) -> dict[str, Intervention]:
    """Observe always; Deconfound and Temper(0.5) where the model holds popularity.

    The popularity model and the joint one add a quality share of one half between Deconfound (share 0) and Observe
    (share 1): the share is not identified, so its whole range is shown.
    """
    if run.posterior.popularity is None:
        return {"observe": Observe()}
    asked: dict[str, Intervention] = {"observe": Observe(), "deconfound": Deconfound()}
    if isinstance(run.spec, PopularityModel | JointModel) and isinstance(run.posterior.item_effect.predictor, Offset):
        asked["quality 0.5"] = Deconfound(quality_share=0.5)
    return asked | {"temper 0.5": Temper(0.5)}


def prepare(run: Run, test: Interactions) -> tuple[Test, list[str]]:
    """The test log in the run's codes, and what had to be left out of it."""
    user, item = test.recode(run.posterior.users, run.posterior.items)
    known = (user >= 0) & (item >= 0)
    notes = unknown_cells(user, item)
    if not known.any():
        raise InputError("No test cell names a user and an item that the run knows; check the id columns.")
    positive = positive_cells(test, user, item, run)
    kept = np.flatnonzero(known)
    explicit, reason = explicit_cells(run, test, kept, user, item)
    again = int(np.asarray(run.log.matrix(Entry.PATTERN)[user[kept], item[kept]] > 0).sum())
    if again:
        notes.append(
            f"{again:,} of {len(kept):,} test cells are in the run's own log: they are never recommended yet count "
            "in the ideal, so drop them from the test."
        )
    seen, train = positives(run.log.matrix(Entry.PATTERN)), Train(run.log, threshold(run))
    if not run.log.missing.weight:
        notes.append(
            "Missing cells are unobserved: the ranking metrics judge whom the log happened to show what, "
            "so prefer the within-user AUC."
        )
    return Test(seen, train, positive, explicit, valued_cells(run, test, kept, user, item), reason), notes


def unknown_cells(user: np.ndarray, item: np.ndarray) -> list[str]:
    """What is said of test cells whose user or item the run does not know (code -1)."""
    strangers, novelties = int((user < 0).sum()), int(((user >= 0) & (item < 0)).sum())
    notes = []
    if strangers:
        notes.append(f"{strangers:,} of {len(user):,} test cells name users unknown to the run and are left out.")
    if novelties:
        notes.append(
            f"{novelties:,} of {len(user):,} test cells name items unknown to the run: they cannot be recommended "
            "but count in the ideal."
        )
    return notes


def positive_cells(test: Interactions, user: np.ndarray, item: np.ndarray, run: Run) -> sparse.csr_array:
    """Test positives of known users; items that the run does not know have columns behind the run's own."""
    column = np.where(item < 0, len(run.posterior.items) + test.item, item)
    liked = (user >= 0) & (test.value >= threshold(run))
    shape = (len(run.posterior.users), len(run.posterior.items) + test.n_items)
    return positives(sparse.csr_array((np.ones(liked.sum()), (user[liked], column[liked])), shape=shape))


def threshold(run: Run) -> float:
    """The value from which a test cell counts as a positive."""
    return float(run.log.value.mean()) if run.posterior.response.outcome.graded else np.nextafter(0.0, 1.0)


def explicit_cells(
    run: Run, test: Interactions, kept: np.ndarray, user: np.ndarray, item: np.ndarray
) -> tuple[Interactions | None, str]:
    """The test cells in the run's codes if they hold true negatives; otherwise the reason why not."""
    selected = test.select(kept)
    if selected.kind is not Kind.CLICKS:
        return (
            None,
            f"Calibration is NaN: the test log holds {selected.kind.value}, not clicks with true negatives.",
        )
    if run.posterior.response.outcome.graded:
        return None, "Calibration is NaN: the run predicts ratings, not click probabilities."
    return in_codes_of(run, selected, user[kept], item[kept]), ""


def in_codes_of(run: Run, cells: Interactions, user: np.ndarray, item: np.ndarray) -> Interactions:
    """Values and trials of cells under the run's own ids."""
    return Interactions(
        users=run.posterior.users,
        items=run.posterior.items,
        user=user,
        item=item,
        value=cells.value,
        trials=cells.trials,
    )


def valued_cells(
    run: Run, test: Interactions, kept: np.ndarray, user: np.ndarray, item: np.ndarray
) -> Interactions | None:
    """The test cells with a value to predict: those of ratings, and of counts where the test writes zeros out."""
    selected = test.select(kept)
    outcome = run.posterior.response.outcome
    counts = outcome is Outcome.COUNT and selected.kind is Kind.COUNTS and bool((selected.value == 0).any())
    if not (counts or outcome.graded):
        return None
    return in_codes_of(run, selected, user[kept], item[kept])


def run_scorer(run: Run, name: str, intervention: Intervention) -> Scorer:
    """A run under an intervention: plug-in scores rank, posterior predictive means are probabilities.

    Counts are judged on clicks by the probability of a count above zero.
    """
    posterior = run.posterior
    clicks = replace(posterior, response=Cloglog()) if isinstance(posterior.response, Poisson) else posterior

    @torch.no_grad()
    def scores(users: np.ndarray) -> np.ndarray:
        return PlugIn().score(surface(posterior, intervention, torch.as_tensor(users))).numpy()

    @torch.no_grad()
    def expected(of: Posterior, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        cells = pair_surface(of, intervention, torch.as_tensor(users), torch.as_tensor(items))
        return Predictive().score(cells).double().numpy()

    probability = clicks.response.outcome is Outcome.CLICK
    values = None if posterior.response.coupled else partial(expected, posterior)  # weights there, and no values
    return Scorer(name, scores, partial(expected, clicks), probability, values)


def baseline_scorer(baseline: Baseline, train: Train) -> Scorer:
    """A baseline fitted to the same train log; its scores of pairs are probabilities where it yields any."""
    fitted = baseline.fit(train)
    if isinstance(fitted, ClickScorer):
        return Scorer(baseline.name, fitted.scores, fitted.probabilities, True)

    def pairs(users: np.ndarray, items: np.ndarray) -> np.ndarray:
        distinct, place = np.unique(users, return_inverse=True)
        out = np.empty(len(users))
        for start in range(0, len(distinct), 1024):
            inside = (place >= start) & (place < start + 1024)
            out[inside] = fitted.scores(distinct[start : start + 1024])[place[inside] - start, items[inside]]
        return out

    return Scorer(baseline.name, fitted.scores, pairs, False)


def row(scorer: Scorer, test: Test, at: Sequence[int]) -> pd.Series:
    """All metrics of one scorer."""
    users = evaluable_users(test.seen, test.positives)
    found, ranked = top_k(score_chunks(scorer.scores, users), test.seen, item_counts(test.seen) > 0, max(at))
    ranking = ranking_metrics(ranked, found, test.positives, at=tuple(at))
    bias = popularity_bias_metrics(ranked, found, test.train.positives, at=tuple(at))
    return pd.concat([ranking, bias, calibration(scorer, test.explicit), errors(scorer, test.valued)])


def calibration(scorer: Scorer, explicit: Interactions | None) -> pd.Series:
    """Calibration and discrimination on explicit cells; NaN where they cannot be computed."""
    found = pd.Series(np.nan, index=list(CALIBRATION_METRICS))
    if explicit is None:
        return found
    p = scorer.pairs(explicit.user, explicit.item)
    if scorer.probability:
        return pd.Series(calibration_metrics(explicit.user, p, explicit.value, explicit.trials)[0])
    found["auc"] = auc(p, explicit.value, explicit.trials)
    found["within_user_auc"] = within_user_auc(explicit.user, p, explicit.value, explicit.trials)
    return found


def errors(scorer: Scorer, valued: Interactions | None) -> pd.Series:
    """RMSE and MAE of predicted values, and the Poisson deviance of counts; NaN where they mean nothing."""
    found = pd.Series(np.nan, index=["rmse", "mae", "poisson_deviance"])
    if valued is None or scorer.values is None:
        return found
    predicted, value = scorer.values(valued.user, valued.item), valued.value / np.maximum(valued.trials, 1.0)
    found["rmse"], found["mae"] = rmse(predicted, value), mae(predicted, value)
    if valued.kind is Kind.COUNTS:
        found["poisson_deviance"] = poisson_deviance(predicted, value)
    return found
