"""Logs that no model can be fitted to are refused in one sentence, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from harness import QUICK, WORLD, prepared, refused

HEAD = "user_id,item_id,value\n"
GOOD = "u1,i1,3\nu1,i2,9\nu2,i1,1\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["log.csv", "complete"]),
        (HEAD, ["log.csv", "no record"]),
        ("user_id,value\nu1,3\nu2,4\n", ["log.csv", "item_id", "--item-column"]),
        ("item_id,value\ni1,3\ni2,4\n", ["log.csv", "user_id", "--user-column"]),
        (HEAD + GOOD + "u3,i2,nan\n", ["log.csv", "value", "row 4", "drop"]),
        (HEAD + GOOD + "u3,i2,\n", ["log.csv", "value", "row 4", "drop"]),
        (HEAD + GOOD + "u3,i2,inf\n", ["log.csv", "infinite", "row 4"]),
        (HEAD + GOOD + "u3,i2,-2\n", ["log.csv", "-2", "row 4", "gaussian"]),
        (HEAD + GOOD + "u3,i2,many\n", ["log.csv", "'many'", "row 4", "numbers"]),
        (HEAD + GOOD + "u3,i2,1e400\n", ["log.csv", "row 4"]),
        (HEAD + GOOD + ",i2,2\n", ["log.csv", "user_id", "row 4"]),
        (HEAD + GOOD + "u3,,2\n", ["log.csv", "item_id", "row 4"]),
        (HEAD + GOOD + "u3,i2,2,7\n", ["log.csv"]),
        (HEAD + "u1,i1,3\nu1,i2,9\n", ["'u1'", "two users"]),
        (HEAD + "u1,i1,3\nu2,i1,9\n", ["'i1'", "two items"]),
        (HEAD + GOOD + "u1,i3,0\nu2,i3,0\n", ["'i3'", "nobody touched it", "drop"]),
        (HEAD + "u1,i1,0\nu1,i2,0\nu2,i1,0\n", ["all values are zero", "value column"]),
        ("user_id,item_id,value,timestamp\nu1,i1,1,soon\nu2,i2,1,2024-01-01\n", ["timestamp", "'soon'", "row 1"]),
        ("user_id,item_id,value,exposure\nu1,i1,1,biased\nu2,i2,1,lucky\n", ["exposure", "'lucky'", "row 2"]),
        ("user_id,item_id,value,propensity\nu1,i1,1,.5\nu2,i2,1,2\n", ["propensity", "row 2"]),
    ],
)
def test_text(place: Path, text: str, words: list[str]) -> None:
    (place / "log.csv").write_text(text, encoding="utf-8")
    sentence = refused(place, "fit", "log.csv", "--out", "run", *QUICK)
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize("content", [b"", b"PAR1", b"user_id,item_id\nu1,i1\n", b"PAR1" + bytes(200) + b"PAR1"])
def test_what_is_no_parquet(place: Path, content: bytes) -> None:
    (place / "log.parquet").write_bytes(content)
    sentence = refused(place, "fit", "log.parquet", "--out", "run", *QUICK)
    assert "log.parquet" in sentence
    assert "complete" in sentence


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_truncated_parquet(place: Path, share: float) -> None:
    WORLD.simulate(0).train.to_frame().to_parquet(place / "whole.parquet", index=False)
    content = (place / "whole.parquet").read_bytes()
    (place / "log.parquet").write_bytes(content[: int(share * len(content))])
    assert "log.parquet" in refused(place, "fit", "log.parquet", "--out", "run", *QUICK)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.assign(value=f["value"].where(f.index != 2)), ["value", "row 3"]),
        (lambda f: f.assign(value=f["value"].astype(float).where(f.index != 2, np.inf)), ["infinite", "row 3"]),
        (lambda f: f.assign(value=f["value"].astype(str) + "x"), ["value", "not a number", "row 1"]),
        (lambda f: f.assign(user_id=f["user_id"].where(f.index != 1)), ["user_id", "row 2"]),
        (lambda f: f.assign(item_id=[[i] for i in f["item_id"]]), ["item_id", "lists"]),
        (lambda f: f.assign(value=pd.Timestamp("2024-01-01")), ["value", "datetime64"]),
        (lambda f: f.assign(user_id=pd.Timestamp("2024-01-01") + pd.to_timedelta(f.index % 5, "D")), ["text"]),
    ],
)
def test_parquet_columns(place: Path, change: Callable[[pd.DataFrame], pd.DataFrame], words: list[str]) -> None:
    frame = WORLD.simulate(0).train.to_frame()[["user_id", "item_id", "value"]]
    change(frame).to_parquet(place / "log.parquet", index=False)
    sentence = refused(place, "fit", "log.parquet", "--out", "run", *QUICK)
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize("name", ["absent.csv", "absent.parquet", "log.xlsx", "log", "."])
def test_files_that_are_no_table(place: Path, name: str) -> None:
    (place / "log.xlsx").write_text("x")
    (place / "log").write_text("x")
    assert name in refused(place, "fit", name, "--out", "run", *QUICK)


@pytest.mark.parametrize(
    ("flag", "column"), [("--user-column", "who"), ("--value-column", "stars"), ("--timestamp-column", "day")]
)
def test_renamed_columns_that_are_not_there(place: Path, flag: str, column: str) -> None:
    (place / "log.csv").write_text(HEAD + GOOD)
    sentence = refused(place, "fit", "log.csv", "--out", "run", flag, column, *QUICK)
    assert f"'{column}'" in sentence
    assert flag in sentence


def test_one_column_in_two_roles(place: Path) -> None:
    (place / "log.csv").write_text(HEAD + GOOD)
    sentence = refused(place, "fit", "log.csv", "--out", "run", "--item-column", "user_id", *QUICK)
    assert "'user_id'" in sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("user_id,age\nu1,30\nu1,40\n", ["features.csv", "'u1'", "more than once"]),
        ("name,age\nu1,30\n", ["features.csv", "'user_id'"]),
        ("user_id,age\nx1,30\nx2,40\n", ["user features", "'x1'"]),
        ("user_id,age\nu1,inf\nu2,40\n", ["'age'", "infinite"]),
        ("user_id,age\n,30\nu2,40\n", ["features.csv", "missing id", "row 1"]),
        ("", ["features.csv"]),
    ],
)
def test_features(place: Path, text: str, words: list[str]) -> None:
    (place / "log.csv").write_text(HEAD + GOOD)
    (place / "features.csv").write_text(text)
    sentence = refused(place, "fit", "log.csv", "--out", "run", "--user-features", "features.csv", *QUICK)
    assert all(word in sentence for word in words), sentence


def test_features_without_a_log(place: Path) -> None:
    (place / "features.csv").write_text("user_id,age\nu001,30\n")
    assert "--user-features" in refused(place, "fit", "--out", "run", "--user-features", "features.csv", *QUICK)


@pytest.mark.parametrize("value", ["1e39", "1e300"])
def test_counts_beyond_single_precision(place: Path, value: str) -> None:
    (place / "log.csv").write_text(f"{HEAD}{GOOD}u3,i2,{value}\n")
    sentence = refused(place, "fit", "log.csv", "--out", "run", *QUICK)
    assert "value" in sentence


def test_a_refused_replacement_leaves_the_run_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepared(tmp_path_factory.getbasetemp())
    monkeypatch.chdir(folder)
    sentence = refused(folder, "fit", "log.csv", "--out", "counts", "--replace", "--family", "bernoulli", *QUICK)
    assert "--binarise" in sentence
