from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.regression import TweedieDevianceScore

from pyrorec.evaluation import mae, poisson_deviance, rmse


def test_rating_errors_by_hand() -> None:
    assert rmse([1, 2, 5], [1, 4, 4]) == pytest.approx(np.sqrt(5 / 3))
    assert mae([1, 2, 5], [1, 4, 4]) == pytest.approx(1)


def test_poisson_deviance_by_hand_and_against_torchmetrics() -> None:
    expected = 2 * (3 * np.log(3 / 2) - 1 + 0.5) / 2
    assert poisson_deviance([2, 0.5], [3, 0]) == pytest.approx(expected)
    rng = np.random.default_rng(0)
    rate = rng.gamma(2, 1, 200)
    count = rng.poisson(rate)
    theirs = TweedieDevianceScore(power=1)(torch.from_numpy(rate), torch.from_numpy(count).double())
    assert poisson_deviance(rate, count) == pytest.approx(theirs.item(), rel=1e-6)


def test_a_rate_of_zero_is_right_for_zero_and_infinitely_wrong_otherwise() -> None:
    assert poisson_deviance([0, 2], [0, 2]) == 0
    assert poisson_deviance([0, 2], [1, 2]) == np.inf


def test_refuses_what_does_not_match() -> None:
    with pytest.raises(ValueError, match="one of each per cell"):
        rmse([1, 2], [1])
    with pytest.raises(ValueError, match="one of each per cell"):
        mae([], [])
    with pytest.raises(ValueError, match="negative"):
        poisson_deviance([-1], [0])
