"""The wheel, built offline from the tracked files, works in a folder that knows nothing of the checkout."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

import pytest

import pyrorec as pr

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "pyrorec"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PIP_NO_INDEX": "1"}

ELSEWHERE = """
import importlib, json, os, pkgutil, sys
import pyrorec
names = [m.name for m in pkgutil.walk_packages(pyrorec.__path__, "pyrorec.") if m.name != "pyrorec.__main__"]
for name in names:
    importlib.import_module(name)
train, test = pyrorec.embedded_log()
files = {n: os.path.realpath(m.__file__) for n, m in sys.modules.items() if n.split(".")[0] == "pyrorec"}
cells = [len(train), len(test), int(train.value.sum()), int(test.value.sum())]
print(json.dumps({"names": names, "files": files, "cells": cells, "truth": len(pyrorec.embedded_truth().popularity)}))
"""


@dataclass(frozen=True)
class Built:
    """A wheel's folder of unpacked files, and their names in it."""

    folder: Path
    names: frozenset[str]

    def metadata(self, name: str) -> str:
        """The text of a file of its .dist-info."""
        (path,) = self.folder.glob(f"pyrorec-*.dist-info/{name}")
        return path.read_text(encoding="utf-8")


def tracked() -> list[str]:
    """The files that git knows and that are there."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: which files belong to the project is not known")
    return [name for name in done.stdout.split("\0") if name and os.path.lexists(ROOT / name)]


def run(*words: object, folder: Path, **more: str) -> str:
    """Standard output of `python WORDS` in a folder, which must end well."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=os.environ | ENVIRONMENT | more,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def packaged() -> dict[str, Path]:
    """What the wheel must hold of the package, by its name there: tracked code, marker and embedded data."""
    rooms = {path.name: path.resolve().relative_to(ROOT).as_posix() for path in PACKAGE.iterdir() if path.is_symlink()}
    found = {}
    for name in tracked():
        for start, home in (("src/pyrorec", "pyrorec"), *((room, f"pyrorec/{link}") for link, room in rooms.items())):
            if name.startswith(f"{start}/") and not (ROOT / name).is_dir():
                found[home + name.removeprefix(start)] = ROOT / name
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The wheel, built without network from a copy of the tracked files, and unpacked."""
    source, dist, folder = (tmp_path_factory.mktemp(name) for name in ("source", "dist", "site"))
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    assert (source / "src" / "pyrorec" / "models").is_symlink()
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", dist, source, folder=dist)
    shutil.rmtree(source)
    (file,) = dist.iterdir()
    assert file.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder)
        yield Built(folder, frozenset(name for name in archive.namelist() if not name.endswith("/")))


def test_the_wheel_holds_every_tracked_file_of_the_package_unchanged(wheel: Built) -> None:
    expected = packaged()
    assert {"pyrorec/py.typed", "pyrorec/cli.py", "pyrorec/data/embedded/train.parquet"} <= set(expected)
    assert {name for name in wheel.names if name.startswith("pyrorec/")} == set(expected)
    changed = [name for name, path in expected.items() if (wheel.folder / name).read_bytes() != path.read_bytes()]
    assert changed == []


def test_the_wheel_holds_nothing_beside_the_package_and_its_description(wheel: Built) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert {name.split("/")[0] for name in wheel.names} == {"pyrorec", f"pyrorec-{version}.dist-info"}
    inner = {part for name in wheel.names for part in Path(name).parts}
    assert not inner & {"tests", "examples", "notebooks", "benchmarks", "docs", "__pycache__"}


def test_the_wheel_declares_command_version_licence_and_dependencies(wheel: Built) -> None:
    entries = configparser.ConfigParser()
    entries.read_string(wheel.metadata("entry_points.txt"))
    assert dict(entries["console_scripts"]) == {"pyrorec": "pyrorec.cli:main"}
    about = message_from_string(wheel.metadata("METADATA"))
    assert about["Version"] == pr.__version__
    assert about["License-Expression"] == "Apache-2.0"
    assert wheel.metadata("licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "## On the command line" in about.get_payload()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [line for line in about.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(set("<>=, ".join(needed))) == sorted(set("<>=, ".join(project["dependencies"])))
    assert len(needed) == len(project["dependencies"])


def test_every_module_of_the_wheel_imports_in_a_strange_folder(wheel: Built, tmp_path: Path) -> None:
    found = json.loads(run("-c", ELSEWHERE, folder=tmp_path, PYTHONPATH=str(wheel.folder)).splitlines()[-1])
    modules = {name for name in packaged() if name.endswith(".py")}
    dotted = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in modules}
    assert {"pyrorec", *found["names"], "pyrorec.__main__"} == dotted
    strangers = {name: file for name, file in found["files"].items() if not file.startswith(f"{wheel.folder}/")}
    assert strangers == {}
    assert len(found["files"]) >= len(dotted) - 1
    train, test = pr.embedded_log()
    assert found["cells"] == [len(train), len(test), int(train.value.sum()), int(test.value.sum())]
    assert found["truth"] == train.n_items
    assert list(tmp_path.iterdir()) == []


def test_the_command_of_the_wheel_answers_in_a_strange_folder(wheel: Built, tmp_path: Path) -> None:
    answer = run("-m", "pyrorec", "datasets", folder=tmp_path, PYTHONPATH=str(wheel.folder))
    assert answer.count("licence: ") == len(pr.catalogue())
