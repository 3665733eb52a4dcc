"""Logs in every form that the page names, through `fit`: what it says of them and what it keeps."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import left_empty
from harness import succeeds

QUICKEST = ("--epochs", "2", "--factors", "2", "--quiet")
USERS, ITEMS = ["ann", "bob", "cyd", "dan"], ["tea", "jam", "oat"]
COUNTS = [1, 7, 2, 3, 1, 1, 9, 2, 1, 4]


@pytest.fixture(autouse=True)
def without_report_and_draws() -> Iterator[None]:
    """What is kept of a log is asked here."""
    with left_empty("report", "draws"):
        yield


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def grid(values: list[Any] | None = None, users: list[Any] = USERS, items: list[Any] = ITEMS) -> pd.DataFrame:
    """The first pairs of users and items, one a value (ten without values); no user or item is left without one."""
    pairs = [(users[n % len(users)], items[n % len(items)]) for n in range(10 if values is None else len(values))]
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"])
    return frame if values is None else frame.assign(value=values)


def fitted(log: str, *flags: str) -> tuple[pd.DataFrame, str]:
    """The cells that a fit kept, with their ids, and what it said on standard output."""
    said = succeeds("fit", log, "--out", "run", *flags, *QUICKEST)
    ids = pd.read_parquet("run/ids.parquet")
    cells = pd.read_parquet("run/interactions.parquet")
    for side in ("user", "item"):
        known = ids[ids["side"] == side]
        assert list(known["code"]) == list(range(len(known)))
        cells[side] = [json.loads(known["id"].iloc[code]) for code in cells[side]]
    return cells, said.out


def chosen() -> tuple[str, str, str | float, bool]:
    """Family, predictor, meaning of a missing cell and binarisation of the run's config.toml."""
    plain = tomllib.loads(Path("run/config.toml").read_text(encoding="utf-8"))
    model = plain["model"]
    return model["family"]["name"], model["predictor"]["name"], plain["missing"], model["binarise"]


def rows(cells: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return list(cells[["user", "item", *columns]].itertuples(index=False, name=None))


WRITERS: dict[str, Callable[[pd.DataFrame, str], None]] = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "txt.gz": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "parquet": lambda frame, path: frame.to_parquet(path, index=False),
}


@pytest.mark.parametrize("ending", WRITERS)
def test_the_same_log_in_every_format(ending: str) -> None:
    """Values that need quotes, signs beyond ASCII and a column of no concern travel along."""
    users = ['ann, "the first"', "bób", "cyd\tx", "NA"]
    log = grid(COUNTS, users=users).assign(timestamp=np.arange(10) + 1_700_000_000, note="x")
    WRITERS[ending](log, f"log.{ending}")
    if ending.endswith("gz"):
        assert Path(f"log.{ending}").read_bytes()[:2] == b"\x1f\x8b"
    cells, out = fitted(f"log.{ending}")
    assert rows(cells, "value", "timestamp") == list(log.drop(columns="note").itertuples(index=False, name=None))
    assert list(cells.columns) == ["user", "item", "value", "trials", "timestamp"]
    assert (cells["trials"] == 1).all()
    assert out.startswith(f"log.{ending}: Interactions(4 users x 3 items, 10 cells, counts")
    assert "found counts; model: family poisson, predictor log-additive, values, missing cells zeros\n" in out
    assert chosen() == ("poisson", "log-additive", "zero", False)


