"""What importing loads, and what no source may say."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyrorec as pr

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "pyrorec"
HEAVY = ("torch", "pyro", "arviz", "matplotlib")

EVERYTHING = """
import importlib, json, os, pkgutil, sys
import pyrorec
for module in pkgutil.walk_packages(pyrorec.__path__, "pyrorec."):
    importlib.import_module(module.name)
given = [(name, getattr(module, "__file__", None) or "") for name, module in list(sys.modules.items())]
print(json.dumps([(name, os.path.realpath(file)) for name, file in given if os.path.isabs(file)]))
"""
LOADED = """
import contextlib, io, json, sys
from importlib.metadata import entry_points
questions, heavy, found = json.loads(sys.argv[1]), json.loads(sys.argv[2]), []
import pyrorec
for words in questions:
    said = io.StringIO()
    if words:
        (command,) = [e for e in entry_points(group="console_scripts") if e.name == "pyrorec"]
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            command.load()(words)
    found.append([sorted({name.split(".")[0] for name in sys.modules} & set(heavy)), said.getvalue()])
print(json.dumps(found))
"""


def python(code: str, *arguments: str) -> str:
    """The last line that a fresh Python prints, started in the root of the checkout."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


def tracked(*endings: str) -> dict[str, str]:
    """The text of the tracked files with these endings (all text files if none is given), by name."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout: which files belong to the project is not known")
    found = {}
    for name in done.stdout.split("\0"):
        path = ROOT / name
        if path.is_file() and not path.is_symlink() and (not endings or path.suffix in endings):
            content = path.read_bytes()
            if b"\0" not in content[:4096]:
                found[name] = content.decode("utf-8")
    return found


def sources() -> dict[str, str]:
    """The tracked Python files of the rooms and of the door."""
    rooms = {path.resolve().relative_to(ROOT).parts[0] for path in PACKAGE.iterdir() if path.is_symlink()}
    assert {"models", "guides", "inference", "data", "evaluation", "simulation", "baselines", "report"} == rooms
    return {name: text for name, text in tracked(".py").items() if Path(name).parts[0] in {*rooms, "src"}}


def lines_with(pattern: str, texts: dict[str, str]) -> list[str]:
    """Where a pattern stands, as file:line: text."""
    return [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]


def test_no_file_is_loaded_under_two_names() -> None:
    """Started in the root, where a bare `import models` would find the room a second time."""
    names: dict[str, list[str]] = {}
    for name, file in json.loads(python(EVERYTHING)):
        if Path(file).is_relative_to(ROOT) and "site-packages" not in file:
            names.setdefault(str(Path(file).relative_to(ROOT)), []).append(name)
    assert {file: n for file, n in names.items() if len(n) > 1 or not n[0].startswith("pyrorec")} == {}
    assert set(names) == set(sources()), "every module was imported, and nothing but the package"


def test_importing_and_helping_wait_for_no_heavy_library() -> None:
    """One after the other in one process, so the first that loads something is the one to blame."""
    questions = {"": "", "--help": "recommend", "fit --help": "--user-features", "datasets": "online_retail"}
    answers = json.loads(python(LOADED, json.dumps([words.split() for words in questions]), json.dumps(HEAVY)))
    for (words, said), (loaded, out) in zip(questions.items(), answers, strict=True):
        assert loaded == [], words
        assert said in out, words


@pytest.mark.parametrize("name", pr.__all__)
def test_public_names_resolve_and_are_documented(name: str) -> None:
    value = getattr(pr, name)
    assert name in dir(pr)
    assert inspect.isclass(value) or callable(value)
    assert value.__name__ == name
    assert value.__module__.startswith("pyrorec.")
    own = value.__doc__ or ""
    assert len(own.split()) >= 4, f"{name} has no docstring"
    assert not own.startswith(f"{name}("), f"{name} has only the docstring that dataclass makes"


def test_public_names_are_sorted_and_stand_once() -> None:
    assert pr.__all__ == sorted(set(pr.__all__))
    assert len(pr.__all__) > 40
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pr.nonsense  # noqa: B018


def test_modules_classes_and_public_functions_have_docstrings() -> None:
    bare = []
    for name, text in sources().items():
        tree = ast.parse(text)
        if ast.get_docstring(tree) is None:
            bare.append(f"{name}:1 module")
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                continue
            if ast.get_docstring(node) is None:
                bare.append(f"{name}:{node.lineno} {node.name}")
    assert bare == []


@pytest.mark.parametrize(
    "pattern",
    [r"(?i)pickle", r"torch\.load\(", r"weights_only\s*=\s*False", r"ParamStore", r"param_store", r"\bpyro\.param\("],
)
def test_no_source_uses(pattern: str) -> None:
    """Open formats only, and never the global parameter store."""
    texts = sources() | {
        name: text
        for name, text in tracked(".py", ".ipynb").items()
        if Path(name).parts[0] in ("examples", "notebooks", "benchmarks")
    }
    assert {"examples/train_bivae.py", "notebooks/quickstart.ipynb", "inference/store.py"} <= set(texts)
    assert lines_with(pattern, texts) == []


ABSOLUTE = r"(?<![\w.:/~-])/(work|root|home|Users|tmp|mnt|opt|private)(/|\b(?!\w))"


@pytest.mark.parametrize(
    ("pattern", "guilty", "innocent"),
    [
        (ABSOLUTE, "cd /" + "work/main", "a folder such as runs/work, homework"),
        (ABSOLUTE, '"file": "/' + 'root/x.py"', "https://example.org/" + "root/x"),
    ],
)
def test_no_tracked_text_names_a_place_of_its_author(pattern: str, guilty: str, innocent: str) -> None:
    assert lines_with(pattern, {"x": f"{innocent}\n{guilty}"}) == [f"x:2: {guilty}"]
    texts = tracked()
    assert {"README.md", "Makefile", "constraints.txt", "notebooks/quickstart.ipynb"} <= set(texts)
    assert lines_with(pattern, texts) == []
