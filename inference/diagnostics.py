"""What of a fit may be believed, in plain words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyro.distributions as dist

from pyrorec.data import InputError
from pyrorec.inference.collapse import collapse_summary
from pyrorec.inference.recalibrate import as_fitted
from pyrorec.inference.run import Run
from pyrorec.inference.to_arviz import check_users, some_users
from pyrorec.models.joint import JointModel
from pyrorec.models.moments import variance_log

GOOD, DOUBTFUL, BAD = "good", "doubtful", "bad"


@dataclass(frozen=True)
class Finding:
    """One check: its verdict, the number it rests on, and a sentence."""

    verdict: str
    value: float
    finding: str


def diagnose(run: Run) -> pd.DataFrame:
    """Columns check, verdict (good, doubtful, bad), value, finding; one row per check."""
    run.refuse_view("diagnose")
    rows = [(name, check(run)) for name, check in CHECKS.items()]
    return pd.DataFrame(
        [(name, f.verdict, f.value, f.finding) for name, f in rows], columns=["check", "verdict", "value", "finding"]
    )


def convergence(run: Run) -> Finding:
    """Gain of the ELBO over the last tenth of training, against its gain over the whole.

    Finishing epochs are left out: they see the validation cells as well, so their ELBO is another log's.
    """
    elbo = np.array([line["elbo"] for line in run.metrics if not line.get("finishing")])
    if len(elbo) < 20:
        return Finding(DOUBTFUL, float("nan"), f"only {len(elbo)} epochs: too few to see whether the ELBO has settled")
    tail = max(2, len(elbo) // 10)
    gain = elbo[-tail:].mean() - elbo[-2 * tail : -tail].mean()
    share = float(gain / max(1e-12, elbo.max() - elbo[:tail].min()))
    verdict = GOOD if abs(share) < 0.01 else DOUBTFUL if abs(share) < 0.05 else BAD
    advice = "it has settled" if verdict == GOOD else "train longer (--epochs)"
    best = run.best_epoch
    kept = "" if best is None else f"; the parameters kept are those of epoch {best + 1}, best on validation"
    return Finding(verdict, share, f"the ELBO moved by {share:.2%} of its range over the last tenth: {advice}{kept}")


def collapse(run: Run) -> Finding:
    """Share of factors in use: posterior means varying by more than 1 % of the prior variance, on both sides."""
    factors = run.spec.factors
    if not factors:
        return Finding(GOOD, float("nan"), "affinity has no factors")
    means = (run.posterior.user_mean[:, :factors], run.posterior.item_mean[:, :factors])
    used = [(m.var(0).numpy() > 0.01 * v) for m, v in zip(means, run.model.factor_variances(), strict=True)]
    active = float(np.mean(used[0] & used[1]))
    verdict = GOOD if active > 0.5 else DOUBTFUL if active > 0 else BAD
    meaning = "" if active else ": the log supports no interaction between users and items beyond popularity"
    return Finding(verdict, active, f"{active:.0%} of {run.spec.factors} factors are in use{meaning}")


def information(run: Run) -> Finding:
    """What the items' factors say of their row, beside what they cost (`pyrorec.inference.collapse`)."""
    try:
        summary = collapse_summary(run).set_index("side").loc["item"]
    except InputError as error:
        return Finding(GOOD, float("nan"), f"not measured: {error}")
    said, cost = float(summary["mutual_information"]), float(summary["kl"])
    verdict = GOOD if said > 0.1 else DOUBTFUL
    meaning = "" if verdict == GOOD else ": posteriors of the rows are nearly one and the same (posterior collapse)"
    return Finding(
        verdict, said, f"items' factors carry {said:.1f} nats of their row at a divergence of {cost:.1f}{meaning}"
    )


def contraction(run: Run) -> Finding:
    """How much narrower popularity's posterior is than its prior: 1 - E Var(log z | data) / Var(log z)."""
    law, population = run.posterior.popularity, run.posterior.population
    if law is None or population is None:
        return Finding(GOOD, float("nan"), "the model holds no popularity")
    shrunk = 1 - float(log_variance(law).mean() / log_variance(population))
    verdict = GOOD if shrunk > 0.5 else DOUBTFUL
    return Finding(verdict, shrunk, f"the log removes {shrunk:.0%} of the prior variance of log-popularity")


