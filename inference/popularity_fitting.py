"""Fitting the popularity model: batches of records, with absent pairs drawn anew each epoch where they are zeros."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyrorec.data import Entry, FeatureEncoders, InputError, Interactions
from pyrorec.data.batches import epoch_batches
from pyrorec.guides.popularity import PopularityGuide, starting_numbers
from pyrorec.guides.record_encoder import GroupRecords, RecordEncoder
from pyrorec.inference.item_prior import Anchored, anchored
from pyrorec.inference.objective import MAP
from pyrorec.inference.observations import check_values
from pyrorec.inference.popularity_posterior import read_popularity_posterior
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.records import Records, drawn_negatives, negatives_wanted, records_of
from pyrorec.inference.settings import Context, Training
from pyrorec.inference.train import Fitting, Phase
from pyrorec.inference.validation import Score, watch
from pyrorec.models.popularity import Popularity, PopularityModel, RecordBatch
from pyrorec.models.sharing import PerInteraction, PerItem

SMALLEST_BATCH, LARGEST_BATCH, BATCHES = 2_048, 65_536, 10
"""Records a step: a tenth of the log within these bounds, unless the training says otherwise."""


@dataclass
class PopularityFitting(Fitting):
    """One phase an epoch over all records.

    `log` is what is fitted of the `whole` log; `kept` are the numbers of the records that are fitted among `all`.
    """

    headline: ClassVar[str] = "record"

    model: Popularity
    guide: PopularityGuide
    log: Interactions
    whole: Interactions
    all: Records
    kept: Tensor
    held_out: np.ndarray | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fitted = self.all.take(self.kept)
        spec = self.model.spec
        self.own_groups = isinstance(spec.sharing, PerInteraction)
        drawn = negatives_wanted(self.whole, len(self.kept), spec.negatives) if self.log.missing.weight else 0
        self.size = len(self.kept) + drawn
        self.per_batch = self.training.batch_size or min(LARGEST_BATCH, max(SMALLEST_BATCH, self.size // BATCHES))

    @property
    def records(self) -> float:
        return float(max(len(self.kept), 1))

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.size / self.per_batch)

    @property
    def holds_out(self) -> bool:
        return self.held_out is not None

    @property
    def warming(self) -> bool:
        first_half = self.model.spec.affinity_first and self.state.epoch <= self.training.epochs // 2
        return first_half or super().warming

    def begin(self) -> None:
        self.refresh()

    def phases(self) -> Iterator[Phase]:
        yield Phase("record", self._batches(), self._holding(), self.refresh)

    def _batches(self) -> Iterator[RecordBatch]:
        records = self._with_negatives()
        kl_weight = self.training.kl_weight_at(self.state.epoch)
        for ids in epoch_batches(len(records), self.per_batch, self.context.seed * 100, self.state.epoch):
            yield records.batch(torch.as_tensor(ids, device=records.user.device), kl_weight, self.own_groups)

    def _with_negatives(self) -> Records:
        if not self.log.missing.weight:
            return self.fitted
        seed = [self.context.seed, self.state.epoch, 11]
        ratio, weight = self.model.spec.negatives, self.log.missing.weight
        return self.fitted.joined(drawn_negatives(self.whole, self.fitted, ratio, weight, seed).to(self.context.device))

    @contextmanager
    def _holding(self) -> Iterator[None]:
        """Where affinity comes first: popularity is held in the first half of training, affinity in the second."""
        still: list[Tensor] = []
        if self.model.spec.affinity_first:
            first = self.state.epoch < self.training.epochs // 2
            still = [p for p in (self._popularity() if first else self._affinity()) if p.requires_grad]
        for parameter in still:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in still:
                parameter.requires_grad_(True)

    def _popularity(self) -> list[Tensor]:
        parts = [self.guide.popularity, self.model.parts["predictor"]]
        if "popularity" in self.model.parts:
            parts.append(self.model.parts["popularity"])
        return [p for part in parts for p in part.parameters()]

    def _affinity(self) -> list[Tensor]:
        parts = [self.guide.weights, self.model.user, self.model.item, self.model.level]
        return [p for part in parts for p in part.parameters()]

    def refresh(self) -> None:
        """Recomputes the centre of the users' vectors, and what an amortised guide reads of the records."""
        self.guide.refresh(self.model)
        self.read_records(self.fitted)
        self.guide.anchor(self.model)

    @torch.no_grad()
    def read_records(self, records: Records) -> None:
        """Lets an amortised guide read these records, users and items through their mean affinities."""
        encoder = self.guide.popularity["q"] if self.model.spec.popularity is not None else None
        if not isinstance(encoder, RecordEncoder):
            return
        batch = records.batch(torch.arange(len(records), device=records.user.device), 1.0, False)
        affinity = self.model.affinity({site: law.mean for site, law in self.guide.laws().items()}, batch)
        encoder.read(GroupRecords.of(records.group, records.groups, records.value, records.trials, affinity))

    def posterior(self, users: pd.Index | None = None, items: pd.Index | None = None) -> Posterior:
        users = pd.RangeIndex(self.model.user.size) if users is None else users
        items = pd.RangeIndex(self.model.item.size) if items is None else items
        return read_popularity_posterior(self.model, self.guide, users, items)

    def identity(self) -> Iterator[bytes]:
        yield repr((self.model.spec, self.log.missing, self.training, self.context.seed)).encode()
        columns = ("user", "item", "group", "value", "trials", "weight")
        parts = [getattr(self.fitted, name) for name in columns] + [self.model.user.features, self.model.item.features]
        if self.model.item_law is not None:
            parts.append(self.model.item_prior)
        for part in parts:
            yield part.detach().cpu().numpy().tobytes()

    def watcher(self) -> Score | None:
        if self.held_out is None:
            return None
        train = self.log.select(self.kept.cpu().numpy()).matrix(Entry.PATTERN)
        held_out = self.log.select(self.held_out)
        return watch(self.model.spec.binarise, held_out, train, self.log.missing.weight, self.context.seed)

    def on_everything(self, training: Training, context: Context) -> PopularityFitting:
        every = torch.arange(len(self.all), device=self.all.user.device)
        return PopularityFitting(self.model, self.guide, training, context, self.log, self.whole, self.all, every, None)

    def settled(self, log: Interactions) -> Posterior:
        self.guide.refresh(self.model)
        self.read_records(self.all)
        self.guide.anchor(self.model)
        return self.posterior(log.users, log.items).to("cpu")


