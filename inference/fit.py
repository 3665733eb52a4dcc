"""`fit`: from a model and a log to a run."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, replace
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrorec.data import FeatureEncoders, InputError, Interactions
from pyrorec.inference.annealing import WarmUp
from pyrorec.inference.bilateral_fitting import start
from pyrorec.inference.checkpoints import (
    BEST,
    copy_parameters,
    load_checkpoint,
    save_checkpoint,
    set_parameters,
)
from pyrorec.inference.choice import choose
from pyrorec.inference.factor_features import encoders_for
from pyrorec.inference.files import read_tensors, write_tensors, write_text
from pyrorec.inference.item_prior import anchored
from pyrorec.inference.joint_fitting import start_joint
from pyrorec.inference.objective_checks import check_objective
from pyrorec.inference.observations import observe
from pyrorec.inference.popularity_fitting import start_popularity
from pyrorec.inference.run import Run
from pyrorec.inference.settings import Context, Training, default_training
from pyrorec.inference.train import Fitting, local_randomness, train
from pyrorec.inference.validation import Score
from pyrorec.inference.warm_start import start_from as warm_start
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.joint import JointModel
from pyrorec.models.popularity import PopularityModel

logger = logging.getLogger("pyrorec")
FINISHING_RATE = 0.3
FINISHING_SEED = 7919
FEWEST_CELLS_TO_HOLD_OUT = 100
FEWEST_CELLS_TO_FIT = 20
SMALL_PROBLEM = 20_000_000


def fit(
    model: BilateralModel | PopularityModel | JointModel | None,
    log: Interactions,
    *,
    seed: int | None = None,
    training: Training | None = None,
    context: Context | None = None,
    start_from: Run | None = None,
) -> Run:
    """Trains the model on a log by stochastic variational inference (or MAP) and returns the run.

    A model of None is chosen from the log's values (see `choose`), and the choice is logged and kept in
    `run.reason`. `seed` is short for a context that differs only in it. `start_from` is a run of a like model, whose
    parameters are where training starts, matched by id (see `pyrorec.inference.warm_start`). The same seed gives the
    same result bit for bit on the same machine's CPU. Raises InputError for a log that the model cannot describe or a
    device that is not there, NonFiniteLoss when training diverges.
    """
    if not isinstance(log, Interactions):
        raise InputError(
            f"fit takes Interactions, not {type(log).__name__}: read the log with read_interactions first."
        )
    reason = ""
    if model is None:
        choice = choose(log)
        model, log, reason = choice.model, log.with_missing(choice.missing), choice.reason
        logger.info(reason)
    training = training or default_training(model, len(log))
    context = context or Context()
    context = replace(context, seed=int(context.seed if seed is None else seed))
    check_device(context.device)
    check_objective(model, log, training)
    held_out = held_out_cells(len(log), training.validation_fraction, context.seed)
    context = replace(context, threads=context.threads or threads_for(log))
    with local_randomness(context):
        encoders = encoders_for(model, log, start_from)
        fitting = begin(model, log, held_out, training, context, encoders)
        if start_from is not None:
            warm_start(fitting, log, start_from)
        recorder = Recorder(fitting.watcher(), context.folder)
        if context.resume:
            recorder.resume(fitting)
        train(fitting, recorder)
        recorder.restore_best(fitting)
        finish(fitting, recorder)
        posterior = fitting.settled(log)
    return Run(
        spec=model, training=training, seed=context.seed, log=log, feature_encoders=encoders,
        model=fitting.model.cpu(), guide=fitting.guide.cpu(), posterior=posterior, metrics=recorder.lines,
        reason=reason,
    )  # fmt: skip


def check_device(device: str) -> None:
    """Refuses a device that this torch cannot reach."""
    try:
        float(torch.zeros(1, device=device))  # reading it back also refuses devices that hold no numbers
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"Device {device!r} is not available to torch on this machine; use --device cpu.") from error


def threads_for(log: Interactions) -> int | None:
    """One thread for small problems, where two only wait for each other; torch's own choice beyond."""
    return 1 if log.n_users * log.n_items <= SMALL_PROBLEM else None


def held_out_cells(cells: int, fraction: float, seed: int) -> np.ndarray | None:
    """Numbers of the validation cells; None where nothing is to be held out or too little is there."""
    if fraction == 0 or cells < FEWEST_CELLS_TO_HOLD_OUT:
        return None
    held_out = math.ceil(fraction * cells)
    if cells - held_out < FEWEST_CELLS_TO_FIT:
        raise InputError(
            f"A validation fraction of {fraction:g} leaves {cells - held_out} of {cells:,} cells to fit: lower it."
        )
    return np.sort(np.random.default_rng([seed, 7]).permutation(cells)[:held_out])


