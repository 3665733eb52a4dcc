"""The one training loop."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyro
import torch
from torch import Tensor
from tqdm.auto import tqdm

from pyrorec.data import Interactions
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.settings import Context, Training

FINAL_RATE = 0.01
"""Where the cosine ends, as a share of the learning rate."""


class NonFiniteLoss(ArithmeticError):
    """The loss stopped being a number; nothing was stepped, so the last checkpoint is sound."""


@dataclass
class State:
    """Everything a later epoch depends on; all of it is checkpointed.

    `best` and `best_epoch` belong to the validation score, higher is better; `stale` counts the looks since.
    """

    epoch: int = 0
    step: int = 0
    best: float = -math.inf
    best_epoch: int = -1
    stale: int = 0


@dataclass(frozen=True)
class Phase:
    """One pass within an epoch: its name in the metrics, its batches, what is held still, and what follows it."""

    name: str
    batches: Iterable[Any]
    holding: AbstractContextManager[None]
    after: Callable[[], None]


@dataclass
class Fitting(ABC):
    """Model, guide and optimiser of a fit under way; each kind of model says what its epochs are made of."""

    headline: ClassVar[str]
    """The phase whose ELBO is shown as the ELBO of the epoch."""

    model: Any
    guide: Any
    training: Training
    context: Context

    def __post_init__(self) -> None:
        self.state = State()
        parameters = [*self.model.parameters(), *self.guide.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=self.training.learning_rate, fused=True)
        self.objective = self.training.objective.loss()

    @property
    @abstractmethod
    def records(self) -> float:
        """Number of observed records, by which the loss is divided."""

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Number of optimiser steps in an epoch."""

    @property
    def warming(self) -> bool:
        """Whether the epoch just done is too early to be kept as the best: its KL weight was still rising."""
        return self.training.warming(self.state.epoch - 1)

    @abstractmethod
    def begin(self) -> None:
        """What has to be done before the first epoch."""

    @abstractmethod
    def phases(self) -> Iterator[Phase]:
        """The phases of the epoch that `state` stands at."""

    @abstractmethod
    def posterior(self, users: pd.Index | None = None, items: pd.Index | None = None) -> Posterior:
        """The posterior as it stands; rows are numbered where no ids are given."""

    @property
    @abstractmethod
    def holds_out(self) -> bool:
        """Whether some cells are kept from training to watch it."""

    @abstractmethod
    def watcher(self) -> Callable[[Posterior], float] | None:
        """The validation score, higher is better; None where nothing is held out."""

    @abstractmethod
    def on_everything(self, training: Training, context: Context) -> Fitting:
        """The same model and guide, to be trained on every cell, those of validation included."""

    @abstractmethod
    def settled(self, log: Interactions) -> Posterior:
        """The posterior given every cell, under the log's ids and on the CPU."""

    @abstractmethod
    def identity(self) -> Iterator[bytes]:
        """Everything that a resumed fit must share with the one that was stopped: model, settings, seed, data."""

    def learning_rate(self) -> float:
        """Adam's rate at the present step: a cosine from the rate given to a hundredth of it."""
        rate = self.training.learning_rate
        if not self.training.anneal:
            return rate
        done = min(1.0, self.state.step / (self.training.epochs * self.steps_per_epoch))
        return rate * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done)))


def train(
    fitting: Fitting,
    after_epoch: Callable[[Fitting, dict[str, Any]], bool],
) -> None:
    """Runs epochs until the last or until `after_epoch(fitting, metrics)` returns True.

    Noise and batch order are keyed by (seed, step) and (seed, epoch), so an epoch does the same whether or
    not the process was stopped before it. Raises NonFiniteLoss before a step that would spoil the parameters.
    """
    training, state = fitting.training, fitting.state
    with (
        local_randomness(fitting.context),
        tqdm(
            total=training.epochs,
            initial=state.epoch,
            unit="epoch",
            disable=not fitting.context.progress,
            leave=False,
        ) as bar,
    ):
        if state.epoch == 0:
            fitting.begin()
        while state.epoch < training.epochs and state.stale < training.patience:
            metrics = run_epoch(fitting)
            state.epoch += 1
            bar.update()
            bar.set_postfix(elbo=f"{metrics['elbo']:.4f}")
            if after_epoch(fitting, metrics):
                break


