"""A run on disk: immutable versions in open formats, and a link to the current one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from pyrorec.data import FeatureEncoders, InputError, Interactions
from pyrorec.guides import BilateralGuide
from pyrorec.guides.joint import JointGuide
from pyrorec.guides.popularity import PopularityGuide
from pyrorec.inference.factor_features import factor_features
from pyrorec.inference.files import (
    prefixed,
    read_tensors,
    sync,
    without_prefix,
    write_tensors,
    write_text,
    write_with,
)
from pyrorec.inference.item_prior import anchored
from pyrorec.inference.joint_fitting import empty_joint
from pyrorec.inference.joint_posterior import read_joint_posterior
from pyrorec.inference.observations import Observations, observe
from pyrorec.inference.popularity_fitting import empty_popularity
from pyrorec.inference.popularity_posterior import read_popularity_posterior
from pyrorec.inference.posterior import Posterior, read_posterior
from pyrorec.inference.records import records_of
from pyrorec.inference.run import Run
from pyrorec.inference.settings import Training
from pyrorec.inference.settings_file import (
    missing_from_plain,
    missing_to_plain,
    model_from_plain,
    model_to_plain,
    read_toml,
    rule_from_plain,
    rule_to_plain,
    to_toml,
    training_from_plain,
    training_to_plain,
)
from pyrorec.inference.train import module_local
from pyrorec.models.bilateral import Bilateral, BilateralModel
from pyrorec.models.joint import ExposureOutcome, JointModel
from pyrorec.models.popularity import Popularity, PopularityModel

MANIFEST = "manifest.json"
ENCODERS = "features.json"
FORMAT = 6
LINKED = (
    "config.toml", "weights.safetensors", "ids.parquet", "interactions.parquet", "posterior.nc", "metrics.jsonl",
    "report.html", "checkpoints", MANIFEST,
)  # fmt: skip


def save(run: Run, folder: Path) -> Path:
    """Writes the run as a new version of `folder` and makes it current; returns the version's folder.

    A version is written under a temporary name and renamed, so a reader sees the old one or the new one,
    whole. Raises InputError where the folder holds something that is no run.
    """
    check_folder(folder, replace_run=True)
    work = folder / "versions" / f".{uuid.uuid4().hex}.saving"
    work.mkdir(parents=True)
    try:
        write_contents(run, work)
        return publish(work, folder)
    finally:
        discard(work)


def check_folder(folder: Path, *, replace_run: bool) -> None:
    """Refuses a folder that is not ours to write in, before anything is written.

    Without `replace_run` a folder that holds a run is refused as well.
    """
    blocked = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if blocked is not None:
        raise InputError(f"{blocked} is a file; give a folder for the run.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not all(is_ours(path) for path in folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no run; give another folder.")
    if not replace_run and (folder / "current").exists():
        raise InputError(f"{folder} already holds a run; give another --out, or --replace to add a new version to it.")


def is_ours(path: Path) -> bool:
    """Whether an entry of a run folder is one that `publish` makes (`report.html` may have been written anew)."""
    if path.name == "versions":
        return path.is_dir()
    name = path.name.removeprefix(".").removesuffix(".new")  # a link that was being swapped when a process died
    return path.name == "report.html" or (path.is_symlink() and name in ("current", *LINKED))


def next_version(folder: Path) -> str:
    """The name of the version to come: one more than the last, in four digits."""
    done = [int(p.name) for p in (folder / "versions").glob("[0-9]*") if p.name.isdigit()]
    return f"{max(done, default=0) + 1:04d}"


def working_path(folder: Path) -> Path:
    """Where the version being written stands until it is whole; kept by an interrupted fit, for resuming."""
    return folder / "versions" / f".{next_version(folder)}.partial"


def working_folder(folder: Path) -> Path:
    """`working_path`, made where it is not there."""
    work = working_path(folder)
    work.mkdir(parents=True, exist_ok=True)
    return work


def write_contents(run: Run, work: Path) -> None:
    """Everything of a version except its report. Raises InputError for a view of another run."""
    run.refuse_view("save")
    write_text(work / "config.toml", to_toml(settings(run)))
    weights = prefixed("model", run.model.state_dict()) | prefixed("guide", run.guide.state_dict())
    write_tensors(work / "weights.safetensors", weights, {"format": FORMAT})
    write_with(work / "ids.parquet", ids_frame(run.log).to_parquet)
    write_with(work / "interactions.parquet", coded_frame(run.log).to_parquet)
    for name, table in (("user", run.log.user_features), ("item", run.log.item_features)):
        if table is not None:
            write_with(work / f"{name}_features.parquet", table.rename_axis(f"{name}_id").reset_index().to_parquet)
    write_text(work / ENCODERS, json.dumps(run.feature_encoders.to_dict(), indent=1))
    lines = "".join(json.dumps(line) + "\n" for line in run.metrics)
    write_text(work / "metrics.jsonl", lines)
    (work / "checkpoints").mkdir(exist_ok=True)
    write_with(work / "posterior.nc", run.to_arviz().to_netcdf)


def settings(run: Run) -> dict[str, Any]:
    """config.toml as plain values."""
    return {
        "pyrorec": version("pyrorec"),
        "format": FORMAT,
        "seed": run.seed,
        "missing": missing_to_plain(run.log.missing),
        "reason": run.reason,
        "level_shift": run.posterior.level_shift,
        "recalibration": run.posterior.recalibration,
        "log": {"duplicates": rule_to_plain(run.log.rule), "aggregation": run.log.aggregation},
        "model": model_to_plain(run.spec),
        "training": training_to_plain(run.training),
    }


def publish(work: Path, folder: Path) -> Path:
    """Seals the working folder with a manifest, renames it to its version and swaps the links."""
    files = sorted(p for p in work.rglob("*") if p.is_file() and p.name != MANIFEST)
    hashes = {str(p.relative_to(work)): digest(p) for p in files}
    write_text(work / MANIFEST, json.dumps({"format": FORMAT, "files": hashes}, indent=1))
    final = folder / "versions" / next_version(folder)
    os.replace(work, final)
    sync(final.parent)
    link(folder / "current", Path("versions") / final.name)
    for name in LINKED:
        if (final / name).exists():
            link(folder / name, Path("current") / name)
        elif (folder / name).is_symlink():  # the version before had one
            (folder / name).unlink()
    return final


def digest(path: Path) -> str:
    """sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def link(path: Path, target: Path) -> None:
    """A symbolic link swapped by rename, so that it always points somewhere whole."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    os.replace(fresh, path)


def discard(work: Path) -> None:
    """Removes a working folder that will not be resumed."""
    shutil.rmtree(work, ignore_errors=True)


def ids_frame(log: Interactions) -> pd.DataFrame:
    """Ids by side and code, as JSON text, so that numbers and strings come back as they were."""
    sides = {"user": log.users, "item": log.items}
    parts = [
        pd.DataFrame({"side": side, "code": range(len(ids)), "id": [encode_id(i) for i in ids]})
        for side, ids in sides.items()
    ]
    return pd.concat(parts, ignore_index=True)


def encode_id(value: Any) -> str:
    """An id as JSON text. Raises InputError for anything but text and numbers."""
    plain = value.item() if hasattr(value, "item") else value
    if not isinstance(plain, str | int | float | bool):
        raise InputError(f"Id {plain!r} is neither text nor a number and cannot be saved; convert it to text.")
    return json.dumps(plain)


def coded_frame(log: Interactions) -> pd.DataFrame:
    """The cells by code."""
    columns = {
        name: getattr(log, name) for name in ("user", "item", "value", "trials", "timestamp", "exposure", "propensity")
    }
    return pd.DataFrame({name: column for name, column in columns.items() if column is not None})


def load(folder: str | Path) -> Run:
    """Reads the current version of a run folder (or a version's own folder).

    Raises InputError where it is no run, or a file of it is missing or damaged.
    """
    path = Path(folder)
    home = (path / "current" if (path / "current").exists() else path).resolve()
    if not (home / "config.toml").exists():
        raise InputError(f"{folder} holds no run: it has no config.toml; fit one with pyrorec fit --out.")
    verify(home)
    plain = read_toml(home / "config.toml")
    if plain.get("format") != FORMAT:
        raise InputError(
            f"{folder} was written in format {plain.get('format')}, and this pyrorec reads {FORMAT}: fit it again with "
            f"its settings (--config {home / 'config.toml'}), or read it with the pyrorec that wrote it "
            f"({plain.get('pyrorec', 'unknown')})."
        )
    spec, training = model_from_plain(plain["model"]), training_from_plain(plain["training"])
    log = read_log(home, plain)
    encoders = FeatureEncoders.from_dict(json.loads((home / ENCODERS).read_text(encoding="utf-8")))
    tensors, _ = read_tensors(home / "weights.safetensors")
    model, guide = empty_modules(spec, training, log, encoders, tensors)
    model.load_state_dict(without_prefix("model", tensors))
    guide.load_state_dict(without_prefix("guide", tensors))
    metrics = [json.loads(line) for line in (home / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    with module_local():
        levels = {name: plain[name] for name in ("level_shift", "recalibration")}
        posterior = replace(posterior_of(model, guide, log), **levels)
    return Run(spec, training, plain["seed"], log, encoders, model, guide, posterior, metrics, plain["reason"])


def posterior_of(model: Any, guide: Any, log: Interactions) -> Posterior:
    """The posterior that model and guide hold, under the log's ids."""
    return READERS[type(model)](model, guide, log.users, log.items)


READERS: dict[type, Callable[..., Posterior]] = {
    Bilateral: read_posterior,
    Popularity: read_popularity_posterior,
    ExposureOutcome: read_joint_posterior,
}
"""How the posterior is read off each kind of model and its guide."""


def verify(home: Path) -> None:
    """Checks every file against the manifest. Raises InputError for one that is missing or changed."""
    try:
        manifest = json.loads((home / MANIFEST).read_text(encoding="utf-8"))
        files = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{home / MANIFEST} is missing or damaged; fit the run again.") from error
    found = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()} - {MANIFEST}
    if strange := sorted(found - set(files)):
        raise InputError(f"{home / strange[0]} was added after the run was saved; remove it.")
    for name, expected in files.items():
        if not (home / name).is_file() or digest(home / name) != expected:
            raise InputError(f"{home / name} is missing or was changed after the run was saved; fit the run again.")