def log_variance(law: dist.TorchDistribution):  # type: ignore[no-untyped-def]
    """Variance of popularity on the log scale; a normal law is on it already."""
    return law.variance if isinstance(law, dist.Normal) else variance_log(law)


def anchored(run: Run) -> Finding:
    """Rank correlation of popularity with the items' totals."""
    law = run.posterior.popularity
    if law is None:
        return Finding(GOOD, float("nan"), "the model holds no popularity")
    shown = isinstance(run.spec, JointModel)  # there popularity is that of being exposed
    unobserved = not run.log.missing.weight and not shown
    exposure = np.bincount(run.log.item, run.log.trials, run.log.n_items) if unobserved else 1.0
    rate = pd.Series((run.log.item_counts if shown else run.log.item_totals) / np.maximum(exposure, 1.0))
    rank = float(pd.Series(law.mean.numpy()).rank().corr(rate.rank()))
    verdict = GOOD if rank > 0.7 else DOUBTFUL
    what = "numbers of exposures" if shown else "mean values" if unobserved else "totals"
    return Finding(verdict, rank, f"popularity follows the items' {what} with rank correlation {rank:.2f}")


def predictive_totals(run: Run) -> Finding:
    """Smaller share of items inside their 90 % posterior predictive interval: of totals, of users above zero.

    Over a sample of users. A total follows its item's popularity whatever the family; how many users make it up
    does not.
    """
    weight = run.log.missing.weight
    if weight not in (0.0, 1.0):
        reason = f"missing cells are zeros of weight {weight:g}, which no process generates, so this cannot be judged"
        return Finding(DOUBTFUL, float("nan"), reason)
    run = as_fitted(run)  # the run's own log knows nothing of a level set by a random sample
    checked = some_users(run, 0)
    predictive, _, observed = check_users(run, run.posterior.draws(60, 0), checked, 0)
    shares = {what: inside(predictive[name], observed[name]) for what, name in CHECKED.items()}
    what = min(shares, key=lambda name: shares[name])
    verdict = GOOD if shares[what] > 0.85 else DOUBTFUL if shares[what] > 0.7 else BAD
    meaning = "" if verdict == GOOD else ": the family does not describe the spread of this log (try --binarise)"
    return Finding(
        verdict, shares[what], f"{shares[what]:.0%} of {what} lie in their 90 % predictive interval{meaning}"
    )


CHECKED = {"item totals": "item_total", "items' numbers of users": "item_users"}


def inside(replicated: np.ndarray, observed: np.ndarray) -> float:
    """Share of observed numbers within the central 90 % of their replicates (draws, items)."""
    lower, upper = np.quantile(replicated, [0.05, 0.95], axis=0)
    return float(((observed >= lower) & (observed <= upper)).mean())


def causal_limit(run: Run) -> Finding:
    """What no log of this kind can show."""
    if run.posterior.recalibration:
        return Finding(
            GOOD, run.posterior.recalibration,
            f"a random sample or propensities moved the level by {run.posterior.recalibration:+.2f} on the linear "
            "predictor; popularity still means popularity and whatever quality goes with it",
        )  # fmt: skip
    random = run.log.exposure is not None and bool((run.log.exposure == "random").any())
    if random:
        return Finding(GOOD, 1.0, "part of the log is randomly exposed, so debiased scores can be checked on it")
    return Finding(
        DOUBTFUL, 0.0,
        "no randomly exposed part: popularity here means popularity and whatever quality goes with it, and the "
        "level of debiased probabilities is not identified",
    )  # fmt: skip


CHECKS: dict[str, Callable[[Run], Finding]] = {
    "convergence": convergence,
    "collapse": collapse,
    "information": information,
    "popularity contraction": contraction,
    "popularity against counts": anchored,
    "predictive item totals": predictive_totals,
    "debiasing": causal_limit,
}
