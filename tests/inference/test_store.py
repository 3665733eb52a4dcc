"""A run on disk: it comes back as it was, versions stay as they are, and half a run is never seen."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT, left_empty
from safetensors.torch import load_file
from torch import Tensor

from pyrorec.data import InputError, Interactions, Unobserved, Weighted
from pyrorec.data.duplicates import Sum
from pyrorec.inference import store
from pyrorec.inference.fit import fit, held_out_cells
from pyrorec.inference.intervention import Deconfound
from pyrorec.inference.objective import MAP
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.run import Run
from pyrorec.inference.schedule import UsersThenItems
from pyrorec.inference.settings import Context, Training
from pyrorec.inference.store import load
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.families import Bernoulli, Gaussian, Poisson
from pyrorec.models.predictors import Additive, LogAdditive
from pyrorec.simulation import FrailtyWorld

SHORT = Training(epochs=2, finish_epochs=1, learning_rate=0.05)


@pytest.fixture(scope="module")
def log() -> Interactions:
    """Counts of 45 users and 29 items with text ids, times, exposure and feature tables."""
    return FrailtyWorld(users=45, items=30, mean_count=0.5).simulate(2).train


@pytest.fixture(scope="module")
def run(log: Interactions) -> Run:
    return fitted(log, BilateralModel(factors=2, hidden=(5,)), SHORT)


@pytest.fixture(scope="module")
def other(log: Interactions) -> Run:
    """A run that differs from `run` in everything one could look at, and has no features."""
    bare = replace(log, user_features=None, item_features=None)
    return fitted(bare, BilateralModel(factors=3, hidden=(4,)), replace(SHORT, epochs=1))


@pytest.fixture(scope="module")
def saved_once(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "run"
    run.save(folder)
    return folder


@pytest.fixture
def folder(saved_once: Path, tmp_path: Path) -> Path:
    """A folder of its own that holds `run` as version 0001."""
    shutil.copytree(saved_once, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


@pytest.fixture
def without_draws() -> Iterator[None]:
    """The posterior's draws take most of a save; the file is left empty where what is in it does not matter."""
    with left_empty("draws"):
        yield


def fitted(log: Interactions, model: BilateralModel, training: Training, seed: int = 11) -> Run:
    found = fit(model, log, seed=seed, training=training, context=Context(progress=False))
    return replace(found, reason='chosen for "counts" \\ élan')


def numbers(posterior: Posterior) -> dict[str, Tensor]:
    """Every number of a posterior, by name."""
    found = {k: getattr(posterior, k) for k in ("user_mean", "user_sd", "item_mean", "item_sd", "intercept")}
    found["level_shift"] = torch.tensor(posterior.level_shift, dtype=torch.float64)
    for side, effect in (("user", posterior.user_effect), ("item", posterior.item_effect)):
        for kind, law in (("law", effect.law), ("population", effect.population)):
            names = [n for n in ("concentration", "rate", "loc", "scale", "v") if hasattr(law, n)]
            found |= {f"{side} {kind} {n}": getattr(law, n) for n in names}
    return found


def assert_same_numbers(first: Run, second: Run) -> None:
    a, b = numbers(first.posterior), numbers(second.posterior)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file by its relative path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def versions(folder: Path) -> list[str]:
    """Names of the published versions."""
    return sorted(p.name for p in (folder / "versions").iterdir() if not p.name.startswith("."))


def leftovers(folder: Path) -> list[str]:
    """Temporary names inside published versions."""
    return [str(p) for name in versions(folder) for p in (folder / "versions" / name).rglob(".*")]


# --- round trip


def with_ids(log: Interactions, users: Any, items: Any) -> Interactions:
    """The log with other ids, in its feature tables too."""
    tables = {}
    for name, old, new in (("user_features", log.users, users), ("item_features", log.items, items)):
        table = getattr(log, name)
        tables[name] = None if table is None else table.loc[old].set_axis(new)
    return replace(log, users=users, items=items, **tables)


