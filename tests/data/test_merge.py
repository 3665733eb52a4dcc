"""Two logs as one, against cells written out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pyrorec.data import Apart, InputError, Interactions, hold_out_users, merged, read_interactions
from pyrorec.data.merge import more_features


def log_of(**columns: list) -> Interactions:
    return read_interactions(pd.DataFrame(columns), to_fit=False)


KNOWN = log_of(user_id=["a", "a", "b"], item_id=[1, 2, 1], value=[7, 8, 9], timestamp=[1, 2, 3])


def cells(log: Interactions) -> dict[tuple, float]:
    frame = log.to_frame()
    return dict(zip(zip(frame["user_id"], frame["item_id"], strict=True), frame["value"], strict=True))


def test_a_new_cell_takes_the_place_of_the_old() -> None:
    found = merged(KNOWN, log_of(user_id=["c", "a"], item_id=[2, 2], value=[60, 70]))
    assert cells(found) == {("a", 1): 7, ("a", 2): 70, ("b", 1): 9, ("c", 2): 60}
    assert (list(found.users), list(found.items)) == (["a", "b", "c"], [1, 2])
    assert found.timestamp is None, "only one of the logs has times"


def test_ids_are_appended_as_the_log_writes_them() -> None:
    found = merged(KNOWN, log_of(user_id=["b", "b"], item_id=["1", "3"], value=[1, 70], timestamp=[8, 9]))
    assert cells(found) == {("a", 1): 7, ("a", 2): 8, ("b", 1): 1, ("b", 3): 70}
    assert found.timestamp is not None
    assert found.timestamp.tolist() == [1, 2, 8, 9]


def test_ids_without_a_cell_are_not_taken_over() -> None:
    new = log_of(user_id=["b", "z"], item_id=[1, 5], value=[6, 7]).select(np.array([0]))
    assert list(merged(KNOWN, new).users) == ["a", "b"]


def test_features_gain_the_rows_they_lack() -> None:
    table = pd.DataFrame({"age": [1.0, 2.0]}, index=pd.Index(["a", "b"], name="user_id"))
    more = pd.DataFrame({"age": [5.0, 9.0], "x": [0, 0]}, index=pd.Index(["b", "c"], name="user_id"))
    logs = [
        read_interactions(log.to_frame()[["user_id", "item_id", "value"]], user_features=features, to_fit=False)
        for log, features in ((KNOWN, table), (log_of(user_id=["c"], item_id=[1], value=[3]), more))
    ]
    found = merged(*logs).user_features
    assert found is not None
    assert found["age"].to_dict() == {"a": 1.0, "b": 2.0, "c": 9.0}
    assert list(found.columns) == ["age"]


def test_exposures_are_pooled() -> None:
    both = log_of(user_id=["a", "a"], item_id=[1, 1], value=[1, 0], exposure=["biased", "random"])
    found = merged(both, log_of(user_id=["b"], item_id=[1], value=[0]))
    assert cells(found) == {("a", 1): 1, ("b", 1): 0}
    assert found.trials.tolist() == [2, 1]


def test_parts_by_user_share_no_user_and_lose_no_cell() -> None:
    rng = np.random.default_rng(0)
    log = log_of(user_id=rng.integers(0, 15, 90).tolist(), item_id=rng.integers(0, 30, 90).tolist())
    rest, held_out = hold_out_users(log, 0.3, seed=1)
    assert len(held_out.users) == 5
    assert not set(rest.users) & set(held_out.users)
    assert cells(rest) | cells(held_out) == cells(log)
    assert (rest.user_counts > 0).all()
    assert (held_out.item_counts > 0).all()
    with pytest.raises(InputError, match="between 0 and 1"):
        hold_out_users(log, 1.0)


def test_records_kept_apart_are_pooled_once() -> None:
    """Clicks of a pair seen twice stay one of two trials, however often the merged log is asked."""
    frame = pd.DataFrame({"user_id": ["a", "a", "b"], "item_id": [1, 1, 1], "value": [1, 0, 0]})
    apart = read_interactions(frame, duplicates=Apart(), to_fit=False)
    found = merged(apart, log_of(user_id=["c"], item_id=[1], value=[1]))
    assert found.pooled().trials.tolist() == [2, 1, 1]
    assert found.pooled().value.tolist() == [1, 0, 1]


@pytest.mark.parametrize("new", [["2024-05-01"], [None], [pd.Timestamp("2024-05-01", tz="UTC")]])
def test_new_dates_are_dates_as_the_known_ones_are(new: list[object]) -> None:
    table = pd.DataFrame({"released": pd.to_datetime(["2020-01-01", "2021-01-01"])}, index=["a", "b"])
    found = more_features(table, pd.DataFrame({"released": new}, index=["c"]))
    assert found is not None
    assert found.released.dtype == table.released.dtype
    assert found.released.loc["c"] == pd.Timestamp("2024-05-01") or (new == [None] and pd.isna(found.released.loc["c"]))