@pytest.mark.parametrize(
    ("users", "kept", "file"),
    [
        (["1", "2", "30", "-4"], [1, 2, 30, -4], "log.csv"),
        (["007", "7", "08", "x"], ["007", "7", "08", "x"], "log.csv"),
        (["1.5", "2", "3", "4"], ["1.5", "2", "3", "4"], "log.csv"),
        ([7, 2**40, -3, 0], [7, 2**40, -3, 0], "log.parquet"),
        ([1.0, 2.0, 30.0, 4.0], [1, 2, 30, 4], "log.parquet"),
        ([1.5, 2.25, -3.0, 4.0], [1.5, 2.25, -3.0, 4.0], "log.parquet"),
    ],
    ids=["numbers in text", "leading zeros", "fractions in text", "integers", "whole floats", "floats"],
)
def test_ids_come_back_as_they_were_meant(users: list[Any], kept: list[Any], file: str) -> None:
    WRITERS[file.removeprefix("log.")](grid(COUNTS, users=users), file)
    cells, _ = fitted(file)
    expected = [kept[n % 4] for n in range(10)]
    assert list(cells["user"]) == expected
    assert [type(user) for user in cells["user"]] == [type(user) for user in expected]
    grid(COUNTS, users=users).to_csv("pairs.csv", index=False)
    out = succeeds("score", "run", "pairs.csv", "--output", "out.csv").out
    assert "unknown" not in out, "the same ids in a CSV file are the same users"
    assert pd.read_csv("out.csv")["mean"].nunique() == 10


@pytest.mark.parametrize(
    ("stamps", "seconds", "file"),
    [
        (["2024-01-01", "2024-01-02T12:00", "2024-01-01T00:00:00+01:00"], [0, 129_600, -3_600], "log.csv"),
        (["1704067200", "1704067201.5", "1704067199"], [0, 1.5, -1], "log.csv"),
        (list(pd.to_datetime(["2024-01-01", "2024-01-02", "2023-12-31"])), [0, 86_400, -86_400], "log.parquet"),
        (
            list(pd.to_datetime(["2024-01-01", "2024-01-02", "2023-12-31"]).tz_localize("Asia/Tokyo")),
            [-32_400, 54_000, -118_800],
            "log.parquet",
        ),
    ],
    ids=["ISO 8601", "unix seconds", "dates", "dates with a zone"],
)
def test_dates_become_seconds_since_1970(stamps: list[Any], seconds: list[float], file: str) -> None:
    log = grid(COUNTS).assign(timestamp=[stamps[n % 3] for n in range(10)])
    WRITERS[file.removeprefix("log.")](log, file)
    cells, _ = fitted(file)
    np.testing.assert_array_equal(cells["timestamp"] - 1_704_067_200, [seconds[n % 3] for n in range(10)])


REPEATED = [0, 1, 2, 0, 0, 1]
"""Three records of the first pair (places 0, 3 and 4), two of the second (1 and 5), one of the third."""


@pytest.mark.parametrize(
    ("values", "cells", "rule", "choice", "told"),
    [
        (
            [5, 1, 7, 2, 3, 1],
            [(10, 1), (2, 1), (7, 1)],
            "summed",
            ("poisson", "log-additive", "zero", False),
            "found counts; model: family poisson, predictor log-additive, values, missing cells zeros",
        ),
        (
            [1, 0, 1, 0, 1, 0],
            [(2, 3), (0, 2), (1, 1)],
            "added up to (clicks, trials)",
            ("bernoulli", "additive", "unobserved", False),
            "found clicks with true negatives; model: family bernoulli, predictor additive, values, "
            "missing cells unobserved",
        ),
        (
            [5, 1, 3, 2, 4, 3],
            [(4, 1), (3, 1), (3, 1)],
            "reduced to the last one",
            ("poisson", "log-additive", "zero", True),
            "found implicit clicks (whole numbers in 1..5); model: family poisson, predictor log-additive, "
            "binarised values, missing cells zeros",
        ),
        (
            [4.5, 1, 3, 2, 0.5, 2.5],
            [(0.5, 1), (2.5, 1), (3, 1)],
            "reduced to the last one",
            ("gaussian", "additive", "unobserved", False),
            "found ratings (real values); model: family gaussian, predictor additive, values, missing cells unobserved",
        ),
        (
            None,
            [(3, 1), (2, 1), (1, 1)],
            "summed",
            ("poisson", "log-additive", "zero", True),
            "found implicit clicks (whole numbers in 1..5); model: family poisson, predictor log-additive, "
            "binarised values, missing cells zeros",
        ),
        (
            [0, 1, 7, 2, 3, 0],
            [(5, 1), (1, 1), (7, 1)],
            "summed",
            ("poisson", "log-additive", "unobserved", False),
            "found counts; model: family poisson, predictor log-additive, values, missing cells unobserved",
        ),
    ],
    ids=["counts", "clicks", "grades", "ratings", "no values", "counts with zeros"],
)
def test_repeated_records_become_one_cell_and_the_choice_is_told(
    values: list[float] | None,
    cells: list[tuple[float, float]],
    rule: str,
    choice: tuple[str, str, str, bool],
    told: str,
) -> None:
    pairs = [("ann", "tea"), ("bob", "jam"), ("cyd", "oat")]
    log = pd.DataFrame([pairs[n] for n in REPEATED], columns=["user_id", "item_id"])
    (log if values is None else log.assign(value=values)).to_csv("log.csv", index=False)
    kept, out = fitted("log.csv")
    expected = [(*pair, *cell) for pair, cell in zip(pairs, cells, strict=True)]
    assert rows(kept, "value", "trials") == expected
    lines = out.splitlines()
    sentence = "3 of 6 records repeat an earlier (user, item); the records of each were"
    assert f"log.csv: {sentence} {rule}, which leaves 3 cells." in lines
    assert told in lines
    assert ("log.csv has no column 'value': each record counts 1." in lines) == (values is None)
    assert chosen() == choice
    assert tomllib.loads(Path("run/config.toml").read_text(encoding="utf-8"))["reason"] == told


