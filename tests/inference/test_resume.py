"""Going on with an interrupted fit: it equals one that was never stopped, and is refused where it could not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interruption import stopping_after
from torch import Tensor

from pyrorec.data import InputError, Interactions
from pyrorec.inference.files import read_tensors
from pyrorec.inference.fit import fit
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.run import Run
from pyrorec.inference.settings import Context, Training
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.families import Cloglog
from pyrorec.models.predictors import Additive
from pyrorec.simulation import FrailtyWorld

MODEL = BilateralModel(factors=2, hidden=(5,))
EVERYTHING = Training(epochs=10, dropout=0.1, batch_size=30, validation_fraction=0.0, checkpoint_every=3)
WATCHED = replace(EVERYTHING, validation_fraction=0.1, validate_every=2, kl_warmup=1, finish_epochs=2)
STOPPED_EARLY = replace(WATCHED, learning_rate=0.1, epochs=30, validate_every=1, patience=2)
"""Stops at the second look without a better score, well before its last epoch."""


@pytest.fixture(scope="module")
def log() -> Interactions:
    return FrailtyWorld(users=50, items=30, mean_count=0.5, features=False).simulate(1).train


@pytest.fixture(scope="module")
def whole(log: Interactions, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Run, Path]]:
    """Fits that were never stopped, each with its folder."""
    folders = {name: tmp_path_factory.mktemp(name.replace(" ", "-")) for name in TRAININGS}
    return {name: (fitted(log, TRAININGS[name], folder), folder) for name, folder in folders.items()}


TRAININGS = {"everything": EVERYTHING, "watched": WATCHED, "stopped early": STOPPED_EARLY}


def fitted(
    log: Interactions, training: Training, folder: Path, model: BilateralModel = MODEL, resume: bool = False
) -> Run:
    return fit(model, log, seed=3, training=training, context=Context(folder=folder, resume=resume, progress=False))


def interrupted(log: Interactions, training: Training, folder: Path, after: int, model: BilateralModel = MODEL) -> None:
    """A fit that stops as its epoch number `after` (finishing epochs included) is about to begin."""
    with stopping_after(after):
        fitted(log, training, folder, model)


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that are not the same bit for bit."""
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def weights(run: Run) -> dict[str, Tensor]:
    return {**run.model.state_dict(), **run.guide.state_dict()}


def moments(posterior: Posterior) -> dict[str, Tensor]:
    return {k: getattr(posterior, k) for k in ("user_mean", "user_sd", "item_mean", "item_sd", "intercept")}