def counts(log: Interactions) -> Run:
    return fitted(log, BilateralModel(factors=2, hidden=(5,)), replace(SHORT, schedule=UsersThenItems()))


def ratings(log: Interactions) -> Run:
    """Ids are numbers; values are any reals, absent cells say nothing."""
    users = pd.Index(np.arange(log.n_users)[::-1] * 10**14 + 7)
    items = pd.Index(np.arange(log.n_items) * 0.1 + 0.05)
    noise = np.random.default_rng(0).normal(size=len(log))
    seen = replace(with_ids(log, users, items), value=log.value + noise, missing=Unobserved())
    return fitted(seen, BilateralModel(2, Gaussian(), Additive(popularity_effect=0.7), hidden=(4, 3)), SHORT)


def binarised(log: Interactions) -> Run:
    """A level shift, absent cells of some weight, a propensity, and items with whole numbers for ids."""
    propensity = np.random.default_rng(1).uniform(0.1, 1.0, len(log))
    seen = with_ids(log, log.users, pd.Index(np.arange(log.n_items) - 3))
    seen = replace(seen, missing=Weighted(0.3), propensity=propensity, item_features=None, timestamp=None)
    return fitted(seen, BilateralModel(2, Poisson(), LogAdditive(), binarise=True), SHORT)


def points(log: Interactions) -> Run:
    """Maximum a posteriori, whose popularity is a point; clicks; ids that need escaping."""
    odd = pd.Index([f'{i} "quoted" \\ é 漢,\n' for i in range(log.n_users)])
    clicks = with_ids(log, odd, log.items).binarised()
    return fitted(clicks, BilateralModel(2, Bernoulli(), Additive()), replace(SHORT, objective=MAP()))


@pytest.fixture(scope="module", params=[counts, ratings, binarised, points], ids=lambda make: make.__name__)
def pair(
    request: pytest.FixtureRequest, log: Interactions, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Run]:
    """A run and what was loaded after saving it."""
    made, folder = request.param(log), tmp_path_factory.mktemp(request.param.__name__)
    made.save(folder / "run")
    return made, load(folder / "run")


def test_the_posterior_comes_back_bit_for_bit(pair: tuple[Run, Run]) -> None:
    first, second = pair
    assert_same_numbers(first, second)
    assert second.posterior.response == first.posterior.response
    assert second.posterior.item_effect.predictor == first.posterior.item_effect.predictor
    assert (first.posterior.level_shift != 0) == first.spec.binarise


def test_weights_come_back_bit_for_bit(pair: tuple[Run, Run]) -> None:
    for part in ("model", "guide"):
        first, second = (getattr(run, part).state_dict() for run in pair)
        assert first.keys() == second.keys()
        assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_settings_seed_reason_and_metrics_come_back(pair: tuple[Run, Run]) -> None:
    first, second = pair
    for name in ("spec", "training", "seed", "reason", "metrics"):
        assert getattr(second, name) == getattr(first, name), name
    assert second.seed == 11
    assert len(second.metrics) == 3


def test_the_log_comes_back(pair: tuple[Run, Run]) -> None:
    first, second = (run.log for run in pair)
    for name in ("users", "items"):
        pd.testing.assert_index_equal(getattr(second, name), getattr(first, name), check_names=False, exact=True)
    for name in ("user", "item", "value", "trials", "timestamp", "exposure", "propensity"):
        a, b = getattr(first, name), getattr(second, name)
        assert (a is None) == (b is None), name
        assert a is None or np.array_equal(a, b), name
    assert (second.value.dtype, second.user.dtype) == (np.float64, np.int64)
    assert second.missing == first.missing
    for name in ("user_features", "item_features"):
        a, b = getattr(first, name), getattr(second, name)
        assert (a is None) == (b is None), name
        if a is not None:
            pd.testing.assert_frame_equal(b, a, check_names=False, check_exact=True)