def test_the_last_rating_is_the_latest_by_time_not_by_place() -> None:
    log = grid([2.5, 1.5, 3.5]).assign(timestamp=["2024-01-03", "2024-01-01", "2024-01-01"])
    again = log.head(1).assign(value=0.5, timestamp="2024-01-02")
    pd.concat([log, again]).to_csv("log.csv", index=False)
    cells, out = fitted("log.csv")
    assert list(cells["value"]) == [2.5, 1.5, 3.5]
    assert cells["timestamp"][0] == 1_704_240_000
    assert "1 of 4 records repeat an earlier (user, item)" in out


def test_a_log_without_repeated_records_is_not_said_to_have_any() -> None:
    grid(COUNTS).to_csv("log.csv", index=False)
    _, out = fitted("log.csv")
    assert "repeat" not in out
    assert "has no column" not in out


def test_records_that_were_exposed_differently_stay_apart() -> None:
    log = grid([1, 0, 1, 0]).assign(exposure=["biased", "random", "biased", "random"], propensity=[0.5, 0.2, 1, 0.1])
    again = log.head(1).assign(value=0, propensity=0.25)
    other = log.head(1).assign(value=0, exposure="random", propensity=0.1)
    pd.concat([log, again, other]).to_csv("log.csv", index=False)
    cells, out = fitted("log.csv")
    mine = cells[(cells["user"] == "ann") & (cells["item"] == "tea")].set_index("exposure")
    assert dict(mine["value"]) == {"biased": 1, "random": 0}
    assert dict(mine["trials"]) == {"biased": 2, "random": 1}
    assert mine["propensity"].to_dict() == pytest.approx({"biased": 1 / 3, "random": 0.1})
    assert "1 of 6 records repeat an earlier (user, item, exposure)" in out


def test_what_an_absent_cell_says_is_told_and_kept() -> None:
    grid(COUNTS).to_csv("log.csv", index=False)
    _, out = fitted("log.csv", "--missing", "0.25")
    assert "missing cells zeros of weight 0.25" in out
    assert chosen() == ("poisson", "log-additive", 0.25, False)


def test_grades_are_ratings_where_the_family_says_so() -> None:
    grid([1, 5, 2, 3, 4, 4]).to_csv("log.csv", index=False)
    cells, out = fitted("log.csv", "--family", "gaussian")
    assert "model: family gaussian, predictor additive, values, missing cells unobserved" in out
    assert list(cells["value"]) == [1, 5, 2, 3, 4, 4]
    assert chosen() == ("gaussian", "additive", "unobserved", False)
