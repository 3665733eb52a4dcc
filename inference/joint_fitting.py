"""Fitting the joint model: batches of users' rows, exposure and outcome at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyrorec.data import FeatureEncoders, InputError, Interactions
from pyrorec.data.batches import epoch_batches
from pyrorec.guides.joint import JointGuide
from pyrorec.inference.exposure import selection_score
from pyrorec.inference.joint_posterior import read_exposure_posterior, read_joint_posterior
from pyrorec.inference.observations import Observations, level, observe, observed
from pyrorec.inference.popularity_fitting import centred_features
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.settings import Context, Training
from pyrorec.inference.train import Fitting, Phase
from pyrorec.inference.validation import Score
from pyrorec.models.bilateral import Batch
from pyrorec.models.joint import ExposureOutcome, JointModel
from pyrorec.models.rows import SparseRows

CELLS = 4_000_000
"""Dense cells a step, where the training gives no batch size."""


@dataclass
class JointFitting(Fitting):
    """One phase an epoch over all users' rows; `rows` are what is fitted of `data`."""

    headline: ClassVar[str] = "user"

    model: ExposureOutcome
    guide: JointGuide
    rows: SparseRows
    data: Observations

    def __post_init__(self) -> None:
        super().__post_init__()
        self.per_batch = self.training.batch_size or max(1, CELLS // max(1, self.rows.columns))

    @property
    def records(self) -> float:
        return float((self.rows.trials > 0).sum().clamp_min(1))

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.rows) / self.per_batch)

    @property
    def holds_out(self) -> bool:
        return self.data.validation is not None

    def begin(self) -> None:
        self.guide.refresh(self.model)

    def phases(self) -> Iterator[Phase]:
        yield Phase("user", self._batches(), nullcontext(), lambda: self.guide.refresh(self.model))

    def _batches(self) -> Iterator[Batch]:
        kl_weight = self.training.kl_weight_at(self.state.epoch)
        for ids in epoch_batches(len(self.rows), self.per_batch, self.context.seed * 100, self.state.epoch):
            picked = torch.as_tensor(ids, device=self.rows.start.device)
            yield Batch("user", picked, self.rows.take(picked), kl_weight)

    def posterior(self, users: pd.Index | None = None, items: pd.Index | None = None) -> Posterior:
        users = pd.RangeIndex(self.model.user.size) if users is None else users
        items = pd.RangeIndex(self.model.item.size) if items is None else items
        return read_joint_posterior(self.model, self.guide, users, items)

    def identity(self) -> Iterator[bytes]:
        yield repr((self.model.spec, self.training, self.context.seed)).encode()
        rows, model = self.rows, self.model
        for part in (rows.start, rows.column, rows.value, rows.trials, model.user.features, model.item.features):
            yield part.detach().cpu().numpy().tobytes()

    def watcher(self) -> Score | None:
        if self.data.validation is None:
            return None
        validation = self.data.validation.binarised() if self.model.spec.binarise else self.data.validation
        return selection_score(validation, self._exposure)

    def _exposure(self) -> Posterior:
        users, items = pd.RangeIndex(self.model.user.size), pd.RangeIndex(self.model.item.size)
        return read_exposure_posterior(self.model, self.guide, users, items)

    def on_everything(self, training: Training, context: Context) -> JointFitting:
        return JointFitting(
            self.model, self.guide, training, context, self.data.all["user"].to(context.device), self.data
        )

    def settled(self, log: Interactions) -> Posterior:
        self.guide.refresh(self.model)
        return self.posterior(log.users, log.items).to("cpu")


def start_joint(
    spec: JointModel, log: Interactions, held_out: np.ndarray | None, training: Training, context: Context,
    encoders: FeatureEncoders,
) -> JointFitting:  # fmt: skip
    """Model and guide at their starting values, on their device. Raises InputError for what cannot be fitted."""
    check_request(log, training)
    data = observe(log, spec, held_out)
    model, guide = empty_joint(spec, log, data.fitting, training, encoders)
    model.to(context.device)
    guide.to(context.device)
    return JointFitting(model, guide, training, context, data.fitting["user"].to(context.device), data)


def check_request(log: Interactions, training: Training) -> None:
    """Refuses logs and settings that do not go with the joint model."""
    if log.missing.weight:
        raise InputError(
            "The joint model takes absent cells as not exposed, which says nothing of their outcome: use --missing "
            "unobserved, and keep the exposures without a click in the log."
        )
    if log.exposure is not None and bool((log.exposure == "random").any()):
        raise InputError(
            "Pairs that were shown at random say nothing of who chooses what: fit the rest (split_by_exposure, or "
            "--holdout), and set the level by the random ones afterwards (recalibrate)."
        )
    if training.dropout:
        raise InputError("Dropout hides cells from the encoders of rows, which the joint model does not have.")


def empty_joint(
    spec: JointModel, log: Interactions, rows: dict[str, SparseRows], training: Training, encoders: FeatureEncoders
) -> tuple[ExposureOutcome, JointGuide]:
    """Model and guide of the right shapes for a log."""
    spec = replace(spec, family=spec.family.starting(*observed(rows["user"])))
    outcome = spec.predictor.starting_level(spec.family, level(rows["user"], 0.0))
    counts = rows["item"].records
    exposure = spec.exposure_family.link(float(counts.sum()) / (log.n_users * log.n_items))
    users, items = (centred_features(encoders, log, side) for side in ("user", "item"))
    model = ExposureOutcome(spec, users, items, outcome, exposure)
    return model, JointGuide(model, standardised_log(counts), training.objective.drawn)


def standardised_log(counts: Tensor) -> Tensor:
    """log(counts + 1/2), of mean 0 and sd 1 over items."""
    logs = (counts + 0.5).log()
    return (logs - logs.mean()) / logs.std(correction=0).clamp_min(1e-3)