def checkpoint(folder: Path, name: str = "last") -> tuple[dict[str, Tensor], dict[str, Any]]:
    return read_tensors(folder / "checkpoints" / f"{name}.safetensors")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def content(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by its relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("everything", 6),
        ("everything", 8),
        ("watched", 6),
        ("watched", 8),
        ("watched", 11),
        ("stopped early", 7),
    ],
    ids=[
        "at a checkpoint",
        "between checkpoints",
        "at a checkpoint, with validation",
        "between checkpoints, with validation",
        "in the finishing epochs",
        "before an early stop",
    ],
)
def test_resuming_equals_never_having_stopped(
    log: Interactions, whole: dict[str, tuple[Run, Path]], tmp_path: Path, name: str, after: int
) -> None:
    """Posterior, weights, optimiser and metrics bit for bit, and in the log of metrics no line twice."""
    run, folder = whole[name]
    interrupted(log, TRAININGS[name], tmp_path, after)
    assert lines(tmp_path) == run.metrics[:after]
    assert checkpoint(tmp_path)[1]["epoch"] == (10 if after > 10 else after // 3 * 3)
    resumed = fitted(log, TRAININGS[name], tmp_path, resume=True)
    assert_equal_runs(resumed, tmp_path, run, folder)


def assert_equal_runs(resumed: Run, its_folder: Path, run: Run, folder: Path) -> None:
    assert resumed.metrics == run.metrics
    assert (its_folder / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()
    assert differing(moments(resumed.posterior), moments(run.posterior)) == []
    assert differing(weights(resumed), weights(run)) == []
    for which in ("last", "best") if run.training.validation_fraction else ("last",):
        (tensors, notes), (expected, expected_notes) = checkpoint(its_folder, which), checkpoint(folder, which)
        assert differing(tensors, expected) == []
        assert notes == expected_notes
    assert {name.split(".")[2] for name in tensors if name.startswith("optimiser.")} <= {
        "exp_avg",
        "exp_avg_sq",
        "step",
    }


def test_the_fits_that_are_compared_do_what_they_are_meant_to(whole: dict[str, tuple[Run, Path]]) -> None:
    """One stops early and after a checkpoint, one goes to its end, and optimisers have something to restore."""
    early, _ = whole["stopped early"]
    trained = [line for line in early.metrics if "finishing" not in line]
    assert 5 <= len(trained) < STOPPED_EARLY.epochs
    assert len(whole["watched"][0].metrics) == 12
    last, notes = checkpoint(whole["everything"][1])
    assert notes["epoch"] == 10
    assert notes["step"] == float(last["optimiser.0.step"]) == 10 * 3, "two batches of users and one of items"
    assert float(max(v.abs().max() for k, v in last.items() if k.endswith("exp_avg"))) > 0


def test_a_fit_that_stopped_early_is_not_trained_further_when_resumed(
    log: Interactions, whole: dict[str, tuple[Run, Path]], tmp_path: Path
) -> None:
    """Interrupted in the finishing epochs, when patience was over already."""
    run, folder = whole["stopped early"]
    interrupted(log, STOPPED_EARLY, tmp_path, len(run.metrics) - 1)
    resumed = fitted(log, STOPPED_EARLY, tmp_path, resume=True)
    assert [line["epoch"] for line in resumed.metrics] == [line["epoch"] for line in run.metrics]
    assert_equal_runs(resumed, tmp_path, run, folder)


def test_a_finished_fit_that_is_resumed_gives_the_same_again(
    log: Interactions, whole: dict[str, tuple[Run, Path]], tmp_path: Path
) -> None:
    run, folder = whole["watched"]
    shutil.copytree(folder, tmp_path / "copy")
    resumed = fitted(log, WATCHED, tmp_path / "copy", resume=True)
    assert_equal_runs(resumed, tmp_path / "copy", run, folder)


def test_a_line_of_metrics_that_was_cut_off_does_not_hinder_resuming(
    log: Interactions, whole: dict[str, tuple[Run, Path]], tmp_path: Path
) -> None:
    """What stands after the checkpoint is dropped anyway, so it need not be whole."""
    interrupted(log, EVERYTHING, tmp_path, 8)
    text = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    (tmp_path / "metrics.jsonl").write_text(text[:-20], encoding="utf-8")
    resumed = fitted(log, EVERYTHING, tmp_path, resume=True)
    assert_equal_runs(resumed, tmp_path, *whole["everything"])


# --- refusals


@pytest.fixture(scope="module")
def halfway(log: Interactions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fit of clicks that was interrupted after a checkpoint."""
    folder = tmp_path_factory.mktemp("halfway")
    interrupted(log.binarised(), EVERYTHING, folder, 4)
    return folder


def refused(
    log: Interactions, folder: Path, model: BilateralModel = MODEL, match: str = "another model, log, seed or training"
) -> None:
    """Resuming is refused, changes no file, and is possible afterwards with what the fit was started with."""
    before = content(folder)
    with pytest.raises(InputError, match=match):
        fitted(log, EVERYTHING, folder, model, resume=True)
    assert content(folder) == before


OTHER_MODELS = {
    "more factors": replace(MODEL, factors=3),
    "wider encoders": replace(MODEL, hidden=(6,)),
    "deeper encoders": replace(MODEL, hidden=(5, 5)),
    "another predictor": replace(MODEL, predictor=Additive(), popularity=None, activity=None),
    "another family": replace(MODEL, family=Cloglog()),
    "another scale": replace(MODEL, scale=0.1),
}


@pytest.mark.parametrize("name", OTHER_MODELS)
def test_resuming_with_another_model_is_refused(log: Interactions, halfway: Path, tmp_path: Path, name: str) -> None:
    """Of the last two every parameter has the shape that it had."""
    shutil.copytree(halfway, tmp_path / "copy")
    refused(log.binarised(), tmp_path / "copy", OTHER_MODELS[name])


def test_resuming_with_a_larger_log_is_refused(halfway: Path, tmp_path: Path) -> None:
    other = FrailtyWorld(users=55, items=30, mean_count=0.5, features=False).simulate(1).train
    shutil.copytree(halfway, tmp_path / "copy")
    refused(other.binarised(), tmp_path / "copy")


def test_resuming_with_another_log_of_the_same_size_is_refused(
    log: Interactions, halfway: Path, tmp_path: Path
) -> None:
    """The same users and items, and other clicks."""
    shuffled = np.random.default_rng(0).permutation(log.n_items)[log.item]
    shutil.copytree(halfway, tmp_path / "copy")
    refused(replace(log.binarised(), item=shuffled), tmp_path / "copy")


def test_a_checkpoint_survives_that_it_was_refused(log: Interactions, halfway: Path, tmp_path: Path) -> None:
    shutil.copytree(halfway, tmp_path / "copy")
    refused(log.binarised(), tmp_path / "copy", OTHER_MODELS["more factors"])
    run = fitted(log.binarised(), EVERYTHING, tmp_path / "copy", resume=True)
    (tmp_path / "anew").mkdir()
    again = fitted(log.binarised(), EVERYTHING, tmp_path / "anew")
    assert differing(weights(run), weights(again)) == []


def test_without_a_checkpoint_resuming_is_refused(log: Interactions, tmp_path: Path) -> None:
    """Interrupted before the first one was written."""
    interrupted(log, EVERYTHING, tmp_path, 2)
    refused(log, tmp_path, match="no checkpoint .* to resume from")


def test_without_a_folder_resuming_is_refused(log: Interactions) -> None:
    with pytest.raises(InputError, match="needs the folder"):
        fit(MODEL, log, training=EVERYTHING, context=Context(resume=True, progress=False))


def test_a_damaged_checkpoint_is_refused(log: Interactions, halfway: Path, tmp_path: Path) -> None:
    shutil.copytree(halfway, tmp_path / "copy")
    file = tmp_path / "copy" / "checkpoints" / "last.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(log.binarised(), tmp_path / "copy", match="damaged")
