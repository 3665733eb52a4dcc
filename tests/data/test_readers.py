"""Reading: every source gives the same log, every fault one sentence."""

from __future__ import annotations

import gzip
import logging
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from pyrorec.data import (
    Apart,
    Columns,
    Entry,
    InputError,
    Kind,
    Unobserved,
    Zero,
    read_features,
    read_interactions,
    split_by_exposure,
)

FRAME = pd.DataFrame(
    {
        "user_id": ["u1", "u2", "u1", "u3"],
        "item_id": [10, 10, 20, 30],
        "value": [3, 1, 8, 2],
        "timestamp": [5, 6, 7, 8],
    }
)
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix in (".parquet", ".pq"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="," if ".csv" in path.name else "\t")
    return path


def refused(source: object, *words: str, **arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        read_interactions(source, **arguments)  # type: ignore[arg-type]
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.txt", "log.csv.gz", "LOG.CSV", "log.parquet", "log.pq"])
def test_all_formats_give_the_same_log(tmp_path: Path, name: str) -> None:
    if name.isupper():
        FRAME.to_csv(tmp_path / name, index=False)
    else:
        write(FRAME, tmp_path / name)
    for path in (tmp_path / name, str(tmp_path / name)):
        log = read_interactions(path)
        pd.testing.assert_frame_equal(
            log.to_frame().drop(columns="trials"), FRAME, check_dtype=False, check_index_type=False
        )


def test_ids_in_text_files_stay_as_written(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,value\n007,NA,1\n7,None,1\n7,12,1\n")
    log = read_interactions(path)
    assert list(log.users) == ["007", "7"]
    assert list(log.items) == ["NA", "None", "12"]
    path.write_text("\ufeffuser_id,item_id,value\n7,-1,1\n8,0,1\n", encoding="utf-8")
    log = read_interactions(path)
    assert log.users.tolist() == [7, 8]
    assert log.items.tolist() == [-1, 0]


def test_renamed_columns_and_a_log_without_values(tmp_path: Path) -> None:
    path = write(FRAME.rename(columns={"user_id": "who", "item_id": "what", "value": "n"}), tmp_path / "log.parquet")
    log = read_interactions(path, columns=Columns(user="who", item="what"))
    assert log.value.tolist() == [1, 1, 1, 1]
    assert log.kind is Kind.IMPLICIT
    assert read_interactions(path, columns=Columns("who", "what", "n")).value.tolist() == [3, 1, 8, 2]
    refused(path, "log.parquet", "'user_id'", "who, what, n, timestamp", "--user-column")
    refused(path, "'plays'", "value", columns=Columns("who", "what", "plays"))
    refused(path, "'when'", "--timestamp-column", columns=Columns("who", "what", timestamp="when"))


def test_parquet_index_is_found(tmp_path: Path) -> None:
    FRAME.set_index("user_id").to_parquet(tmp_path / "log.parquet")
    assert list(read_interactions(tmp_path / "log.parquet").users) == ["u1", "u2", "u3"]


@pytest.mark.parametrize(
    ("column", "entry", "words"),
    [
        ("value", np.nan, ("missing value", "row 3", "'value'")),
        ("value", np.inf, ("infinite", "row 3")),
        ("value", "many", ("not a number", "'many'", "row 3")),
        ("value", "1,5", ("not a number", "'1,5'")),
        ("value", -2, ("-2", "row 3", "gaussian")),
        ("value", 1j, ("complex", "real numbers")),
        ("value", [1], ("not a number", "row 3")),
        ("value", pd.Timestamp("2024-01-01"), ("'value'",)),
        ("user_id", None, ("missing id", "row 3", "'user_id'")),
        ("item_id", [1], ("lists", "'item_id'")),
        ("timestamp", "yesterday", ("not a time", "'yesterday'", "row 3", "ISO 8601")),
        ("timestamp", np.nan, ("not a time", "nan", "row 3", "'timestamp'")),
        ("timestamp", "2024-05-31", ("not a time like the others", "row 3")),
        ("timestamp", None, ("row 3", "'timestamp'")),
        ("exposure", "organic", ("unknown exposure", "'organic'", "row 3")),
        ("exposure", None, ("unknown exposure", "row 3")),
        ("propensity", 0.0, ("outside (0, 1]", "row 3")),
        ("propensity", 1.2, ("outside (0, 1]", "1.2")),
        ("propensity", np.nan, ("missing value", "'propensity'")),
    ],
)
def test_a_bad_entry_is_named(column: str, entry: object, words: tuple[str, ...]) -> None:
    frame = FRAME.assign(exposure="biased", propensity=0.5).astype({column: object})
    frame.at[2, column] = entry
    refused(frame, "the data frame", *words)


def test_a_bad_entry_in_a_text_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,value\na,x,1\nb,y,two\n")
    refused(path, str(path), "'two'", "row 2")
    path.write_text("user_id,item_id,value\na,x,1\nb,y,\n")
    refused(path, "missing value", "row 2")
    path.write_text("user_id,item_id,value\na,x,1\n,y,2\n")
    refused(path, "missing id", "row 2")
    path.write_text("user_id,item_id,value\na,x,1\nb,y,2,3\n")
    refused(path, str(path), "line 3")
    path.write_text("user_id,item_id,value\na,x,1,1\nb,y,2,3\n")
    refused(path, str(path), "cannot be read as text")


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (FRAME.iloc[:0], ("no record",)),
        (FRAME.assign(user_id=1), ("at least two users",)),
        (FRAME.assign(item_id="x"), ("at least two items", "'x'")),
        (FRAME.assign(value=[0, 0, 2, 3]), ("item 10", "only zero counts")),
        (FRAME.assign(value=0), ("all values are zero",)),
        (pd.concat([FRAME, FRAME[["value"]]], axis=1), ("'value'", "twice")),
    ],
)
def test_a_poor_log_is_refused(frame: pd.DataFrame, words: tuple[str, ...]) -> None:
    refused(frame, *words)


