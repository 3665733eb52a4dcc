"""Splits and batches against hand-computed cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pyrorec.data import (
    InputError,
    Interactions,
    epoch_batches,
    hold_out,
    read_interactions,
    split,
    split_by_exposure,
    split_by_time,
    split_leave_last_out,
    split_random,
)


def log_of(**columns: list) -> Interactions:
    return read_interactions(pd.DataFrame(columns))


def pairs(log: Interactions) -> list[tuple]:
    frame = log.to_frame()
    return list(zip(frame.user_id, frame.item_id, strict=True))


TIMED = log_of(user_id=[1, 1, 2, 2, 3], item_id=[1, 2, 1, 3, 2], timestamp=[50, 10, 30, 30, 20])


def test_random_split_draws_the_cells_scikit_learn_draws() -> None:
    log = log_of(user_id=list(range(10)), item_id=[i % 5 for i in range(10)])
    train, test = split_random(log, test_fraction=0.25, seed=0)
    # train_test_split(range(10), test_size=0.25, random_state=0)[1] is [2, 8, 4].
    assert test.to_frame().user_id.tolist() == [2, 4, 8]
    assert train.to_frame().user_id.tolist() == [0, 1, 3, 5, 6, 7, 9]
    assert train.users is log.users
    _, other = split_random(log, test_fraction=0.2, seed=123)
    # train_test_split(range(10), test_size=0.2, random_state=123)[1] is [4, 0].
    assert other.to_frame().user_id.tolist() == [0, 4]
    assert pairs(hold_out(log, 0.25, 0)[1]) == pairs(test)


def test_time_split_keeps_ties_together() -> None:
    train, test = split_by_time(TIMED, test_fraction=0.4)
    assert pairs(test) == [(1, 1), (2, 1), (2, 3)]
    assert pairs(train) == [(1, 2), (3, 2)]
    assert pairs(split_by_time(TIMED, test_fraction=0.2)[1]) == [(1, 1)]


def test_last_cell_of_each_user_is_left_out() -> None:
    train, test = split_leave_last_out(TIMED)
    assert pairs(test) == [(1, 1), (2, 3)]  # of the tie at 30 the later cell
    assert pairs(train) == [(1, 2), (2, 1), (3, 2)]  # user 3 has one cell and keeps it


def test_exposure_split_drops_pairs_seen_in_training() -> None:
    log = log_of(
        user_id=[1, 1, 2, 2],
        item_id=[1, 1, 1, 2],
        value=[3, 4, 5, 2],
        exposure=["biased", "random", "random", "biased"],
    )
    train, test = split_by_exposure(log)
    assert pairs(train) == [(1, 1), (2, 2)]
    assert pairs(test) == [(2, 1)]
    assert split_by_exposure(log, drop_repeated=False)[1].value.tolist() == [4, 5]


def test_the_default_split_takes_the_best_judge_there_is() -> None:
    cells = {"user_id": [1, 1, 2, 2, 3], "item_id": [1, 2, 1, 3, 2]}
    exposure = ["biased", "random", "biased", "biased", "random"]
    dated = log_of(**cells, timestamp=[50, 10, 30, 30, 20])
    assert pairs(split(log_of(**cells, timestamp=[50, 10, 30, 30, 20], exposure=exposure))[1]) == [(1, 2), (3, 2)]
    one_kind = log_of(**cells, timestamp=[50, 10, 30, 30, 20], exposure=["biased"] * 5)
    assert pairs(split(one_kind, 0.4)[1]) == pairs(split_by_time(dated, 0.4)[1])
    assert pairs(split(log_of(**cells), 0.4, 3)[1]) == pairs(split_random(log_of(**cells), 0.4, 3)[1])


def test_what_cannot_be_split_is_refused() -> None:
    plain = log_of(user_id=[1, 2], item_id=[1, 2])
    for dated_split in (split_by_time, split_leave_last_out):
        with pytest.raises(InputError, match="no timestamps"):
            dated_split(plain)
    with pytest.raises(InputError, match="no exposure"):
        split_by_exposure(plain)
    for fraction in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            split_random(plain, fraction)
    with pytest.raises(InputError, match="no cell in the train part"):
        split_random(plain, 0.9)
    same_time = log_of(user_id=[1, 2], item_id=[1, 2], timestamp=[4, 4])
    with pytest.raises(InputError, match="train"):
        split_by_time(same_time)
    with pytest.raises(InputError, match="test"):
        split_leave_last_out(same_time)
    biased = log_of(user_id=[1, 2], item_id=[1, 2], exposure=["biased", "biased"])
    with pytest.raises(InputError, match="test"):
        split_by_exposure(biased)


def test_batches_cover_all_rows_in_even_sizes() -> None:
    batches = epoch_batches(11, 4, seed=3, epoch=0)
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert sorted(np.concatenate(batches).tolist()) == list(range(11))
    assert batches[0].dtype == np.int64
    assert [len(batch) for batch in epoch_batches(5, 100, 0, 0)] == [5]


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(epoch_batches(50, 7, seed, epoch)).tolist()

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    with pytest.raises(ValueError, match="at least one row"):
        epoch_batches(0, 4, 0, 0)