def run_epoch(fitting: Fitting) -> dict[str, Any]:
    """All phases of one epoch; mean terms of the objective per observed record, by side."""
    metrics: dict[str, Any] = {"epoch": fitting.state.epoch, "learning_rate": fitting.learning_rate()}
    kl_weight = fitting.training.kl_weight_at(fitting.state.epoch)
    for phase in fitting.phases():
        with phase.holding:
            terms = [step(fitting, batch) for batch in phase.batches]
        phase.after()
        metrics.update(summarise(terms, fitting.objective.observed, phase.name, kl_weight, fitting.records))
    metrics["kl_weight"] = kl_weight
    metrics["elbo"] = metrics[f"{fitting.headline}/elbo"]
    return metrics


def step(fitting: Fitting, batch: Any) -> dict[str, Tensor]:
    """One optimiser step; returns the terms of the objective it saw."""
    for group in fitting.optimiser.param_groups:
        group["lr"] = fitting.learning_rate()
    seed_noise(step_seed(fitting.context.seed, fitting.state.step), fitting.context.device)
    loss = fitting.objective.differentiable_loss(fitting.model, lambda b: fitting.guide(b, fitting.model), batch)
    loss = loss / fitting.records
    check_finite("loss", loss, fitting, batch)
    fitting.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(
        [p for p in fitting.optimiser.param_groups[0]["params"] if p.grad is not None],
        fitting.training.clip_norm,
    )
    check_finite("gradient", norm, fitting, batch)
    fitting.optimiser.step()
    fitting.state.step += 1
    return fitting.objective.terms


def check_finite(what: str, value: Tensor, fitting: Fitting, batch: Any) -> None:
    """Raises NonFiniteLoss, before the optimiser steps, for a loss or a gradient norm that is no number."""
    if not bool(torch.isfinite(value)):
        raise NonFiniteLoss(
            f"the {what} became {float(value.detach())} at epoch {fitting.state.epoch} ({batch.side} side); lower the "
            "learning rate, raise kl_warmup, or binarise counts with a very long tail"
        )


def summarise(
    terms: list[dict[str, Tensor]], observed: frozenset[str], side: str, kl_weight: float, records: float
) -> dict[str, float]:
    """Means over a phase: log-likelihood (of each observed site, where there are several), each KL (unweighted) and
    the ELBO, per observed record."""
    mean = {name: float(torch.stack([t[name] for t in terms]).mean()) / records for name in terms[0]}
    likely = {name: mean.pop(name) for name in sorted(observed)}
    kls = {name: kl / kl_weight for name, kl in mean.items()}
    reconstruction = sum(likely.values())
    out = {f"{side}/reconstruction": reconstruction, f"{side}/elbo": reconstruction - sum(kls.values())}
    if len(likely) > 1:
        out |= {f"{side}/{name}": value for name, value in likely.items()}
    return out | {f"{side}/kl_{name}": kl for name, kl in kls.items()}


def step_seed(seed: int, step_number: int) -> int:
    """A seed for one step's noise, well mixed and the same on every run."""
    return int(np.random.SeedSequence([seed, step_number]).generate_state(1, np.uint64)[0] >> 1)


def seed_noise(seed: int, device: str) -> None:
    """Seeds the generator that a step draws from; torch.manual_seed would visit every device type at 3 ms a call."""
    if device.startswith("cuda"):
        torch.cuda.manual_seed(seed)
    else:
        torch.random.default_generator.manual_seed(seed)


@contextmanager
def local_randomness(context: Context) -> Iterator[None]:
    """Seeds torch inside and leaves the caller's random state, threads and Pyro settings as they were."""
    threads = torch.get_num_threads()
    devices = [torch.device(context.device)] if context.device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices), module_local():
        torch.manual_seed(context.seed)
        if context.threads:
            torch.set_num_threads(context.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def module_local() -> Iterator[None]:
    """Parameters stay in their modules and distributions are not validated at every step.

    Data are validated once when read and the loss is checked at every step, so per-site validation would only
    cost time. Pyro's global parameter store is never touched.
    """
    with pyro.settings.context(module_local_params=True), pyro.validation_enabled(False):
        yield
