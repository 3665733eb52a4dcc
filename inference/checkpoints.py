"""Checkpoints: everything a later epoch depends on, in open formats."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from pyrorec.data import InputError
from pyrorec.inference.files import prefixed, read_tensors, without_prefix, write_tensors
from pyrorec.inference.train import Fitting, State

LAST = "last.safetensors"
BEST = "best.safetensors"


def parameters_of(fitting: Fitting) -> dict[str, Tensor]:
    """Weights and kept posteriors of model and guide, by name."""
    return prefixed("model", fitting.model.state_dict()) | prefixed("guide", fitting.guide.state_dict())


def set_parameters(fitting: Fitting, tensors: dict[str, Tensor]) -> None:
    """Puts weights and kept posteriors back."""
    fitting.model.load_state_dict(without_prefix("model", tensors))
    fitting.guide.load_state_dict(without_prefix("guide", tensors))


def save_checkpoint(folder: Path, fitting: Fitting) -> None:
    """Writes the last checkpoint; whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    notes = asdict(fitting.state) | {"best": str(fitting.state.best), "fingerprint": fingerprint(fitting)}
    write_tensors(folder / LAST, parameters_of(fitting) | optimiser_tensors(fitting), notes)


def fingerprint(fitting: Fitting) -> str:
    """sha256 of everything that a resumed fit must share with the one that was stopped: model, settings, seed, rows."""
    digest = hashlib.sha256()
    for part in fitting.identity():
        digest.update(part)
    return digest.hexdigest()


def load_checkpoint(folder: Path, fitting: Fitting) -> None:
    """Goes back to the last checkpoint, optimiser and counters included.

    Raises InputError when there is none, or when it belongs to another model or log.
    """
    check_checkpoint(folder)
    tensors, notes = read_tensors(folder / LAST)
    if notes.pop("fingerprint", None) != fingerprint(fitting):
        raise InputError(
            f"The checkpoint in {folder} belongs to another model, log, seed or training: resume with the options and "
            "the log that it was started with."
        )
    set_parameters(fitting, tensors)
    set_optimiser(fitting, without_prefix("optimiser", tensors))
    fitting.state = State(**(notes | {"best": float(notes["best"])}))


def check_checkpoint(folder: Path) -> None:
    """Refuses a folder without a last checkpoint."""
    if not (folder / LAST).exists():
        raise InputError(f"There is no checkpoint in {folder} to resume from; fit without --resume.")


def optimiser_tensors(fitting: Fitting) -> dict[str, Tensor]:
    """Adam's moments and step counts by parameter number."""
    state = fitting.optimiser.state_dict()["state"]
    return {f"optimiser.{n}.{key}": value for n, slots in state.items() for key, value in slots.items()}


def set_optimiser(fitting: Fitting, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimiser_tensors`."""
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        slots.setdefault(int(number), {})[key] = value
    whole = fitting.optimiser.state_dict()
    whole["state"] = slots
    fitting.optimiser.load_state_dict(whole)


def copy_parameters(fitting: Fitting) -> dict[str, Tensor]:
    """A copy of `parameters_of`, for keeping the best epoch in memory."""
    return {name: torch.clone(value.detach()) for name, value in parameters_of(fitting).items()}
