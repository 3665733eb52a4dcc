"""The command line called in this process, and the files that its tests share."""

from __future__ import annotations

import contextlib
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from conftest import left_empty

from pyrorec.cli import main
from pyrorec.simulation import FrailtyWorld

WORLD = FrailtyWorld(users=40, items=25, mean_count=0.5, random_per_user=8)
QUICK = ("--epochs", "2", "--factors", "3", "--quiet")


@dataclass(frozen=True)
class Said:
    """How a command ended and what it wrote on both streams."""

    code: int
    out: str
    err: str


def pyrorec(*words: object) -> Said:
    """Runs `pyrorec WORDS` and catches everything it says."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Said(code, out.getvalue(), err.getvalue())


def succeeds(*words: object) -> Said:
    """The command, which must end well and say nothing on standard error."""
    said = pyrorec(*words)
    assert (said.code, said.err) == (0, ""), f"{words}: {said.err}"
    return said


def snapshot(folder: Path) -> dict[str, str]:
    """Every path below a folder with the hash of its content, or where it links to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = f"-> {path.readlink()}"
        else:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def refused(folder: Path, *words: object) -> str:
    """The one sentence with which a command is refused, which must leave `folder` as it was."""
    before = snapshot(folder)
    said = pyrorec(*words)
    assert said.code not in (0, None), f"{words} was accepted: {said.out}"
    lines = said.err.splitlines()
    assert len(lines) == 1, f"{words} said on standard error: {said.err}"
    assert lines[0].startswith("pyrorec: "), lines[0]
    assert "Traceback" not in lines[0]
    assert len(lines[0]) > 30, f"too short to help: {lines[0]}"
    assert snapshot(folder) == before, f"{words} left something behind"
    return lines[0]


def prepared(base: Path) -> Path:
    """A folder with logs, features, tests and three small runs: counts, clicks and plain (without popularity).

    Their pages are empty, and so are the draws of all but the first.
    """
    folder = base / "command-line"
    if folder.exists():
        return folder
    folder.mkdir()
    world = WORLD.simulate(0)
    train, test = world.train.to_frame(), world.test.to_frame()
    train[["user_id", "item_id", "value", "timestamp"]].to_csv(folder / "log.csv", index=False)
    test[["user_id", "item_id", "value"]].to_csv(folder / "test.csv", index=False)
    assert world.train.user_features is not None
    assert world.train.item_features is not None
    world.train.user_features.reset_index().to_csv(folder / "users.csv", index=False)
    world.train.item_features.reset_index().to_parquet(folder / "items.parquet", index=False)
    features = ("--user-features", folder / "users.csv", "--item-features", folder / "items.parquet")
    with left_empty("report"):
        succeeds("fit", folder / "log.csv", "--out", folder / "counts", *features, *QUICK)
    with left_empty("report", "draws"):
        succeeds("fit", folder / "test.csv", "--out", folder / "clicks", *QUICK)
        succeeds("fit", folder / "log.csv", "--out", folder / "plain", "--predictor", "plain", "--binarise", *QUICK)
    return folder
