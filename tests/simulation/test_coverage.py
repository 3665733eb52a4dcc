"""Recovery tables against examples computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pyrorec.simulation import interval_coverage, recovery, recovery_by_group

TRUTH = np.array([1.0, 2.0, 3.0, 4.0])
ESTIMATE = np.array([1.0, 3.0, 3.0, 5.0])
LOWER, UPPER = ESTIMATE - 0.5, ESTIMATE + np.array([0.5, 0.5, 0.0, 2.0])


def test_coverage_counts_the_ends_in() -> None:
    # [.5, 1.5] holds 1, [2.5, 3.5] lacks 2, [2.5, 3] holds 3 at its end, [4.5, 7] lacks 4.
    assert interval_coverage(LOWER, UPPER, TRUTH) == (0.5, 0.25)
    share, error = interval_coverage(TRUTH - 1.0, UPPER, TRUTH)
    assert (share, error) == (1.0, 0.0)


def test_recovery_by_hand() -> None:
    row = recovery("popularity", TRUTH, ESTIMATE, LOWER, UPPER).iloc[0]
    assert row.parameter == "popularity"
    assert row.n == 4
    assert (row.coverage, row.coverage_se) == (0.5, 0.25)
    # Errors 0, 1, 0, 1: mean 1/2, sample variance 1/3, mean square 1/2.
    assert row.bias == 0.5
    assert row.bias_se == pytest.approx(np.sqrt(1 / 12))
    assert row.rmse == pytest.approx(np.sqrt(0.5))
    # Deviations (-1.5, -.5, .5, 1.5) and (-2, 0, 0, 2): 6 / sqrt(5 * 8).
    assert row.correlation == pytest.approx(6 / np.sqrt(40))


def test_a_constant_has_no_correlation() -> None:
    row = recovery("level", np.ones(3), np.arange(3.0), np.zeros(3), np.ones(3)).iloc[0]
    assert np.isnan(row.correlation)
    one = recovery("intercept", np.ones(1), np.ones(1), np.zeros(1), np.ones(1)).iloc[0]
    assert np.isnan(one.bias_se)
    assert one.bias == 0.0


def test_recovery_within_groups() -> None:
    table = recovery_by_group(np.array(["b", "a", "b", "a"]), TRUTH, ESTIMATE, LOWER, UPPER)
    assert table.parameter.tolist() == ["a", "b"]
    assert table.coverage.tolist() == [0.0, 1.0]
    assert table.bias.tolist() == [1.0, 0.0]
    assert table.n.tolist() == [2, 2]


def test_unusable_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        interval_coverage(LOWER, UPPER[:3], TRUTH)
    with pytest.raises(ValueError, match="one shape"):
        recovery("popularity", TRUTH[:0], ESTIMATE[:0], LOWER[:0], UPPER[:0])
    with pytest.raises(ValueError, match="above its upper end"):
        interval_coverage(UPPER, LOWER, TRUTH)
