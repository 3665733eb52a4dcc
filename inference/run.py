"""A run: what a fit returns, and what users ask questions of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pyrorec.data import FeatureEncoders, InputError, Interactions
from pyrorec.guides import BilateralGuide
from pyrorec.guides.joint import JointGuide
from pyrorec.guides.popularity import PopularityGuide
from pyrorec.inference.intervention import Intervention, Observe
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.scores import PlugIn, Predictive, Reading
from pyrorec.inference.settings import Training
from pyrorec.models.bilateral import Bilateral, BilateralModel
from pyrorec.models.joint import ExposureOutcome, JointModel
from pyrorec.models.popularity import Popularity, PopularityModel

if TYPE_CHECKING:
    import arviz


EXPOSURE = "exposure"
"""The view of a joint run that answers for exposure in place of outcome."""


@dataclass(frozen=True, eq=False)
class Run:
    """A fitted model with its posterior, the log it saw, and the metrics of its training.

    `feature_encoders` are those of the log that was fitted; they read the features of every row that comes later.
    Everything it answers is computed by a function of its own module; the methods are their short names.
    """

    spec: BilateralModel | PopularityModel | JointModel
    training: Training
    seed: int
    log: Interactions
    feature_encoders: FeatureEncoders
    model: Bilateral | Popularity | ExposureOutcome
    guide: BilateralGuide | PopularityGuide | JointGuide
    posterior: Posterior
    metrics: list[dict[str, Any]]
    reason: str = ""
    view: str = ""
    """What a run answers for, where that is not what was fitted; it can then be asked, but neither kept nor moved."""

    def refuse_view(self, what: str) -> None:
        """Raises InputError where the run is a view of another."""
        if self.view:
            raise InputError(f"This run answers for {self.view} alone: {what} the run it was made of.")

    @property
    def best_epoch(self) -> int | None:
        """The epoch that `fit` kept, counted from 0: the first of the best validation score after the KL warm-up (and,
        where affinity comes first, after popularity began to move).

        None where nothing was watched.
        """
        waiting = isinstance(self.spec, PopularityModel) and self.spec.affinity_first
        early = self.training.epochs // 2 if waiting else 0
        watched = [line for line in self.metrics if "validation" in line]
        watched = [line for line in watched if line["epoch"] + 1 > early and not self.training.warming(line["epoch"])]
        return int(max(watched, key=lambda line: line["validation"])["epoch"]) if watched else None

    def recommend(
        self,
        users: Iterable[Any] | None = None,
        k: int = 10,
        intervention: Intervention | None = None,
        reading: Reading | None = None,
        items: Iterable[Any] | None = None,
        exclude: pd.DataFrame | None = None,
        include_seen: bool = False,
    ) -> pd.DataFrame:
        """The k best items of each user; see `pyrorec.inference.recommend.recommend`."""
        from pyrorec.inference.recommend import recommend

        return recommend(self, users, k, intervention or Observe(), reading or PlugIn(), items, exclude, include_seen)

    def score(
        self, pairs: pd.DataFrame, intervention: Intervention | None = None, reading: Reading | None = None
    ) -> pd.DataFrame:
        """Expected outcome of given pairs; see `pyrorec.inference.recommend.score_pairs`."""
        from pyrorec.inference.recommend import score_pairs

        return score_pairs(self, pairs, intervention or Observe(), reading or Predictive())

    def vectors(self, side: str) -> pd.DataFrame:
        """Posterior means of the factors of "user"s or "item"s, indexed by id, one column a factor."""
        mean, ids = {
            "user": (self.posterior.user_mean, self.posterior.users),
            "item": (self.posterior.item_mean, self.posterior.items),
        }[side]
        return pd.DataFrame(mean.numpy(), index=ids).add_prefix("factor_")

    def to_arviz(self, draws: int = 100) -> arviz.InferenceData:
        """Posterior, predictive, log-likelihood and observed data; see `pyrorec.inference.to_arviz`."""
        from pyrorec.inference.to_arviz import to_arviz

        return to_arviz(self, draws)

    def save(self, folder: str | Path) -> Path:
        """Writes a new version of the run folder; see `pyrorec.inference.store.save`."""
        from pyrorec.inference.store import save

        return save(self, Path(folder))
