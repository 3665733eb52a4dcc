"""Policies show what they say: rules on known scores, a run's policy against its own recommendations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pyrorec as pr
from pyrorec.simulation import FrailtyWorld

SCORES = np.array([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0]])


@pytest.fixture(scope="module")
def run() -> pr.Run:
    log = FrailtyWorld(users=40, items=15, random_per_user=5, mean_count=0.5, features=False).simulate(0).train
    model = pr.BilateralModel(factors=3)
    return pr.fit(model, log, training=pr.Training(epochs=5), context=pr.Context(progress=False))


def test_rules_by_hand() -> None:
    np.testing.assert_array_equal(pr.EpsilonGreedy().probabilities(SCORES), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(
        pr.EpsilonGreedy(0.3).probabilities(SCORES), [[0.1, 0.8, 0.1], [0.8, 0.1, 0.1]], rtol=1e-12
    )
    e = np.exp([0.5, 1.5, 1.0])
    np.testing.assert_allclose(pr.Softmax(2.0).probabilities(SCORES)[0], e / e.sum())


def test_a_temperature_goes_from_greedy_to_uniform() -> None:
    np.testing.assert_allclose(pr.Softmax(1e-3).probabilities(SCORES)[0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(pr.Softmax(1e6).probabilities(SCORES), np.full((2, 3), 1 / 3), atol=1e-5)


@pytest.mark.parametrize("rule", [lambda: pr.EpsilonGreedy(1.2), lambda: pr.Softmax(0), lambda: pr.Softmax(np.inf)])
def test_rules_out_of_range_are_refused(rule: object) -> None:
    with pytest.raises(pr.InputError):
        rule()  # type: ignore[operator]


@pytest.mark.parametrize("intervention", [pr.Observe(), pr.Deconfound(), pr.Temper(0.5)])
def test_greedy_shows_the_first_recommendation(run: pr.Run, intervention: pr.Intervention) -> None:
    found = pr.policy(run, intervention=intervention)
    users = run.log.users[:10]
    best = run.recommend(users, k=1, intervention=intervention, include_seen=True).set_index("user_id")["item_id"]
    shown = found.items[found.probabilities(users).argmax(axis=1)]
    assert list(shown) == list(best[users])


def test_candidates_strangers_and_ids_written_otherwise(run: pr.Run) -> None:
    some = list(run.log.items[[4, 2, 9]])
    found = pr.policy(run, pr.EpsilonGreedy(0.5), items=[*some, "new"])
    assert list(found.items) == [*some, "new"]
    chances = found.probabilities(pd.Index(["nobody", run.log.users[0]]))
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert set(np.round(chances.ravel(), 9)) == {0.125, 0.625}


def test_what_is_no_rule_is_refused(run: pr.Run) -> None:
    with pytest.raises(pr.InputError, match=r"no rule.*EpsilonGreedy"):
        pr.policy(run, 0.1)  # type: ignore[arg-type]
    with pytest.raises(pr.InputError, match="empty"):
        pr.policy(run, items=[])


def test_tables_for_everybody_and_by_user() -> None:
    same = pr.tabled_policy(pd.DataFrame({"item_id": ["a", "b"], "probability": [0.25, 0.75]}))
    np.testing.assert_array_equal(same.probabilities(pd.Index([7, 8])), [[0.25, 0.75]] * 2)
    own = pd.DataFrame({"user_id": [1, 1, 2], "item_id": ["a", "b", "b"], "probability": [0.5, 0.5, 1.0]})
    np.testing.assert_array_equal(pr.tabled_policy(own).probabilities(pd.Index(["2", "1"])), [[0, 1], [0.5, 0.5]])
    with pytest.raises(pr.InputError, match="no probabilities for user 3"):
        pr.tabled_policy(own).probabilities(pd.Index([1, 3]))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"item_id": ["a"]}, "needs a column 'probability'"),
        ({"item_id": ["a", "a"], "probability": [0.5, 0.5]}, "stands twice"),
        ({"item_id": ["a", "b"], "probability": [0.5, 0.6]}, "add up to 1.1"),
        ({"item_id": ["a", "b"], "probability": [-0.5, 1.5]}, "above zero"),
    ],
)
def test_tables_that_are_no_policy_are_refused(table: dict[str, list[object]], words: str) -> None:
    with pytest.raises(pr.InputError, match=words):
        pr.tabled_policy(pd.DataFrame(table))


def test_uniform() -> None:
    found = pr.uniform_policy(["a", "b", "a", "c"])
    np.testing.assert_allclose(found.probabilities(pd.Index([1, 2])), np.full((2, 3), 1 / 3))