def test_an_item_nobody_clicked_is_legitimate() -> None:
    assert read_interactions(FRAME.assign(value=[0, 0, 1, 1])).item_totals.tolist() == [0, 1, 1]


def test_negative_values_on_request() -> None:
    log = read_interactions(FRAME.assign(value=[-2, 1, 0, 3]), allow_negative=True)
    assert log.kind is Kind.RATINGS
    assert log.missing == Unobserved()
    assert log.value.tolist() == [-2, 1, 0, 3]


def test_times_of_every_form() -> None:
    seconds = [0, 60, 86_400, 86_401.5]
    dates = pd.to_datetime(np.array(seconds) * 1000, unit="ms")
    for column in (seconds, dates, dates.tz_localize("UTC").tz_convert("Asia/Tokyo"), dates.astype(str)):
        log = read_interactions(FRAME.assign(timestamp=column))
        assert log.timestamp is not None
        assert log.timestamp.tolist() == seconds
    milliseconds = read_interactions(FRAME.assign(timestamp=np.array([1, 2, 3, 2**60 + 1])))
    assert milliseconds.timestamp is not None
    assert milliseconds.timestamp[3] == 2**60 + 1


def test_unusable_paths(tmp_path: Path) -> None:
    refused(tmp_path / "none.csv", "none.csv", "no such file")
    refused(tmp_path / "log.xlsx", "unknown suffix", ".parquet")
    refused(tmp_path / "log", "unknown suffix")
    (tmp_path / "folder.parquet").mkdir()
    refused(tmp_path / "folder.parquet", "not a file")
    refused([1, 2], "list")
    for name in ("empty.csv", "empty.parquet", "empty.csv.gz"):
        (tmp_path / name).touch()
        refused(tmp_path / name, name, "cannot be read")
    (tmp_path / "latin.csv").write_bytes("user_id,item_id\nJosé,1\nb,2\n".encode("latin-1"))
    refused(tmp_path / "latin.csv", "latin.csv", "cannot be read as text")
    (tmp_path / "header.csv").write_text("user_id,item_id,value\n")
    refused(tmp_path / "header.csv", "header.csv", "no record")