def test_feature_encoders_come_back_exactly(pair: tuple[Run, Run]) -> None:
    """Means and deviations with all their digits, and no encoder for a side without a table."""
    first, second = (run.feature_encoders for run in pair)
    assert second == first
    assert [first.of(side) is None for side in ("user", "item")] == [
        table is None for table in (pair[0].log.user_features, pair[0].log.item_features)
    ]
    found = second.encoded(pair[1].log, "user"), first.encoded(pair[0].log, "user")
    np.testing.assert_array_equal(*found)


def test_answers_come_back_bit_for_bit(pair: tuple[Run, Run]) -> None:
    """Recommendations, scores of all pairs and of strangers, and vectors."""
    first, second = pair
    assert first.recommend(k=4)["score"].nunique() > 40
    for ask in (
        lambda run: run.recommend(k=4),
        lambda run: run.recommend(k=3, intervention=Deconfound(), include_seen=True),
        lambda run: run.score(run.log.to_frame()[["user_id", "item_id"]]),
        lambda run: run.score(pd.DataFrame({"user_id": [run.log.users[0]], "item_id": [10**9]})),
        lambda run: run.vectors("user").reset_index(drop=True),
        lambda run: run.vectors("item").reset_index(drop=True),
    ):
        pd.testing.assert_frame_equal(ask(second), ask(first), check_exact=True)


def test_a_loaded_run_that_is_saved_again_has_the_same_files(saved_once: Path, tmp_path: Path) -> None:
    """Byte for byte, except that NetCDF holds the time of its writing."""
    first, second = hashes(saved_once / "versions" / "0001"), hashes(load(saved_once).save(tmp_path / "again"))
    assert {name for name in first if first[name] != second[name]} <= {"manifest.json", "posterior.nc"}
    assert set(first) == set(second)


@pytest.mark.usefixtures("without_draws")
def test_cells_that_differ_in_exposure_are_pooled_as_before(log: Interactions, tmp_path: Path) -> None:
    """The rule that pools them belongs to the log: here counts of one pair add up."""
    twice = replace(
        log,
        user=np.r_[log.user, log.user[:50]],
        item=np.r_[log.item, log.item[:50]],
        value=np.r_[log.value, log.value[:50] + 1],
        trials=np.r_[log.trials, log.trials[:50]],
        timestamp=np.r_[log.timestamp, log.timestamp[:50]],  # type: ignore[index]
        exposure=np.r_[log.exposure, np.full(50, "random")],  # type: ignore[arg-type]
        rule=Sum(),
    )
    found = fitted(twice, BilateralModel(factors=2, hidden=(5,)), SHORT)
    found.save(tmp_path / "run")
    loaded = load(tmp_path / "run").log
    assert loaded.rule == Sum()
    assert loaded.matrix().sum() == twice.matrix().sum() == twice.value.sum()


@pytest.mark.usefixtures("without_draws")
def test_a_run_whose_values_vary_in_held_out_cells_only_can_be_loaded(log: Interactions, tmp_path: Path) -> None:
    """The encoder then has no channel for values, and still has none when it is read."""
    held_out = held_out_cells(len(log), SHORT.validation_fraction, 11)
    value = np.ones(len(log))
    value[held_out[0]] = 4.0  # type: ignore[index]
    found = fitted(replace(log, value=value), BilateralModel(factors=2, hidden=(5,)), SHORT)
    found.save(tmp_path / "run")
    assert_same_numbers(found, load(tmp_path / "run"))


@pytest.mark.usefixtures("without_draws")
def test_a_seed_of_numpy_can_be_saved(log: Interactions, tmp_path: Path) -> None:
    seed = np.random.default_rng(0).integers(100)
    found = fitted(log, BilateralModel(factors=2, hidden=(5,)), replace(SHORT, epochs=1), seed=seed)
    found.save(tmp_path / "run")
    assert load(tmp_path / "run").seed == int(seed)


# --- versions