@singledispatch
def begin(
    model: Any, log: Interactions, held_out: np.ndarray | None, training: Training, context: Context,
    encoders: FeatureEncoders,
) -> Fitting:  # fmt: skip
    """The fit of a kind of model before its first epoch; `held_out` are the numbers of the validation cells."""
    raise InputError(
        f"{model!r} is no model that can be fitted; give a BilateralModel, a PopularityModel or a JointModel."
    )


@begin.register
def _(
    model: BilateralModel, log: Interactions, held_out: np.ndarray | None, training: Training, context: Context,
    encoders: FeatureEncoders,
) -> Fitting:  # fmt: skip
    found = anchored(model, log)
    held_out = None if held_out is None else held_out[held_out < len(found.log)]
    data = observe(found.log, found.spec, held_out)
    if model.family.coupled and "item" in training.schedule.phases():
        raise InputError(
            f"Family {model.family.name} couples the cells of a user, so items have no rows to be trained on: use "
            "--schedule joint, which moves both sides in the users' steps."
        )
    return start(found, data, training, context, encoders)


@begin.register
def _(
    model: PopularityModel, log: Interactions, held_out: np.ndarray | None, training: Training, context: Context,
    encoders: FeatureEncoders,
) -> Fitting:  # fmt: skip
    return start_popularity(model, log, held_out, training, context, encoders)


@begin.register
def _(
    model: JointModel, log: Interactions, held_out: np.ndarray | None, training: Training, context: Context,
    encoders: FeatureEncoders,
) -> Fitting:  # fmt: skip
    return start_joint(model, log, held_out, training, context, encoders)


def finish(fitting: Fitting, recorder: Recorder) -> None:
    """A few epochs on every cell, so that nothing held out for validation is lost."""
    training = fitting.training
    if not fitting.holds_out or not training.finish_epochs:
        return
    short = replace(
        training, epochs=training.finish_epochs, learning_rate=training.learning_rate * FINISHING_RATE, kl_warmup=0,
        annealing=WarmUp(),
    )  # fmt: skip
    context = replace(fitting.context, seed=fitting.context.seed + FINISHING_SEED)
    done = len(recorder.lines)
    train(
        fitting.on_everything(short, context),
        lambda _, metrics: recorder.write(metrics | {"epoch": done + metrics["epoch"], "finishing": True}),
    )


@dataclass
class Recorder:
    """After every epoch: metrics, validation, the best epoch so far, checkpoints, and whether to stop."""

    score: Score | None
    folder: Path | None

    def __post_init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] | None = None

    def __call__(self, fitting: Fitting, metrics: dict[str, Any]) -> bool:
        training, state = fitting.training, fitting.state
        last = state.epoch >= training.epochs
        if self.score and (last or state.epoch % training.validate_every == 0):
            self._look(fitting, metrics)
        self.write(metrics)
        stop = state.stale >= training.patience
        if self.folder and (stop or last or state.epoch % training.checkpoint_every == 0):
            save_checkpoint(self.folder / "checkpoints", fitting)
        return stop

    def _look(self, fitting: Fitting, metrics: dict[str, Any]) -> None:
        assert self.score is not None
        state = fitting.state
        metrics["validation"] = self.score(fitting.posterior())
        if metrics["validation"] > state.best and not fitting.warming:
            state.best, state.best_epoch, state.stale = metrics["validation"], state.epoch, 0
            self.best = copy_parameters(fitting)
            if self.folder:
                (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
                write_tensors(self.folder / "checkpoints" / BEST, self.best, {"epoch": state.epoch})
        elif not fitting.warming:
            state.stale += 1

    def write(self, metrics: dict[str, Any]) -> bool:
        """Keeps one epoch's metrics, in memory and on disk; never asks to stop."""
        self.lines.append(metrics)
        if self.folder:
            with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(metrics) + "\n")
        return False

    def resume(self, fitting: Fitting) -> None:
        """Goes on from the last checkpoint in the folder, dropping metrics written after it."""
        if self.folder is None:
            raise InputError("Resuming needs the folder of the interrupted run.")
        load_checkpoint(self.folder / "checkpoints", fitting)
        file = self.folder / "metrics.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        self.lines = [json.loads(line) for line in lines[: fitting.state.epoch]]  # later ones may have been cut off
        write_text(file, "".join(json.dumps(line) + "\n" for line in self.lines))
        if fitting.state.best_epoch >= 0:
            self.best, _ = read_tensors(self.folder / "checkpoints" / BEST)

    def restore_best(self, fitting: Fitting) -> None:
        """Back to the epoch with the best validation score."""
        if self.best is not None:
            set_parameters(fitting, self.best)