def test_damaged_text_in_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    FRAME.to_parquet(path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"u2", b"\xff2"))
    refused(path, str(path), "cannot be read as Parquet")


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.csv.gz"])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_input_errors_only(tmp_path: Path, name: str, data: st.DataObject) -> None:
    good = bytearray(write(FRAME, tmp_path / f"good.{name}").read_bytes())
    kept = data.draw(st.integers(0, len(good)))
    damaged = bytearray(good[:kept])
    places = data.draw(st.lists(st.tuples(st.integers(0, max(kept - 1, 0)), st.integers(0, 255)), max_size=8))
    for place, byte in places:
        if place < len(damaged):
            damaged[place] = byte
    path = tmp_path / name
    path.write_bytes(damaged)
    with suppress(InputError):
        assert np.isfinite(read_interactions(path).value).all()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=300))
def test_junk_gives_input_errors_only(tmp_path: Path, junk: bytes) -> None:
    packed = gzip.compress(junk)
    for name, content in (("j.parquet", junk), ("j.csv", junk), ("j.tsv.gz", junk), ("j.csv.gz", packed)):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, name)


def test_dense_matrices() -> None:
    log = read_interactions(np.array([[0, 2, 9], [1, 0, 0]]))
    assert log.to_frame()[["user_id", "item_id", "value"]].to_numpy().tolist() == [
        [0, 1, 2],
        [0, 2, 9],
        [1, 0, 1],
    ]
    assert log.item.tolist() == [1, 2, 0]
    assert log.missing == Zero()
    log = read_interactions(np.array([[0, np.nan, 1], [1, 1, np.nan]]))
    assert log.value.tolist() == [0, 1, 1, 1]
    assert log.missing == Unobserved()
    assert read_interactions(np.array([[True, False], [True, True]])).value.tolist() == [1, 1, 1]
    refused(np.array([[1, 0, 1], [1, 0, 1]]), "column 1", "nobody touched that item")
    refused(np.array([[1, 1], [0, 0]]), "row 1", "that user touched nothing")
    refused(np.array([[1, np.inf], [1, 2]]), "inf", "row 0, column 1")
    refused(np.array([1, 2]), "1 dimensions")
    refused(np.zeros((0, 3)), "column 0")
    refused(np.array([["a", "b"]]), "real numbers")
    refused(np.array([[1j, 1]]), "complex")


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array, sparse.lil_matrix])
def test_sparse_matrices(kind: type) -> None:
    log = read_interactions(kind(np.array([[0, 2, 9], [1, 0, 0]])))
    assert log.matrix().toarray().tolist() == [[0, 2, 9], [1, 0, 0]]


def test_sparse_explicit_zeros_and_repeated_entries() -> None:
    stored = (np.array([1.0, 0.0, 1.0, 1.0]), (np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])))
    log = read_interactions(sparse.coo_array(stored, shape=(2, 2)))
    assert log.value.tolist() == [1, 0, 2]
    assert log.trials.tolist() == [1, 1, 2]
    refused(sparse.csr_array((np.array([np.nan, 1]), ([0, 1], [0, 1]))), "nan", "row 0")
    refused(sparse.csr_array((2, 2)), "row 0 holds no interaction")


def test_feature_tables(tmp_path: Path) -> None:
    table = pd.DataFrame({"user_id": ["u3", "u1", "other"], "age": [30, 40, 50]})
    for source in (table, table.set_index("user_id"), write(table, tmp_path / "f.csv")):
        log = read_interactions(FRAME, user_features=source)
        assert log.user_features is not None
        assert log.user_features.loc["u1"].tolist() == [40]
        assert log.item_features is None
    refused(FRAME, "'user_id'", "age", user_features=table[["age"]])
    refused(FRAME, "'u3'", "more than once", user_features=pd.concat([table, table]))
    refused(FRAME, "missing id", "row 2", user_features=table.assign(user_id=["a", None, "b"]))
    refused(FRAME, "no user of the log", "same type", user_features=table.assign(user_id=[1, 2, 3]))
    refused(FRAME, "no such file", item_features=tmp_path / "none.csv")
    with pytest.raises(InputError, match="item_id"):
        read_features(tmp_path / "f.csv", "item_id")