def start_popularity(
    spec: PopularityModel, log: Interactions, held_out: np.ndarray | None, training: Training, context: Context,
    encoders: FeatureEncoders,
) -> PopularityFitting:  # fmt: skip
    """Model and guide at their starting values, on their device. Raises InputError for what cannot be fitted."""
    check_request(spec, log, training)
    found = anchored(spec, log)
    held_out = None if held_out is None else held_out[held_out < len(found.log)]
    records = records_of(found.log, found.spec)
    kept = np.setdiff1d(np.arange(len(records)), [] if held_out is None else held_out)
    level = level_of(records, torch.as_tensor(kept), log)
    model, guide = empty_popularity(found, log, records, level, training, encoders)
    model.to(context.device)
    guide.to(context.device)
    on_device = records.to(context.device)
    kept_ids = torch.as_tensor(kept, device=on_device.user.device)
    return PopularityFitting(model, guide, training, context, found.log, log, on_device, kept_ids, held_out)


def check_request(spec: PopularityModel, log: Interactions, training: Training) -> None:
    """Refuses values that the family cannot have produced, and settings that do not go together."""
    check_values(log, spec)
    if training.dropout:
        raise InputError("Dropout hides cells from the encoders of rows, which the popularity model does not have.")
    if isinstance(training.objective, MAP):
        raise InputError("The popularity model has no MAP fit; use objective expected, analytic or monte-carlo.")
    if log.missing.weight and spec.inverse_propensity:
        raise InputError(
            "Absent pairs have no propensity: weight by inverse propensity only where they are unobserved "
            "(--missing unobserved), or leave the weighting out."
        )
    if log.missing.weight and not isinstance(spec.sharing, PerItem):
        raise InputError(
            "Absent pairs have no time and no record of their own: share popularity per item, or use --missing "
            "unobserved."
        )


def empty_popularity(
    found: Anchored, log: Interactions, records: Records, level: float, training: Training, encoders: FeatureEncoders
) -> tuple[Popularity, PopularityGuide]:
    """Model and guide of the right shapes for a log's records."""
    tried = records.trials > 0
    spec = replace(found.spec, family=found.spec.family.starting(records.value[tried], records.trials[tried]))
    users, items = (centred_features(encoders, log, side) for side in ("user", "item"))
    intercept = spec.predictor.starting_level(spec.family, level)
    model = Popularity(spec, users, items, records.item_of_group, found.items, intercept)
    encoder = None
    if spec.amortised and spec.popularity is not None:
        encoder = RecordEncoder(*starting_numbers(model))
    return model, PopularityGuide(model, encoder, training.objective.drawn)


def centred_features(encoders: FeatureEncoders, log: Interactions, side: str) -> Tensor:
    """Encoded features of the log's rows of a side, (rows, columns), centred; no columns where there is no table."""
    found = encoders.encoded(log, side)
    if found is None:
        return torch.zeros(len({"user": log.users, "item": log.items}[side]), 0)
    rows = torch.as_tensor(found)
    return rows - rows.mean(0)


def level_of(records: Records, kept: Tensor, log: Interactions) -> float:
    """Mean value of a trial, absent pairs included as the log takes them."""
    absent = log.missing.weight * max(log.n_users * log.n_items - len(records), 0)
    return float(records.value[kept].sum()) / max(float(records.trials[kept].sum()) + absent, 1e-12)
