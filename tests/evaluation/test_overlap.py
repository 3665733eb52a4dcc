"""When a log is refused as a judge of a policy, and what is read off its weights."""

from __future__ import annotations

import numpy as np
import pytest

from pyrorec.data import InputError
from pyrorec.evaluation import Decisions, Limits, NoOverlap, doubly_robust, effective_size, ips, overlap, snips
from pyrorec.evaluation.overlap import require_honest_weights

HALF = np.full(100, 0.5)


def test_effective_size_by_hand() -> None:
    assert effective_size([1, 1, 1, 1]) == 4
    assert effective_size([3, 0, 0]) == 1
    assert effective_size([2, 0.5, 2, 0]) == pytest.approx(4.5**2 / 8.25)
    assert effective_size([0, 0]) == 0
    assert effective_size([1e-300, 1e-300]) == pytest.approx(2)
    assert effective_size([1e300, 1e300]) == pytest.approx(2)


def test_what_the_weights_say() -> None:
    found = overlap(Decisions([1, 0, -2, 1], [0.5, 0.5, 0.25, 1], [1, 0.25, 0.5, 0], unshown=[0, 0.2, 0, 0]))
    assert (found.records, found.largest_weight, found.mean_weight) == (4, 2, 4.5 / 4)
    assert found.mean_weight_se == pytest.approx(np.std([2, 0.5, 2, 0], ddof=1) / 2)
    assert found.rewarded == pytest.approx((2 + 4) ** 2 / (4 + 16))
    assert found.unshown == pytest.approx(0.05)
    assert np.isnan(overlap(Decisions([1], [1], [1])).unshown)


@pytest.mark.parametrize("propensity", [0.0, np.nan])
def test_an_action_the_logging_policy_could_not_take_is_refused(propensity: float) -> None:
    chances = HALF.copy()
    chances[[6, 8]] = propensity
    with pytest.raises(NoOverlap, match=r"2 of 100 records, the first in row 7.*log the probability"):
        Decisions(HALF, chances, HALF)


def test_records_that_the_target_would_not_make_need_no_propensity() -> None:
    target = np.r_[np.zeros(1), np.full(99, 0.5)]
    found = ips(Decisions(np.ones(100), np.r_[np.nan, HALF[1:]], target))
    assert found.value == pytest.approx(0.99)


def test_too_small_an_effective_size_is_refused_by_every_estimator() -> None:
    one_large = Decisions(np.ones(100), np.r_[0.001, HALF[1:]], HALF)
    for estimate in (ips, snips, lambda d: doubly_robust(d, HALF, HALF)):
        with pytest.raises(NoOverlap, match=r"as much as 1\.\d of its own.*at least 30.*closer to the logging one"):
            estimate(one_large)
    assert ips(one_large, limits=Limits(effective=1)).value == pytest.approx((500 + 99) / 100)


def test_a_policy_that_is_nowhere_in_the_log_is_refused_whatever_the_limit() -> None:
    with pytest.raises(NoOverlap, match=r"as much as 0\.0"):
        snips(Decisions(HALF, HALF, np.zeros(100)), limits=Limits(effective=0))


def test_probability_of_what_could_not_be_shown_is_refused() -> None:
    hidden = Decisions(HALF, HALF, HALF, unshown=np.full(100, 0.2))
    with pytest.raises(NoOverlap, match=r"20\.0%.*choose among the actions that were shown"):
        ips(hidden)
    assert ips(hidden, limits=Limits(unshown=0.2)).overlap.unshown == pytest.approx(0.2)


def test_weights_that_do_not_average_one_are_refused() -> None:
    rng = np.random.default_rng(0)
    propensity = rng.uniform(0.2, 0.8, 500)
    half_missing = overlap(Decisions(np.ones(500), propensity, propensity * (rng.random(500) < 0.5)))
    with pytest.raises(NoOverlap, match=r"Weights average 0\.[45]\d* .*could not show all"):
        require_honest_weights(half_missing, Limits())
    with pytest.raises(NoOverlap, match="they are low"):
        require_honest_weights(overlap(Decisions(np.ones(500), propensity / 2, propensity)), Limits())
    require_honest_weights(overlap(Decisions(np.ones(500), propensity, propensity)), Limits())
    require_honest_weights(half_missing, Limits(departure=1e3))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (([1, 2], [1], [1, 1]), "propensity has shape"),
        (([], [], []), "no records"),
        (([np.nan], [1], [1]), "reward is missing"),
        (([1], [1], [1.5]), "target is no probability"),
        (([1], [2], [1]), "above one"),
        (([1], [1], [np.nan]), "target is no probability"),
    ],
)
def test_arrays_that_cannot_be_right_are_refused(columns: tuple[list[float], ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Decisions(*columns)


def test_predictions_that_cannot_be_right_are_refused() -> None:
    good = Decisions(HALF, HALF, HALF)
    with pytest.raises(ValueError, match="one per record"):
        doubly_robust(good, HALF[1:], HALF)
    with pytest.raises(ValueError, match="not finite"):
        doubly_robust(good, HALF, np.full(100, np.inf))


def test_a_refusal_is_bad_input_to_the_command_line() -> None:
    assert issubclass(NoOverlap, InputError)
