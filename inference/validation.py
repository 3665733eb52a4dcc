"""The score that early stopping watches, on a validation part of train."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse

from pyrorec.data import Entry, Interactions
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
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.families import Gaussian, Outcome, Poisson

MOST_USERS = 2_000
Score = Callable[[Posterior], float]


def watch(spec: BilateralModel, validation: Interactions, fitting: Rows, missing_weight: float, seed: int) -> Score:
    """The validation score of a posterior, higher is better.

    Where missing cells are zeros: NDCG@10 of the held-out positives under Observe (on at most 2,000 users).
    Where they are unobserved: mean predictive log-likelihood of the held-out cells.
    """
    if missing_weight:
        return _ranking(validation, fitting, seed)
    return _likelihood(spec, validation)


def _ranking(validation: Interactions, fitting: Rows, seed: int) -> Score:
    train = seen_matrix(fitting)
    held_out = positives(validation.matrix(Entry.VALUE))
    users = evaluable_users(train, held_out)
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


def _likelihood(spec: BilateralModel, validation: Interactions) -> Score:
    log = validation.binarised() if spec.binarise else validation
    users, items = torch.as_tensor(log.user), torch.as_tensor(log.item)
    value = torch.as_tensor(log.value).double()
    trials = torch.as_tensor(log.trials).double()

    def score(posterior: Posterior) -> float:
        with torch.no_grad():
            mean = Predictive().score(pair_surface(posterior, Observe(), users, items)).double().cpu()
        return float(log_likelihood(posterior, mean, value, trials).mean())

    return score


def log_likelihood(posterior: Posterior, mean: torch.Tensor, value: torch.Tensor, trials: torch.Tensor) -> torch.Tensor:
    """Log-likelihood of each cell at its predicted mean: Bernoulli, Poisson or Gaussian by the outcome."""
    family = posterior.response
    if family.outcome is Outcome.CLICK:
        p = mean.clamp(1e-9, 1 - 1e-9)
        return value * p.log() + (trials - value) * torch.log1p(-p)
    if isinstance(family, Gaussian):
        return family.log_prob(value, trials, mean)
    return Poisson().log_prob(value, trials, mean.clamp_min(1e-30).log())