def read_log(home: Path, plain: dict[str, Any]) -> Interactions:
    """The interactions of a version, with what its configuration says of them."""
    ids = pd.read_parquet(home / "ids.parquet")
    sides = {side: pd.Index([json.loads(i) for i in part["id"]]) for side, part in ids.groupby("side")}
    cells = pd.read_parquet(home / "interactions.parquet")
    tables = {
        f"{name}_features": pd.read_parquet(home / f"{name}_features.parquet").set_index(f"{name}_id")
        for name in ("user", "item")
        if (home / f"{name}_features.parquet").exists()
    }
    columns: dict[str, Any] = {name: cells[name].to_numpy() for name in cells.columns}
    return Interactions(
        users=sides["user"],
        items=sides["item"],
        missing=missing_from_plain(plain["missing"]),
        rule=rule_from_plain(plain["log"]["duplicates"]),
        aggregation=plain["log"]["aggregation"],
        **columns,
        **tables,
    )


@singledispatch
def empty_modules(
    spec: Any, training: Training, log: Interactions, encoders: FeatureEncoders, tensors: dict[str, Tensor]
) -> tuple[Any, Any]:
    """Model and guide of the right shapes, to be filled from the weights."""
    raise InputError(f"{spec!r} is no model that can be loaded.")


@empty_modules.register
def _(
    spec: BilateralModel, training: Training, log: Interactions, encoders: FeatureEncoders, tensors: dict[str, Tensor]
) -> tuple[Bilateral, BilateralGuide]:
    """Whether an encoder has a value channel was decided by the cells that were fitted first; the weights know it."""
    found = anchored(spec, log)
    data: Observations = observe(found.log, found.spec, None)
    features = factor_features(spec, log, encoders)
    model = Bilateral(found.spec, log.n_users, log.n_items, log.missing.weight, 0.0, features, found.items)
    varies = {side: f"guide.encoder.{side}.value" in tensors for side in data.all}
    return model, training.objective.guide(model, data.all, training.dropout, varies)


@empty_modules.register
def _(
    spec: PopularityModel, training: Training, log: Interactions, encoders: FeatureEncoders, tensors: dict[str, Tensor]
) -> tuple[Popularity, PopularityGuide]:
    found = anchored(spec, log)
    return empty_popularity(found, log, records_of(found.log, found.spec), 0.0, training, encoders)


@empty_modules.register
def _(
    spec: JointModel, training: Training, log: Interactions, encoders: FeatureEncoders, tensors: dict[str, Tensor]
) -> tuple[ExposureOutcome, JointGuide]:
    return empty_joint(spec, log, observe(log, spec, None).all, training, encoders)
