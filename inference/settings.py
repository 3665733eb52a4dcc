"""Hyper-parameters of training and the context of a run: two frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import singledispatch
from pathlib import Path
from typing import Any

from pyrorec.inference.annealing import Annealing, WarmUp
from pyrorec.inference.objective import Analytic, Expected, Objective
from pyrorec.inference.schedule import ItemsThenUsers, Schedule
from pyrorec.models.joint import JointModel
from pyrorec.models.popularity import PopularityModel


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    `objective` is the ELBO (`Analytic()`, `MonteCarlo()`) or `MAP()`; `schedule` says which side is trained when.
    `batch_size` rows a step; None takes a twentieth of the side, between 128 and 512. `learning_rate` is Adam's,
    annealed by a cosine to a hundredth over `epochs` unless `anneal` is off. The KL weight rises linearly from 0 to
    `kl_weight` over `kl_warmup` epochs, once or, with `annealing=Cyclical()`, again and again. `clip_norm` bounds the
    gradient of the loss per record. `dropout` leaves out that share of a row's cells at the encoder.
    `validation_fraction` of the train cells is masked and watched every `validate_every` epochs; training keeps the
    best epoch and stops after `patience` looks without a better one. `finish_epochs` more, at a third of the rate, then
    take the held-out cells in. A fraction of zero trains on everything from the first epoch to the last.
    `checkpoint_every` epochs a checkpoint is written where the context has a folder.
    """

    objective: Objective = field(default_factory=Analytic)
    schedule: Schedule = field(default_factory=ItemsThenUsers)
    epochs: int = 100
    batch_size: int | None = None
    learning_rate: float = 1e-2
    anneal: bool = True
    kl_weight: float = 1.0
    kl_warmup: int = 5
    annealing: Annealing = field(default_factory=WarmUp)
    clip_norm: float = 1.0
    dropout: float = 0.0
    validation_fraction: float = 0.05
    validate_every: int = 5
    patience: int = 6
    finish_epochs: int = 10
    checkpoint_every: int = 10

    def __post_init__(self) -> None:
        for name in ("epochs", "validate_every", "patience", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")
        for name in ("learning_rate", "clip_norm", "kl_weight"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above zero, not {getattr(self, name)}")
        for name in ("dropout", "validation_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), not {getattr(self, name)}")
        for name in ("kl_warmup", "finish_epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")

    def rows_per_batch(self, rows: int) -> int:
        """Batch size on a side of so many rows."""
        return self.batch_size or min(512, max(128, rows // 20))

    def kl_weight_at(self, epoch: int) -> float:
        """KL weight in an epoch, counted from zero."""
        return self.kl_weight * self.annealing.share(epoch, self.kl_warmup)

    def warming(self, epoch: int) -> bool:
        """Whether an epoch, counted from zero, has less than the full KL weight."""
        return self.annealing.share(epoch, self.kl_warmup) < 1


@dataclass(frozen=True)
class Context:
    """Where and how a fit runs: nothing here changes what is fitted, except the seed.

    `threads` for torch; None is one thread up to twenty million cells (users x
    items) and torch's own choice beyond. `folder`
    receives checkpoints and metrics while training runs; `resume` goes on from its last checkpoint.
    """

    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    folder: Path | None = None
    resume: bool = False
    progress: bool = True


POPULARITY_TRAINING = Training(
    objective=Expected(), epochs=200, learning_rate=3e-2, validation_fraction=0.0, validate_every=10
)
"""Defaults for the popularity model: few, large steps to the optimum. Its prior scales are learned in the bound, so
there is no early stopping to tune on held-out cells, and nothing about z is sampled."""
FEWEST_EPOCHS = 30
RECORDS_SEEN = 20_000_000
"""Records that a fit of the popularity model passes over in all, beyond `FEWEST_EPOCHS` epochs."""


@singledispatch
def default_training(spec: Any, records: int) -> Training:
    """How a kind of model is trained on so many records where nobody says."""
    return Training()


@default_training.register
def _(spec: PopularityModel, records: int) -> Training:
    return replace(POPULARITY_TRAINING, epochs=min(200, max(FEWEST_EPOCHS, RECORDS_SEEN // max(records, 1))))


@default_training.register
def _(spec: JointModel, records: int) -> Training:
    """One step an epoch on a small log, hence more of them."""
    return replace(POPULARITY_TRAINING, epochs=400)
