"""The log type: aggregation, kinds, matrices and codes, against hand-computed numbers and pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrorec.data import (
    Entry,
    InputError,
    Interactions,
    Kind,
    Last,
    Sum,
    Trials,
    Unobserved,
    Weighted,
    Zero,
    read_interactions,
)


def frame_of(rows: list[tuple], *more: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user_id", "item_id", "value", *more])


def cells_of(log: Interactions) -> dict[tuple, tuple[float, float]]:
    frame = log.to_frame()
    return {(u, i): (v, n) for u, i, v, n in zip(frame.user_id, frame.item_id, frame.value, frame.trials, strict=True)}


CLICKS = [("a", "x", 1), ("a", "x", 0), ("b", "y", 0), ("a", "y", 1), ("a", "x", 1)]


def test_clicks_add_up_to_trials_and_absent_cells_say_nothing() -> None:
    log = read_interactions(frame_of(CLICKS))
    assert cells_of(log) == {("a", "x"): (2, 3), ("b", "y"): (0, 1), ("a", "y"): (1, 1)}
    assert log.kind is Kind.CLICKS
    assert log.missing == Unobserved()
    assert log.rule == Trials()
    assert log.aggregation.startswith("2 of 5 records repeat an earlier (user, item)")
    assert list(log.users) == ["a", "b"]
    assert log.user.tolist() == [0, 1, 0]
    assert log.item.tolist() == [0, 1, 1]


def test_counts_are_summed_and_absent_cells_are_zeros() -> None:
    log = read_interactions(frame_of([(1, 7, 2), (2, 7, 9), (1, 7, 3), (2, 8, 1)]))
    assert cells_of(log) == {(1, 7): (5, 1), (2, 7): (9, 1), (2, 8): (1, 1)}
    assert log.kind is Kind.COUNTS
    assert log.missing == Zero()
    assert log.item_totals.tolist() == [14, 1]
    assert log.item_counts.tolist() == [2, 1]
    assert log.user_counts.tolist() == [1, 2]


def test_grades_keep_the_last_by_time_then_by_order() -> None:
    rows = [(1, 7, 2, 30), (2, 7, 5, 10), (1, 7, 3, 20), (2, 8, 1, 5), (2, 8, 4, 5)]
    log = read_interactions(frame_of(rows, "timestamp"))
    assert log.value.tolist() == [2, 5, 4]
    assert log.timestamp is not None
    assert log.timestamp.tolist() == [30, 10, 5]
    assert log.kind is Kind.IMPLICIT
    assert read_interactions(frame_of(rows, "other")).value.tolist() == [3, 5, 4]


@pytest.mark.parametrize(
    ("values", "rule", "kind", "missing"),
    [
        ([1, 1, 1], Sum(), Kind.IMPLICIT, Zero()),
        ([1, 5, 2], Last(), Kind.IMPLICIT, Zero()),
        ([1, 6, 2], Sum(), Kind.COUNTS, Zero()),
        ([0, 2, 1], Sum(), Kind.COUNTS, Unobserved()),
        ([0, 1, 1], Trials(), Kind.CLICKS, Unobserved()),
        ([1.5, 2, 1], Last(), Kind.RATINGS, Unobserved()),
        ([True, False, True], Trials(), Kind.CLICKS, Unobserved()),
    ],
)
def test_rule_kind_and_missing_follow_the_values(values: list, rule: object, kind: Kind, missing: object) -> None:
    # The item of the second record is touched twice, so that a zero count leaves no untouched item.
    users, items = [1, 2, 3], [1, 2, 1]
    log = read_interactions(pd.DataFrame({"user_id": users, "item_id": items, "value": values}))
    assert (log.rule, log.kind, log.missing) == (rule, kind, missing)
    assert log.aggregation == ""


def test_explicit_choices_override() -> None:
    log = read_interactions(frame_of(CLICKS), duplicates=Last(), missing=Weighted(0.1))
    assert log.value.tolist() == [1, 0, 1]
    assert log.missing.weight == 0.1
    assert log.with_missing(Zero()).missing.weight == 1.0
    with pytest.raises(InputError, match="Trials"):
        read_interactions(frame_of([(1, 1, 2), (2, 2, 1)]), duplicates=Trials())
    with pytest.raises(InputError, match="positive and finite"):
        Weighted(0.0)


def test_binarised_keeps_zeros() -> None:
    log = read_interactions(frame_of(CLICKS)).binarised()
    assert log.value.tolist() == [1, 0, 1]
    assert log.trials.tolist() == [1, 1, 1]
    assert log.matrix().nnz == 3


def test_matrix_stores_explicit_zeros_and_may_be_changed() -> None:
    log = read_interactions(frame_of(CLICKS))
    assert log.matrix().toarray().tolist() == [[2, 1], [0, 0]]
    assert log.matrix(Entry.TRIALS).toarray().tolist() == [[3, 1], [0, 1]]
    assert log.matrix(Entry.PATTERN).toarray().tolist() == [[1, 1], [0, 1]]
    changed = log.matrix()
    changed.eliminate_zeros()
    assert (changed.nnz, log.matrix().nnz) == (2, 3)


def test_select_keeps_ids_and_codes() -> None:
    log = read_interactions(frame_of(CLICKS))
    for part in (log.select(np.array([False, True, True])), log.select(np.array([1, 2]))):
        assert part.shape == (2, 2)
        assert part.item.tolist() == [1, 1]
        assert part.user_counts.tolist() == [1, 1]
    assert len(log.select(np.array([], dtype=int))) == 0


def test_exposures_stay_apart_and_pool_by_the_rule() -> None:
    rows = [
        ("a", "x", 1, "biased", 0.5),
        ("a", "x", 0, "random", 0.1),
        ("b", "y", 1, "biased", 0.2),
        ("a", "x", 1, "biased", 0.25),
    ]
    log = read_interactions(frame_of(rows, "exposure", "propensity"))
    assert log.value.tolist() == [2, 0, 1]
    assert log.trials.tolist() == [2, 1, 1]
    assert log.exposure is not None
    assert log.propensity is not None
    assert log.exposure.tolist() == ["biased", "random", "biased"]
    # Sum of inverse propensities of the repeated pair: 1/.5 + 1/.25 = 6 over 2 impressions.
    np.testing.assert_allclose(log.trials / log.propensity, [6, 10, 5])
    pooled = log.pooled()
    assert pooled.value.tolist() == [2, 1]
    assert pooled.trials.tolist() == [3, 1]
    assert pooled.exposure is None
    np.testing.assert_allclose(pooled.trials / pooled.propensity, [16, 5])
    assert log.matrix(Entry.TRIALS).toarray().tolist() == [[3, 0], [0, 1]]


def test_pooled_ratings_keep_the_last() -> None:
    rows = [(1, 1, 4.5, "biased"), (1, 1, 2.0, "random"), (2, 2, 3.0, "biased")]
    assert read_interactions(frame_of(rows, "exposure")).matrix().toarray().tolist() == [[2, 0], [0, 3]]


def test_recode_maps_to_another_id_space() -> None:
    log = read_interactions(frame_of(CLICKS))
    user, item = log.recode(pd.Index(["z", "b", "a"]), pd.Index(["y"]))
    assert user.tolist() == [2, 1, 2]
    assert item.tolist() == [-1, 0, 0]


def test_ids_of_any_type() -> None:
    mixed = read_interactions(frame_of([("a", (1, 2), 1), (5, "x", 1), ("a", (1, 2), 1)]))
    assert list(mixed.users) == ["a", 5]
    assert list(mixed.items) == [(1, 2), "x"]
    assert mixed.value.tolist() == [2, 1]
    whole = read_interactions(frame_of([(17850.0, 1, 1), (3.0, 2, 1)]))
    assert whole.users.dtype == np.int64
    nullable = frame_of([(8, 1, 1), (3, 2, 1)]).astype({"user_id": "Int32", "item_id": "category"})
    assert read_interactions(nullable).users.equals(pd.Index([8, 3]))


def test_inconsistent_logs_are_refused() -> None:
    ids = pd.Index(["a", "b"])
    codes, ones = np.array([0, 2]), np.ones(2)
    with pytest.raises(InputError, match="user codes must lie in 0"):
        Interactions(users=ids, items=ids, user=codes, item=codes, value=ones, trials=ones)
    with pytest.raises(InputError, match="stands twice"):
        Interactions(users=ids, items=pd.Index(["a", "a"]), user=codes % 2, item=codes, value=ones, trials=ones)
    with pytest.raises(InputError, match="Column value"):
        Interactions(users=ids, items=ids, user=codes % 2, item=codes % 2, value=np.ones(3), trials=ones)


RECORDS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from("vwxyz"), st.integers(1, 9), st.integers(-3, 3)),
    min_size=1,
    max_size=40,
).map(lambda rows: [(0, "v", 1, 0), (1, "w", 9, 0), *rows])


@settings(max_examples=75, deadline=None)
@given(rows=RECORDS)
def test_aggregation_agrees_with_pandas(rows: list[tuple]) -> None:
    frame = frame_of(rows, "timestamp")
    groups = frame.groupby(["user_id", "item_id"], sort=False)

    summed = read_interactions(frame)
    expected = groups.value.sum().reset_index()
    pd.testing.assert_frame_equal(
        summed.to_frame()[["user_id", "item_id", "value"]],
        expected,
        check_dtype=False,
        check_index_type=False,
    )
    assert summed.matrix().sum() == frame.value.sum()

    last = read_interactions(frame, duplicates=Last())
    ordered = frame.sort_values("timestamp", kind="stable").groupby(["user_id", "item_id"]).value.last()
    found = last.to_frame().set_index(["user_id", "item_id"]).value
    assert found.to_dict() == ordered.to_dict()

    clicks = read_interactions(frame.assign(value=[0, 1, *(frame.value[2:] > 4)]))
    expected = frame.assign(value=clicks_of(frame)).groupby(["user_id", "item_id"], sort=False).value
    assert clicks.value.tolist() == expected.sum().tolist()
    assert clicks.trials.tolist() == expected.count().tolist()


def clicks_of(frame: pd.DataFrame) -> list[int]:
    return [0, 1, *(frame.value[2:] > 4).astype(int)]


@settings(max_examples=50, deadline=None)
@given(rows=RECORDS)
def test_a_log_without_duplicates_survives_the_round_trip(rows: list[tuple]) -> None:
    log = read_interactions(frame_of(rows, "timestamp"))
    again = read_interactions(log.to_frame())
    pd.testing.assert_frame_equal(again.to_frame(), log.to_frame())
    assert again.users.equals(log.users)
    assert again.items.equals(log.items)


def test_a_frame_of_cells_comes_back_as_it_was() -> None:
    """With trials, which reading a file of records would count anew."""
    frame = pd.DataFrame({"user_id": ["a", "a", "b", "b"], "item_id": [3, 3, 3, 7], "value": [0, 1, 1, 0]})
    log = read_interactions(frame.assign(timestamp=[4, 5, 6, 7]))
    again = Interactions.from_frame(log.to_frame(), log.missing, log.rule)
    pd.testing.assert_frame_equal(again.to_frame(), log.to_frame())
    assert (again.kind, again.missing, again.trials.tolist()) == (log.kind, log.missing, [2, 1, 1])