def test_aggregation_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="pyrorec"):
        log = read_interactions(pd.concat([FRAME, FRAME.iloc[:1]]))
    assert log.aggregation in caplog.text
    assert "1 of 5 records" in log.aggregation
    assert "4 cells" in log.aggregation


def real(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip("the real logs are not on this machine")
    return path


@pytest.mark.parametrize(
    ("name", "shape", "cells", "kind"),
    [
        ("coat/interactions.parquet", (290, 300), 11_600, Kind.IMPLICIT),
        ("kuairand_pure/interactions.parquet", (21_184, 5_564), 94_784 - 3_555, Kind.CLICKS),
        ("lastfm_hetrec/interactions.parquet", (1_892, 17_632), 92_834, Kind.COUNTS),
        ("online_retail/interactions.parquet", (4_334, 3_659), 266_221, Kind.COUNTS),
        ("movielens_100k/interactions.parquet", (943, 1_682), 100_000, Kind.IMPLICIT),
    ],
)
def test_real_logs(name: str, shape: tuple[int, int], cells: int, kind: Kind) -> None:
    log = read_interactions(real(name))
    assert (log.shape, len(log), log.kind) == (shape, cells, kind)
    frame = pd.read_parquet(real(name))
    assert log.value.sum() == frame.value.sum()
    assert log.value.max() >= frame.value.max()


def test_real_counts_agree_with_the_prepared_pairs() -> None:
    log = read_interactions(real("online_retail/interactions.parquet"))
    pairs = pd.read_parquet(real("online_retail/pairs_counts.parquet"))
    expected = pairs.set_index(["user_id", "item_id"]).quantity.sort_index()
    found = log.to_frame().set_index(["user_id", "item_id"]).value.sort_index()
    pd.testing.assert_series_equal(found, expected, check_names=False, check_dtype=False, check_index_type=False)


def test_the_repeated_pairs_of_the_real_ratings_leave_the_test_part() -> None:
    train, test = split_by_exposure(read_interactions(real("coat/interactions.parquet")))
    assert (len(train), len(test)) == (6_960, 4_640 - 366)


def test_records_kept_apart_are_cells_of_their_own_and_merge_where_a_pair_is_asked_for() -> None:
    frame = pd.DataFrame(
        {
            "user_id": ["a", "a", "a", "b"], "item_id": [1, 1, 2, 1],
            "value": [1, 0, 1, 0], "timestamp": [5, 9, 6, 7],
        }
    )  # fmt: skip
    log = read_interactions(frame, duplicates=Apart())
    assert (len(log), log.aggregation) == (4, "")
    assert log.timestamp is not None
    assert log.timestamp.tolist() == [5, 9, 6, 7]
    merged = read_interactions(frame)
    for entry in Entry:
        assert (log.matrix(entry) != merged.matrix(entry)).nnz == 0
    assert isinstance(log.pooled().rule, Apart)
    assert len(log.pooled()) == 3


def test_a_log_to_judge_by_may_hold_zeros_alone() -> None:
    """Nothing is learnt from it; ones alone are clicks, and their repeats impressions."""
    zeros = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 1], "value": [0, 0, 0]})
    with pytest.raises(InputError, match="all values are zero"):
        read_interactions(zeros)
    assert read_interactions(zeros, to_fit=False).value.tolist() == [0, 0, 0]
    untouched = zeros.assign(value=[0, 3, 0])
    with pytest.raises(InputError, match="has only zero counts"):
        read_interactions(untouched)
    assert len(read_interactions(untouched, to_fit=False)) == 3
    ones = read_interactions(pd.concat([zeros, zeros]).assign(value=1), to_fit=False)
    assert (ones.value.tolist(), ones.trials.tolist()) == ([2, 2, 2], [2, 2, 2])