@pytest.mark.usefixtures("without_draws")
def test_a_second_save_is_a_second_version_and_the_first_stays(folder: Path, run: Run, other: Run) -> None:
    first = folder / "versions" / "0001"
    before = hashes(first)
    assert other.save(folder) == folder / "versions" / "0002"
    assert hashes(first) == before
    assert versions(folder) == ["0001", "0002"]
    assert os.readlink(folder / "current") == "versions/0002"
    assert (folder / "weights.safetensors").resolve() == (folder / "versions/0002/weights.safetensors").resolve()
    assert_same_numbers(load(folder), other)
    assert_same_numbers(load(first), run)
    assert leftovers(folder) == []


def test_a_run_folder_holds_links_and_versions_only(folder: Path) -> None:
    links = {p.name for p in folder.iterdir() if p.is_symlink()}
    assert {p.name for p in folder.iterdir()} - links == {"versions"}
    assert {"current", "config.toml", "weights.safetensors", "posterior.nc", "manifest.json", "checkpoints"} <= links
    assert all((folder / name).exists() for name in links)
    assert all(not os.path.isabs(os.readlink(folder / name)) for name in links)


def test_a_moved_run_folder_can_still_be_loaded(folder: Path, run: Run) -> None:
    assert_same_numbers(load(folder.rename(folder.with_name("elsewhere"))), run)


def test_the_manifest_holds_the_hash_of_every_file(folder: Path) -> None:
    version = folder / "versions" / "0001"
    stated = json.loads((version / "manifest.json").read_text())["files"]
    found = hashes(version)
    found.pop("manifest.json")
    assert stated == found
    assert set(found) >= {
        "config.toml", "weights.safetensors", "ids.parquet", "interactions.parquet", "posterior.nc", "metrics.jsonl",
        "user_features.parquet", "item_features.parquet", "features.json",
    }  # fmt: skip


def test_files_are_readable_without_pyrorec(folder: Path, run: Run) -> None:
    """Open formats: safetensors, parquet and JSON lines hold what they are said to hold."""
    weights = load_file(folder / "weights.safetensors")
    assert torch.equal(weights["guide.posterior.item.mean"], run.guide.state_dict()["posterior.item.mean"])
    cells = pq.read_table(folder / "interactions.parquet").to_pandas()
    assert cells["value"].sum() == run.log.value.sum()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == run.metrics


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "config.toml", "interactions.parquet", "posterior.nc", "user_features.parquet"]
)
def test_a_file_that_was_changed_is_refused(folder: Path, name: str) -> None:
    """One bit is enough, and so is that the file is gone."""
    file = folder / "versions" / "0001" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    if name != "config.toml":
        with pytest.raises(InputError, match=f"{name} is missing or was changed"):
            load(folder)
    else:
        with pytest.raises(InputError, match=name):
            load(folder)
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    load(folder)
    file.unlink()
    with pytest.raises(InputError, match=name):
        load(folder)


@pytest.mark.parametrize("content", [None, "", "[]", '{"format": 2}'])
def test_a_missing_or_damaged_manifest_is_refused(folder: Path, content: str | None) -> None:
    file = folder / "versions" / "0001" / "manifest.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json is missing or damaged"):
        load(folder)


def test_another_format_is_refused_with_its_remedy(folder: Path) -> None:
    rewrite(folder, "config.toml", lambda text: text.replace(b"format = 6", b"format = 5"))
    with pytest.raises(InputError, match=r"written in format 5, and this pyrorec reads 6: fit it again .*config\.toml"):
        load(folder)


