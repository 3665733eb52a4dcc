"""Fitting the bilateral model: phases on the two sides, on masked rows first and on all of them at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor

from pyrorec.data import FeatureEncoders, Interactions
from pyrorec.data.batches import epoch_batches
from pyrorec.guides import BilateralGuide
from pyrorec.inference.factor_features import factor_features
from pyrorec.inference.item_prior import Anchored
from pyrorec.inference.level import match_level
from pyrorec.inference.observations import Observations, level, observed
from pyrorec.inference.posterior import Posterior, read_posterior
from pyrorec.inference.settings import Context, Training
from pyrorec.inference.train import Fitting, Phase
from pyrorec.inference.validation import Score, seen_matrix, watch
from pyrorec.models.bilateral import Batch, Bilateral, BilateralModel
from pyrorec.models.rows import SparseRows

SETTLING_ROUNDS = 30
SETTLED = 1e-3


@dataclass
class BilateralFitting(Fitting):
    """Phases alternate between the sides as the schedule says; `rows` are what is fitted of `data`."""

    headline: ClassVar[str] = "user"

    model: Bilateral
    guide: BilateralGuide
    rows: dict[str, SparseRows]
    data: Observations

    def __post_init__(self) -> None:
        super().__post_init__()
        self.batches = {
            side: math.ceil(len(rows) / self.training.rows_per_batch(len(rows))) for side, rows in self.rows.items()
        }
        self._records = float((self.rows["user"].trials > 0).sum().clamp_min(1))

    @property
    def records(self) -> float:
        return self._records

    @property
    def steps_per_epoch(self) -> int:
        return sum(self.batches[side] for side in self.training.schedule.phases())

    def begin(self) -> None:
        for side in ("user", "item"):
            self.guide.refresh(self.model, side, self.rows[side])

    def phases(self) -> Iterator[Phase]:
        kl_weight = self.training.kl_weight_at(self.state.epoch)
        for number, side in enumerate(self.training.schedule.phases()):
            seed = self.context.seed * 100 + number
            holding: AbstractContextManager[None] = nullcontext() if self.live else self.model.only(side)
            yield Phase(side, self._batches(side, seed, kl_weight), holding, partial(self._after, side))

    @property
    def live(self) -> bool:
        """Whether both sides are trained at every step."""
        return self.training.schedule.live

    def _batches(self, side: str, seed: int, kl_weight: float) -> Iterator[Batch]:
        rows = self.rows[side]
        size = self.training.rows_per_batch(len(rows))
        for ids in epoch_batches(len(rows), size, seed, self.state.epoch):
            picked = torch.as_tensor(ids, device=rows.start.device)
            yield Batch(side, picked, rows.take(picked), kl_weight, self.rows[other(side)] if self.live else None)

    def _after(self, side: str) -> None:
        for trained in (other(side), side) if self.live else (side,):
            self.guide.refresh(self.model, trained, self.rows[trained])
            self.guide.anchor(self.model, trained)

    def posterior(self, users: pd.Index | None = None, items: pd.Index | None = None) -> Posterior:
        users = pd.RangeIndex(self.model.user.size) if users is None else users
        items = pd.RangeIndex(self.model.item.size) if items is None else items
        return read_posterior(self.model, self.guide, users, items)

    def identity(self) -> Iterator[bytes]:
        model = self.model
        yield repr((model.spec, model.missing_weight, self.training, self.context.seed)).encode()
        known = [*model.user.prior.buffers(), *model.item.prior.buffers()]
        if model.item.own_law is not None:
            known.append(model.item.own)
        yield from (part.detach().cpu().numpy().tobytes() for part in known)
        for rows in self.rows.values():
            for part in (rows.start, rows.column, rows.value, rows.trials):
                yield part.detach().cpu().numpy().tobytes()

    @property
    def holds_out(self) -> bool:
        return self.data.validation is not None

    def watcher(self) -> Score | None:
        if self.data.validation is None:
            return None
        train = seen_matrix(self.data.fitting)
        return watch(
            self.model.spec.binarise, self.data.validation, train, self.model.missing_weight, self.context.seed,
            self.model.spec.family.coupled,
        )  # fmt: skip

    def on_everything(self, training: Training, context: Context) -> BilateralFitting:
        rows = {side: rows.to(context.device) for side, rows in self.data.all.items()}
        return BilateralFitting(self.model, self.guide, training, context, rows, self.data)

    def settled(self, log: Interactions) -> Posterior:
        settle(self)
        posterior = self.posterior(log.users, log.items).to("cpu")
        spec = self.model.spec
        if spec.response == spec.family:
            return posterior
        return match_level(posterior, self.data.all["user"], log.missing.weight, self.context.seed)


def other(side: str) -> str:
    """The name of the side across."""
    return "item" if side == "user" else "user"


def start(
    found: Anchored[BilateralModel], data: Observations, training: Training, context: Context,
    encoders: FeatureEncoders,
) -> BilateralFitting:  # fmt: skip
    """Model and guide at their starting values, on their device; `data` is what is observed of the log to be fitted."""
    log, weight, rows = found.log, found.log.missing.weight, data.fitting["user"]
    spec = replace(found.spec, family=found.spec.family.starting(*observed(rows)))
    intercept = spec.predictor.starting_level(spec.family, level(rows, weight))
    features = factor_features(spec, log, encoders)
    generative = Bilateral(spec, log.n_users, log.n_items, weight, intercept, features, found.items)
    guide = training.objective.guide(generative, data.fitting, training.dropout)
    generative.to(context.device)
    guide.to(context.device)
    on_device = {side: rows.to(context.device) for side, rows in data.fitting.items()}
    return BilateralFitting(generative, guide, training, context, on_device, data)


def settle(fitting: BilateralFitting) -> None:
    """The posterior given every cell, validation included: encoders are only read, then effects settle."""
    rows = {side: rows.to(fitting.context.device) for side, rows in fitting.data.all.items()}
    guide, model = fitting.guide, fitting.model
    for side in ("user", "item"):
        guide.refresh(model, side, rows[side])
        guide.anchor(model, side)
    for _ in range(SETTLING_ROUNDS):
        before = effect_means(guide)
        for side in ("user", "item"):
            guide.refresh_effects(model, side, rows[side])
            guide.anchor(model, side)
        if torch.allclose(effect_means(guide), before, rtol=SETTLED):
            return


def effect_means(guide: BilateralGuide) -> Tensor:
    """Posterior means of every effect, both sides in one vector."""
    laws = [kept.effect for kept in guide.posterior.values()]
    return torch.cat([law.mean for law in laws if law is not None] or [torch.zeros(0)])  # type: ignore[misc]
