"""`pyrorec fit` and `pyrorec report`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import typer

from pyrorec.commands.tables import print_evaluation, write_table
from pyrorec.config import (
    read_config,
    resolve_kind,
    resolve_model,
    resolve_repeats,
    resolve_seed,
    resolve_training,
    takes_negative,
)
from pyrorec.data import (
    Columns,
    Duplicates,
    InputError,
    Interactions,
    embedded_log,
    embedded_truth,
    read_interactions,
    split,
)
from pyrorec.inference.checkpoints import check_checkpoint
from pyrorec.inference.diagnostics import diagnose
from pyrorec.inference.evaluate import evaluate
from pyrorec.inference.fit import check_device, fit
from pyrorec.inference.observations import check_values
from pyrorec.inference.run import Run
from pyrorec.inference.settings import Context
from pyrorec.inference.store import (
    check_folder,
    discard,
    ids_frame,
    load,
    publish,
    working_folder,
    working_path,
    write_contents,
)
from pyrorec.report import write_report

TEST = "test.parquet"


@dataclass(frozen=True)
class Request:
    """What the command line asked for; `model` and `training` hold None where a flag was not given."""

    log: Path | None
    out: Path
    columns: Columns
    repeats: str | None
    user_features: Path | None
    item_features: Path | None
    kind: str | None
    config: Path | None
    holdout: float
    seed: int | None
    threads: int | None
    device: str
    replace: bool
    resume: bool
    progress: bool
    model: dict[str, Any]
    training: dict[str, Any]


def run_fit(request: Request) -> None:
    """Everything that can be refused is refused before anything is written."""
    check_folder(request.out, replace_run=request.replace or request.resume)
    if request.resume:
        check_checkpoint(working_path(request.out) / "checkpoints")
    check_device(request.device)
    config = read_config(request.config)
    kind = resolve_kind(config, request.kind)
    seed = resolve_seed(config, request.seed)
    train, test = read_parts(
        request, seed, takes_negative(config, request.model), resolve_repeats(config, request.repeats)
    )
    training = resolve_training(kind, config, request.training, len(train))
    choice = resolve_model(kind, config, request.model, train)
    train = train.with_missing(choice.missing)
    check_values(train, choice.model)
    ids_frame(train)  # refuses ids that could not be saved
    typer.echo(choice.reason)
    with nullcontext() if request.resume else nothing_left(request.out):  # what can still be resumed is kept
        work = start_folder(request)
        context = Context(seed, request.device, request.threads, work, request.resume, request.progress)
        run = fit(choice.model, train, training=training, context=context)
        publish_run(request, replace(run, reason=choice.reason), test, work)


def read_parts(
    request: Request, seed: int, allow_negative: bool, rule: Duplicates | None
) -> tuple[Interactions, Interactions | None]:
    """Train and, where there is one, test."""
    if not 0 <= request.holdout < 1:
        raise InputError(f"--holdout is a share between 0 and 1, not {request.holdout}.")
    if request.log is None:
        if request.user_features or request.item_features:
            raise InputError("--user-features and --item-features belong to a log; the embedded log brings its own.")
        return embedded_log()
    log = read_interactions(
        request.log,
        columns=request.columns,
        duplicates=rule,
        user_features=request.user_features,
        item_features=request.item_features,
        allow_negative=allow_negative,
    )
    if not request.holdout:
        return log, None
    return split(log, request.holdout, seed)


def start_folder(request: Request) -> Path:
    """The working folder: fresh, or the interrupted fit's when resuming."""
    return working_folder(request.out) if request.resume else start_over(request.out)


def publish_run(request: Request, run: Run, test: Interactions | None, work: Path) -> None:
    """Writes the run with its report, prints the evaluation, and makes the version current."""
    write_contents(run, work)
    if test is not None:
        write_table(test.to_frame(), work / TEST)
    evaluation = None if test is None else evaluate(run, test)
    truth = embedded_truth() if request.log is None else None
    write_report(run, work / "report.html", test=test, evaluation=evaluation, truth=truth, diagnostics=diagnose(run))
    final = publish(work, request.out)
    if evaluation is not None:
        print_evaluation(evaluation)
    typer.echo(f"run in {request.out} ({final.name}), report in {request.out / 'report.html'}")


def add_version(run: Run, folder: Path) -> Path:
    """Makes a run the current version of its folder, test and report included; returns the version's folder."""
    kept = folder / "current" / TEST
    test = None
    if kept.exists():
        test = Interactions.from_frame(pd.read_parquet(kept), run.log.missing, run.log.rule)
    work = start_over(folder)
    write_contents(run, work)
    if test is not None:
        shutil.copyfile(kept, work / TEST)
    evaluation = None if test is None else evaluate(run, test)
    write_report(run, work / "report.html", test=test, evaluation=evaluation, diagnostics=diagnose(run))
    return publish(work, folder)


def start_over(folder: Path) -> Path:
    """A fresh working folder."""
    discard(working_path(folder))
    return working_folder(folder)


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Takes back, when input is refused inside, the working folder and whatever folders were made for it."""
    made = [path for path in (folder / "versions", folder, *folder.parents) if not path.exists()]
    try:
        yield
    except InputError:
        discard(working_path(folder))
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise


def rewrite_report(folder: Path) -> Path:
    """Writes the report of a run anew in place of the link to its version's, which stays as it was."""
    run = load(folder)
    path = folder / "report.html"
    write_report(run, path, diagnostics=diagnose(run))
    return path