def rewrite(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Changes a file of version 0001 and its hash in the manifest, as one who means to would."""
    version = folder / "versions" / "0001"
    content = change((version / name).read_bytes())
    assert content != (version / name).read_bytes()
    (version / name).write_bytes(content)
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (version / "manifest.json").write_text(json.dumps(manifest))


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="holds no run"):
            load(place)


def test_a_folder_that_holds_something_else_is_refused(run: Run, tmp_path: Path) -> None:
    """Nothing in it is touched; nor is a file where the folder should be."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        run.save(tmp_path)
    with pytest.raises(InputError, match=r"thesis\.txt is a file"):
        run.save(tmp_path / "thesis.txt")
    with pytest.raises(InputError, match=r"thesis\.txt is a file"):
        run.save(tmp_path / "thesis.txt" / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    assert (tmp_path / "thesis.txt").read_text() == "mine"


# --- crashes


class Crashed(OSError):
    """In place of a full disk."""


def crash_at(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """The writer named stops in the middle of its file, or the renaming it names does not happen."""

    def half_written(table: pd.DataFrame, path: Path, **_: Any) -> None:
        if where.strip(".") in str(path):
            Path(path).write_bytes(b"half a f")
            raise Crashed
        original(table, path)

    def tensors(path: Path, *_: Any) -> None:
        path.with_name(f".{path.name}.partial").write_bytes(b"half a f")
        raise Crashed

    def no_draws(*_: Any) -> None:
        raise Crashed

    def no_rename(source: Path, target: Path) -> None:
        if Path(source).name.endswith(where.removeprefix("rename ")):
            raise Crashed
        rename(source, target)

    original, rename = pd.DataFrame.to_parquet, os.replace
    if where.endswith(".parquet"):
        monkeypatch.setattr(pd.DataFrame, "to_parquet", half_written)
    elif where == "weights":
        monkeypatch.setattr(store, "write_tensors", tensors)
    elif where == "draws":
        monkeypatch.setattr(Run, "to_arviz", no_draws)
    else:
        monkeypatch.setattr(store.os, "replace", no_rename)


CRASHES = ["weights", "ids.parquet", "features.parquet", "draws", "rename .saving"]


@pytest.mark.usefixtures("without_draws")
@pytest.mark.parametrize("where", CRASHES)
def test_a_crash_while_writing_leaves_the_earlier_version_current(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """And the next save works, with no partial file inside its version."""
    before = hashes(folder / "versions" / "0001")
    with monkeypatch.context() as patch:
        crash_at(patch, where)
        with pytest.raises(Crashed):
            run.save(folder)
    assert versions(folder) == ["0001"]
    assert os.readlink(folder / "current") == "versions/0001"
    assert hashes(folder / "versions" / "0001") == before
    assert_same_numbers(load(folder), run)
    run.save(folder)
    assert versions(folder) == ["0001", "0002"]
    assert leftovers(folder) == []
    assert_same_numbers(load(folder), run)
    manifest = json.loads((folder / "versions" / "0002" / "manifest.json").read_text())["files"]
    assert set(manifest) == set(before) - {"manifest.json"}


@pytest.mark.usefixtures("without_draws")
@pytest.mark.parametrize("where", ["rename .current.new", "rename .weights.safetensors.new"])
def test_a_crash_while_links_are_swapped_can_be_mended_by_saving_again(
    folder: Path, run: Run, other: Run, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Before the link `current` is swapped readers see the old version, after it the new one."""
    with monkeypatch.context() as patch:
        crash_at(patch, where)
        with pytest.raises(Crashed):
            other.save(folder)
    assert versions(folder) == ["0001", "0002"]
    assert_same_numbers(load(folder), run if "current" in where else other)
    other.save(folder)
    assert os.readlink(folder / "current") == "versions/0003"
    assert_same_numbers(load(folder), other)


@pytest.mark.usefixtures("without_draws")
def test_a_crash_of_the_first_save_leaves_no_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        crash_at(patch, "draws")
        with pytest.raises(Crashed):
            run.save(tmp_path / "run")
    with pytest.raises(InputError, match="holds no run"):
        load(tmp_path / "run")
    run.save(tmp_path / "run")
    assert_same_numbers(load(tmp_path / "run"), run)


@pytest.mark.usefixtures("without_draws")
def test_nothing_of_a_crashed_save_enters_the_next_version(
    folder: Path, run: Run, other: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` has feature tables, `other` has none, so a version of `other` holds none and loads without."""
    with monkeypatch.context() as patch:
        crash_at(patch, "draws")
        with pytest.raises(Crashed):
            run.save(folder)
    version = other.save(folder)
    assert sorted(p.name for p in version.glob("*_features.parquet")) == []
    assert load(folder).log.user_features is None


DRIVER = """
import os, signal, sys, warnings
import h5netcdf, pyarrow.parquet, torch
from pyrorec.inference.store import load, save
from pyrorec.inference.to_arviz import import_arviz
from pathlib import Path

warnings.simplefilter("ignore")
import_arviz()
torch.set_num_threads(1)
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
run = load(source)
WATCHED = ("os.rename", "os.symlink", "os.remove", "os.chmod", "open")
count, limit = 0, None

def hook(event, arguments):
    global count
    if limit is None or event not in WATCHED or str(folder) not in str(arguments[0]):
        return
    count += 1
    if count > limit:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        limit = int(line)
        code = 0
        try:
            save(run, folder)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            code = 1
        os.write(1, f"{count} ".encode())
        os._exit(code)
    _, status = os.waitpid(child, 0)
    os.write(1, f"{os.waitstatus_to_exitcode(status)}\\n".encode())
"""
"""Saves a run in children of its own. Each is told how many file operations it survives."""


@pytest.mark.fault
def test_a_process_killed_while_saving_never_leaves_an_unreadable_run(run: Run, saved_once: Path, folder: Path) -> None:
    """SIGKILL before each of twenty file operations spread over a save, the last ones of its publication included.

    After each kill the folder loads, and holds the run.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(saved_once), str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip

    def save_until(operations: int) -> list[int]:
        """Exit status of a child that saves, after the operations it did if it came to its end."""
        assert driver.stdin is not None
        assert driver.stdout is not None
        driver.stdin.write(f"{operations}\n")
        driver.stdin.flush()
        return [int(word) for word in driver.stdout.readline().split()]

    try:
        operations, status = save_until(10**9)
        assert status == 0
        assert operations > 40
        unreadable, statuses = [], []
        for survived in np.linspace(0, operations - 1, 20).astype(int):
            statuses += save_until(int(survived))
            try:
                assert_same_numbers(load(folder), run)
            except Exception as error:
                unreadable.append((survived, repr(error)))
        assert unreadable == []
        assert statuses == [-signal.SIGKILL] * 20
        assert save_until(10**9)[-1] == 0
    finally:
        assert driver.stdin is not None
        assert driver.stdout is not None
        driver.stdin.close()
        driver.wait(timeout=30)
        driver.stdout.close()
    assert leftovers(folder) == []
    for name in versions(folder):
        assert_same_numbers(load(folder / "versions" / name), run)


# --- no pickle


class Payload:
    """What a pickle runs when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("forged", [False, True], ids=["hash as it was", "hash forged"])
def test_weights_replaced_by_a_pickle_are_refused_unread(folder: Path, tmp_path: Path, forged: bool) -> None:
    mark = tmp_path / "executed"
    content = pickle.dumps(Payload(mark))
    if forged:
        rewrite(folder, "weights.safetensors", lambda _: content)
    else:
        (folder / "versions" / "0001" / "weights.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.safetensors (is damaged|is missing or was changed)"):
        load(folder)
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists(), "the payload would have shown that it was read"


UNSAFE = re.compile(r"pickle|torch\.load\(|weights_only\s*=\s*False|ParamStore\.load|param_store\(\)\.load")
ROOMS = (
    "models", "guides", "inference", "data", "evaluation", "baselines", "simulation", "report", "src", "examples",
    "benchmarks", "notebooks",
)  # fmt: skip


def test_no_source_file_reads_or_writes_pickles() -> None:
    assert all(UNSAFE.search(text) for text in ("import pickle", "torch.load(path)", "x(weights_only=False)"))
    sources = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(sources) > 80
    found = [str(path) for path in sources if UNSAFE.search(path.read_text(encoding="utf-8"))]
    assert found == []
