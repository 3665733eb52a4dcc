"""Counts of a log, and the guard against using them twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch

import pyrorec as pr
from pyrorec.data import InputError, Kind
from pyrorec.inference.empirical_bayes import (
    OTHER_DATA,
    Counts,
    DoubleUse,
    Estimate,
    GammaPoissonML,
    Uses,
    check_not_fitted_twice,
    click_counts,
    counts_of,
    exposure_counts,
    interaction_counts,
)


def log_of(values: list[float] | None, dated: bool = True, **options: object) -> pr.Interactions:
    """Twelve records of six users and four items, no pair twice; item i0 six times, i3 once."""
    item = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
    user = [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]
    frame = pd.DataFrame({"user_id": [f"u{k}" for k in user], "item_id": [f"i{k}" for k in item]})
    if values is not None:
        frame["value"] = values
    if dated:
        frame["timestamp"] = [3, 9, 1, 7, 5, 11, 2, 10, 4, 8, 6, 12]
    return pr.read_interactions(frame, **options)  # type: ignore[arg-type]


CLICKS = [1.0, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 0]
RATINGS = [1.5, 4, 2, 3, 1, 5, 2, 2, 4, 3, 3, 1]
PLAYS = [9.0, 1, 2, 3, 1, 5, 2, 2, 4, 3, 3, 1]


def test_each_kind_of_log_is_counted_in_its_own_way() -> None:
    clicks, plays, ratings = counts_of(log_of(CLICKS)), counts_of(log_of(PLAYS)), counts_of(log_of(RATINGS))
    implicit = counts_of(log_of(None))
    assert (clicks.n.tolist(), clicks.exposure.tolist()) == ([4, 1, 1, 0], [6, 3, 2, 1])
    assert (plays.n.tolist(), plays.exposure.tolist()) == ([21, 8, 6, 1], [9.0] * 4)
    assert (ratings.n.tolist(), ratings.exposure.tolist()) == ([6, 3, 2, 1], [3.0] * 4)
    assert implicit.n.tolist() == [6, 3, 2, 1]
    uses = [one.source.uses for one in (clicks, plays, ratings, implicit) if one.source]
    assert uses == [Uses.OUTCOME, Uses.OUTCOME, Uses.EXPOSURE, Uses.OUTCOME]


def test_rows_with_zero_are_not_taken_for_interactions() -> None:
    """Maths 1.3, B12b."""
    log = log_of(CLICKS)
    assert log.kind is Kind.CLICKS
    with pytest.raises(InputError, match="measure the sampler"):
        interaction_counts(log)
    assert exposure_counts(log).n.tolist() == [6, 3, 2, 1]


def test_counts_refuse_logs_of_another_kind() -> None:
    with pytest.raises(InputError, match="no impressions to divide by"):
        click_counts(log_of(None))
    with pytest.raises(InputError, match="Ratings do not add up"):
        interaction_counts(log_of(RATINGS))


def test_items_without_cells_in_the_earlier_part_keep_their_place() -> None:
    earlier, later = pr.split_by_time(log_of(CLICKS), 0.5)
    counts = click_counts(earlier)
    assert len(counts) == later.n_items
    assert counts.exposure[3] == 0
    items = GammaPoissonML().fit(counts).items.law
    assert items.batch_shape == (4,)


@pytest.mark.parametrize(
    ("n", "exposure", "sentence"),
    [
        ([1, -2], [1, 1], "Item 1 has count -2"),
        ([1.5, 2], [1, 1], "whole numbers"),
        ([1, np.nan], [1, 1], "whole numbers"),
        ([1, 2], [1, -1], "Item 1 has exposure -1"),
        ([1, 2], [1, np.inf], "finite"),
        ([1, 2], [1, 0], "never shown"),
        ([1, 2, 3], [1, 1], "one exposure an item"),
        ([[1, 2]], [[1, 1]], "one count"),
        (["one", "two"], [1, 1], "array of numbers"),
    ],
)
def test_bad_counts_are_refused_in_one_sentence(n: list, exposure: list, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Counts(np.array(n), np.array(exposure))


@pytest.mark.parametrize(("n", "exposure"), [([3], [1]), ([0, 0], [1, 1]), ([4, 0], [1, 0])])
def test_counts_that_say_nothing_of_a_population_are_refused(n: list[int], exposure: list[float]) -> None:
    with pytest.raises(InputError, match="at least two items"):
        GammaPoissonML().fit(Counts(np.array(n), np.array(exposure)))


def test_groups_stand_for_their_items() -> None:
    counts = Counts(np.array([2, 0, 2, 2]), np.array([1.0, 1, 1, 3]))
    groups = counts.groups()
    assert groups.weight.sum() == 4
    assert len(groups.n) == 3
    np.testing.assert_array_equal(groups.n[groups.group], counts.n)
    np.testing.assert_array_equal(groups.exposure[groups.group], counts.exposure)


def fitted(counts: Counts) -> Estimate:
    return GammaPoissonML().fit(counts)


def test_priors_from_a_log_are_not_fitted_to_it() -> None:
    log = log_of(CLICKS)
    with pytest.raises(DoubleUse, match="12 of the log's 12 cells"):
        check_not_fitted_twice(fitted(click_counts(log)), log)


def test_priors_from_an_earlier_period_are_welcome_and_a_larger_log_is_not() -> None:
    log = log_of(CLICKS)
    earlier, later = pr.split_by_time(log, 0.5)
    estimate = fitted(click_counts(earlier))
    check_not_fitted_twice(estimate, later)
    with pytest.raises(DoubleUse, match="6 of the log's 12 cells"):
        check_not_fitted_twice(estimate, log)
    with pytest.raises(DoubleUse, match="6 of the log's 6 cells"):
        check_not_fitted_twice(fitted(click_counts(log)), later)


def test_the_same_cells_are_known_by_other_names() -> None:
    """Binarised, in another order with other codes, or without their times."""
    log = log_of(PLAYS)
    estimate = fitted(interaction_counts(log))
    frame = log.to_frame().iloc[::-1]
    shuffled = pr.read_interactions(frame[["user_id", "item_id", "value", "timestamp"]])
    undated = pr.read_interactions(frame[["user_id", "item_id", "value"]])
    for same in (log.binarised(), shuffled):
        with pytest.raises(DoubleUse, match="12 of the log's 12"):
            check_not_fitted_twice(estimate, same)
    with pytest.raises(DoubleUse, match="Without timestamps"):
        check_not_fitted_twice(estimate, undated)


def test_the_same_pairs_at_another_time_are_other_data() -> None:
    log = log_of(None)
    assert log.timestamp is not None
    check_not_fitted_twice(fitted(interaction_counts(log)), replace(log, timestamp=log.timestamp + 100))


def test_exposures_may_serve_outcomes_given_exposure_only() -> None:
    log = log_of(RATINGS)
    estimate = fitted(exposure_counts(log))
    assert estimate.uses is Uses.EXPOSURE
    check_not_fitted_twice(estimate, log.with_missing(pr.Unobserved()))
    for missing in (pr.Zero(), pr.Weighted(0.1)):
        with pytest.raises(DoubleUse):
            check_not_fitted_twice(estimate, log.with_missing(missing))


def test_counts_of_unknown_origin_need_a_word_of_their_user() -> None:
    bare = Counts(np.array([4, 1, 1, 0]), np.array([6.0, 3, 2, 1]))
    with pytest.raises(InputError, match="OTHER_DATA"):
        check_not_fitted_twice(fitted(bare), log_of(CLICKS))
    check_not_fitted_twice(fitted(replace(bare, source=OTHER_DATA)), log_of(CLICKS))


def test_what_double_use_would_do_to_the_sd() -> None:
    """Maths 1.3, B14: counts in the prior and again in the likelihood shrink it by nearly the root of two."""
    rng = np.random.default_rng(0)
    counts = Counts(rng.poisson(20 * rng.gamma(1, 1, 200)), np.full(200, 20.0))
    once = fitted(counts).items.law
    twice = dist.Gamma(once.concentration + torch.from_numpy(counts.n), once.rate + 20)
    assert float((twice.stddev / once.stddev).median()) == pytest.approx(0.718, abs=0.02)
