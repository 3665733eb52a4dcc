"""The score that early stopping watches, on a validation part of train."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from pyrorec.data import Entry, InputError, Interactions
from pyrorec.evaluation import (
    evaluable_users,
    item_counts,
    per_user_ranking_metrics,
    positives,
    score_chunks,
    top_k,
)
from pyrorec.inference.intervention import Observe
from pyrorec.inference.observations import Rows
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.scores import PlugIn, Predictive, pair_surface, surface
from pyrorec.models.families import Family, Outcome

logger = logging.getLogger("pyrorec")
MOST_USERS = 2_000
Score = Callable[[Posterior], float]


def watch(
    binarise: bool,
    validation: Interactions,
    train: sparse.csr_array,
    missing_weight: float,
    seed: int,
    coupled: bool = False,
) -> Score | None:
    """The validation score of a posterior, higher is better; `train` is the pattern of the cells that are fitted.

    Where missing cells are zeros, or the family is `coupled`: NDCG@10 of the held-out positives under Observe (on at
    most 2,000 users).
    Where they are unobserved: mean log predictive density of the held-out cells (`log_likelihood`). None where no user
    can be judged.
    """
    if missing_weight or coupled:
        return _ranking(validation, train, seed)
    return _likelihood(validation.binarised() if binarise else validation)


def _ranking(validation: Interactions, train: sparse.csr_array, seed: int) -> Score | None:
    held_out = positives(validation.matrix(Entry.VALUE))
    users = evaluable_users(train, held_out)
    if not len(users):
        logger.info("No user has cells in both parts of train, so nothing is watched: training runs to its last epoch.")
        return None
    if len(users) > MOST_USERS:
        users = np.sort(np.random.default_rng([seed, 1]).choice(users, MOST_USERS, replace=False))
    allowed = item_counts(train) > 0

    def score(posterior: Posterior) -> float:
        chunks = score_chunks(plug_in_scores(posterior), users)
        found, ranked = top_k(chunks, train, allowed, 10)
        return float(per_user_ranking_metrics(ranked, found, held_out, at=(10,))["ndcg@10"].mean())

    return score


def plug_in_scores(posterior: Posterior) -> Callable[[np.ndarray], np.ndarray]:
    """Plug-in scores under Observe as a function of user codes."""

    def scores(users: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return PlugIn().score(surface(posterior, Observe(), torch.as_tensor(users))).cpu().numpy()

    return scores


def seen_matrix(rows: Rows) -> sparse.csr_array:
    """Unmasked cells of the user rows, users x items, as a pattern."""
    user = rows["user"].to("cpu")
    seen = user.trials > 0
    cells = (user.row[seen].numpy(), user.column[seen].numpy())
    return sparse.csr_array((np.ones(int(seen.sum()), np.float32), cells), shape=tuple(user.shape))


def _likelihood(log: Interactions) -> Score:
    return lambda posterior: float(log_likelihood(posterior, log).mean())


def refuse_coupled(family: Family) -> None:
    """Raises InputError for a family that couples the cells of a user, and so has no density of single ones."""
    if family.coupled:
        raise InputError(
            f"Family {family.name} couples the cells of a user and has no density of single ones: judge whole rows "
            "(compare, or tune --metric log-likelihood) or rankings (evaluate, or tune --metric ndcg@10)."
        )


@torch.no_grad()
def log_likelihood(posterior: Posterior, log: Interactions) -> Tensor:
    """Log predictive density of each cell of a log in the run's codes under Observe, (cells,), float64.

    Clicks at their predictive probability, which for one trial is the density itself, constants of repeated trials
    left out. Other families over a linear predictor taken as normal, with its mean and variance and those of what
    popularity adds (`Family.predictive_log_prob`). Raises InputError for a family that couples the cells of a user.
    """
    users, items = torch.as_tensor(log.user), torch.as_tensor(log.item)
    value, trials = torch.as_tensor(log.value).double(), torch.as_tensor(log.trials).double()
    family = posterior.response
    refuse_coupled(family)
    cells = pair_surface(posterior, Observe(), users, items)
    if family.outcome is Outcome.CLICK:
        p = Predictive().score(cells).double().cpu().clamp(1e-9, 1 - 1e-9)
        return value * p.log() + (trials - value) * torch.log1p(-p)
    mean, variance = (moment.double().cpu() for moment in cells.linear_moments())
    return family.for_items(items).predictive_log_prob(value, trials, mean, variance)
