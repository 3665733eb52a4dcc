"""`pyrorec compare` and `pyrorec tune`: what they write, and what they refuse before writing anything."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from harness import prepared, refused, succeeds

import pyrorec as pr

SPACE = """
[model]
factors = [2, 3]
hidden = [[4]]
[training]
epochs = 1
validation_fraction = 0.0
finish_epochs = 0
"""


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own as the working folder, with ways to the shared logs and runs and a small space."""
    shared = prepared(tmp_path_factory.getbasetemp())
    for name in ("log.csv", "test.csv", "counts", "clicks", "plain"):
        (tmp_path / name).symlink_to(shared / name)
    (tmp_path / "space.toml").write_text(SPACE, encoding="utf-8")
    (tmp_path / "typo.toml").write_text(SPACE.replace("factors", "factrs"), encoding="utf-8")
    monkeypatch.setattr("pyrorec.commands.fit.write_report", lambda run, path, **rest: path.touch())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_compare_writes_a_row_per_run_and_says_what_was_left_out(place: Path) -> None:
    said = succeeds("compare", "plain", "--log", "test.csv", "--at", 5, 10, "--out", "out.csv")
    table = pd.read_csv("out.csv")
    assert list(table["model"]) == ["plain"]
    assert {"elpd", "elpd_se", "difference", "difference_se", "ndcg@5", "ndcg@10"} <= set(table.columns)
    assert table["cells"][0] < len(pd.read_csv("test.csv"))
    assert "note: " in said.out
    assert "left out" in said.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("counts", "clicks", "--log", "test.csv", "--out", "out.csv"), "densities of different events"),
        (("plain", "plain", "--log", "test.csv", "--out", "out.csv"), "given twice"),
        (("plain", "--log", "absent.csv", "--out", "out.csv"), "absent.csv"),
        (("plain", "--log", "test.csv", "--out", "out.json"), ".parquet"),
        (("absent", "--log", "test.csv", "--out", "out.csv"), "no run"),
        (("plain", "--log", "test.csv", "--at", "0", "--out", "out.csv"), "--at"),
    ],
)
def test_compare_refuses(place: Path, words: tuple[str, ...], said: str) -> None:
    assert said in refused(place, "compare", *words)


def test_tune_writes_the_best_configuration_and_goes_on_where_it_stopped(place: Path) -> None:
    words = ("tune", "log.csv", "--space", "space.toml", "--out", "tuned", "--seeds", 0, 1, "--quiet")
    said = succeeds(*words)
    assert "best configuration in tuned/best.toml" in said.out
    before = Path("tuned/results.jsonl").read_text(encoding="utf-8")
    assert len(before.splitlines()) == 4
    succeeds(*words)
    assert Path("tuned/results.jsonl").read_text(encoding="utf-8") == before
    succeeds("fit", "log.csv", "--config", "tuned/best.toml", "--out", "run", "--quiet")
    assert pr.load("run").spec.factors in (2, 3)
    assert pr.load("run").training.epochs == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--space", "typo.toml", "--out", "new"), "factrs"),
        (("--space", "absent.toml", "--out", "new"), "absent.toml"),
        (("--space", "space.toml", "--out", "counts"), "something else"),
        (("--space", "space.toml", "--out", "new", "--validation", "1"), "between 0 and 1"),
        (("--space", "space.toml", "--out", "new", "--metric", "luck"), "'luck'"),
        (("--space", "space.toml", "--out", "new", "--inverse-propensity"), "propensity"),
        (("--space", "space.toml", "--out", "new", "--seeds", "1", "1"), "--seeds"),
    ],
)
def test_tune_refuses(place: Path, words: tuple[str, ...], said: str) -> None:
    assert said in refused(place, "tune", "log.csv", *words)
