"""Errors by width on errors of which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pyrorec.evaluation import errors_by_width

RNG = np.random.default_rng(0)
CELLS = 40_000
USERS = RNG.integers(0, 500, CELLS)
PREDICTED = RNG.gamma(2.0, 1.0, CELLS)
WIDTH = PREDICTED * np.exp(0.5 * RNG.standard_normal(CELLS))
NOISE = RNG.standard_normal(CELLS)


def test_errors_in_proportion_to_width_lie_on_the_diagonal() -> None:
    """Relative widths of equal bins, against numpy within each decile; their squares average to that of the errors."""
    found = errors_by_width(USERS, PREDICTED, WIDTH, WIDTH * NOISE)
    decile = np.searchsorted(np.quantile(PREDICTED, np.arange(0.1, 1, 0.1)), PREDICTED)
    wanted, square = np.zeros(5), np.zeros(5)
    for d in range(10):
        inside = np.sort(WIDTH[decile == d]) / WIDTH[decile == d].mean()
        parts = np.array_split(inside, 5)
        wanted += [part.mean() / 10 for part in parts]
        square += [(part**2).mean() / (inside**2).mean() / 10 for part in parts]
    np.testing.assert_allclose(found["width"], wanted, rtol=0.01)
    np.testing.assert_allclose(found["rmse"], np.sqrt(square), rtol=0.05)
    assert ((found["lower"] < np.sqrt(square)) & (np.sqrt(square) < found["upper"])).sum() >= 4, "90 % each"
    ratio, lower, upper = found.attrs["ratio"]
    assert lower < ratio < upper
    assert lower > 2


def test_errors_that_only_grow_with_the_prediction_do_not_count() -> None:
    """Width and error both grow with the prediction, which without deciles would look like knowledge."""
    found = errors_by_width(USERS, PREDICTED, WIDTH, PREDICTED * NOISE, deciles=40)
    np.testing.assert_allclose(found["rmse"], 1, atol=0.05)
    _, lower, upper = found.attrs["ratio"]
    assert lower < 1.05
    assert upper > 0.95
    one = errors_by_width(USERS, PREDICTED, WIDTH, PREDICTED * NOISE, deciles=1)
    assert one.attrs["ratio"][0] > 2


def test_the_band_covers_what_repeated_logs_give() -> None:
    """Errors of a user are alike, so cells are no independent evidence; the band is that of the users."""
    rng = np.random.default_rng(1)
    ratios, inside = [], []
    for _ in range(60):
        user = np.repeat(np.arange(60), 20)
        shared = rng.standard_normal(60)[user] * 2 + 0.3 * rng.standard_normal(1200)
        width = np.exp(0.4 * rng.standard_normal(60))[user] * np.exp(0.01 * rng.standard_normal(1200))
        found = errors_by_width(user, rng.random(1200), width, shared, deciles=2, bins=2)
        ratios.append(found.attrs["ratio"][0])
        inside.append(found.attrs["ratio"][1] < 1 < found.attrs["ratio"][2])
    assert np.std(ratios) > 0.15
    assert 0.75 < np.mean(inside) <= 1


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(ValueError, match="equally many"):
        errors_by_width([1, 2], [1.0], [1.0], [1.0])
    with pytest.raises(ValueError, match="do not fill"):
        errors_by_width([1, 2], [1.0, 2], [1.0, 1], [1.0, 1])
