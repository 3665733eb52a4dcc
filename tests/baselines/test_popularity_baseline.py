from __future__ import annotations

import numpy as np
import pandas as pd

import pyrorec as pr
from pyrorec.baselines import Popularity, Train


def log() -> pr.Interactions:
    """User 0 has item 0 in both exposures and item 2, user 1 a zero of item 1 and item 2; nobody has item 3."""
    return pr.Interactions(
        users=pd.RangeIndex(2),
        items=pd.RangeIndex(4),
        user=np.array([0, 0, 0, 1, 1]),
        item=np.array([0, 0, 2, 1, 2]),
        value=np.array([1.0, 1.0, 5.0, 0.0, 2.0]),
        trials=np.ones(5),
        exposure=np.array(["biased", "random", "biased", "biased", "biased"]),
    )


def test_scores_are_numbers_of_users_not_sums_of_values() -> None:
    scores = Popularity().fit(Train(log())).scores(np.array([1, 0, 1]))
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [[1, 0, 2, 0]] * 3)


def test_a_threshold_says_which_cells_are_positives_and_clicks() -> None:
    train = Train(log(), threshold=2.0)
    np.testing.assert_array_equal(Popularity().fit(train).scores(np.array([0])), [[0, 0, 2, 0]])
    np.testing.assert_array_equal(train.clicks.value, [0, 0, 1, 0, 1])
    np.testing.assert_array_equal(train.clicks.trials, 1)


def test_a_log_of_clicks_keeps_its_trials() -> None:
    frame = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 1, 2], "value": [0, 1, 1]})
    clicks = Train(pr.read_interactions(frame)).clicks
    assert list(zip(clicks.value, clicks.trials, strict=True)) == [(1, 2), (1, 1)]
