"""What a fitted model expects of shown items, for doubly robust estimates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from pyrorec.data import InputError, Interactions, Kind
from pyrorec.data.matching import written_as
from pyrorec.inference.fit import fit
from pyrorec.inference.intervention import Observe
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.recommend import extended
from pyrorec.inference.run import EXPOSURE, Run
from pyrorec.inference.scores import Predictive, surface
from pyrorec.inference.settings import Context, Training
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.families import Cloglog, Poisson
from pyrorec.models.joint import JointModel
from pyrorec.models.popularity import PopularityModel

Spec = BilateralModel | PopularityModel | JointModel
Rewards = Callable[[pd.Index, pd.Index], np.ndarray]
"""Expected rewards (users, items) of ids."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some records of a log, by number, and a reward model that was fitted without them."""

    records: np.ndarray
    rewards: Rewards


@dataclass(frozen=True)
class CrossFit:
    """A reward model fitted to the log that judges: each of `folds` parts is predicted by a fit to the others.

    Records are dealt at random by `seed`. Every record is used so, and none predicts itself (Chernozhukov et al.,
    2018).
    """

    spec: Spec
    folds: int = 5
    training: Training | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise InputError(f"Cross-fitting needs at least 2 folds, not {self.folds}.")

    def parts(self, log: Interactions) -> list[Part]:
        """One part for each fold. Raises InputError where a fold is empty or the rest cannot be fitted."""
        if self.folds > len(log):
            raise InputError(f"{self.folds} folds cannot be made of {len(log)} records; ask for fewer.")
        fold = np.random.default_rng([self.seed, 11]).permutation(len(log)) % self.folds
        return [Part(np.flatnonzero(fold == k), self._fitted(log.select(fold != k), log)) for k in range(self.folds)]

    def _fitted(self, rest: Interactions, log: Interactions) -> Rewards:
        context = Context(seed=self.seed, progress=False)
        return rewards_of(fit(self.spec, rest, training=self.training, context=context), log)


def parts_of(model: Run | CrossFit, log: Interactions) -> list[Part]:
    """The log in parts, each with a reward model fitted without it; a run must have been fitted to another log."""
    if isinstance(model, CrossFit):
        return model.parts(log)
    return [Part(np.arange(len(log)), rewards_of(model, log))]


def unmodelled(log: Interactions) -> Part:
    """The whole log, of whose rewards nothing is expected."""
    return Part(np.arange(len(log)), lambda users, items: np.zeros((len(users), len(items))))


def rewards_of(run: Run, log: Interactions) -> Rewards:
    """Posterior predictive means of a run under Observe; of counts, where the log holds clicks, P(count > 0).

    Raises InputError for a run that predicts no rewards: a view of exposure, or a family that couples a user's cells.
    """
    if run.view == EXPOSURE:
        run.refuse_view("take as reward model")
    if run.posterior.response.coupled:
        raise InputError(
            f"Family {run.posterior.response.name} predicts shares of a user's row and no rewards: give another run as "
            "the reward model."
        )
    clicks = isinstance(run.posterior.response, Poisson) and log.kind is Kind.CLICKS

    def response(posterior: Posterior) -> Posterior:
        return replace(posterior, response=Cloglog()) if clicks else posterior

    @torch.no_grad()
    def rewards(users: pd.Index, items: pd.Index) -> np.ndarray:
        users, items = written_as(run.posterior.users, users), written_as(run.posterior.items, items)
        posterior = response(extended(run, users.unique(), items.unique()))
        codes = torch.as_tensor(posterior.users.get_indexer(users)), torch.as_tensor(posterior.items.get_indexer(items))
        return Predictive().score(surface(posterior, Observe(), *codes)).double().numpy()

    return rewards
