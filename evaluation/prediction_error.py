"""Errors of predicted ratings and counts; arrays of equal shape with one entry per observed cell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy


def rmse(predicted: npt.ArrayLike, value: npt.ArrayLike) -> float:
    """Root of the mean squared error, on the scale of the values."""
    return float(np.sqrt(np.mean(_errors(predicted, value) ** 2)))


def mae(predicted: npt.ArrayLike, value: npt.ArrayLike) -> float:
    """Mean absolute error, on the scale of the values."""
    return float(np.mean(np.abs(_errors(predicted, value))))


def poisson_deviance(rate: npt.ArrayLike, count: npt.ArrayLike) -> float:
    """Mean of 2 [y log(y / mu) - y + mu] for counts y and rates mu (McCullagh and Nelder, 1989, 2.3).

    Infinite where a rate of zero meets a positive count. Raises ValueError for negative rates or counts.
    """
    errors = _errors(rate, count)
    mu, y = np.asarray(rate, dtype=np.float64), np.asarray(count, dtype=np.float64)
    if (mu < 0).any() or (y < 0).any():
        raise ValueError("Some rate or count is negative; the Poisson deviance is for rates and counts.")
    return float(2 * np.mean(xlogy(y, y) - xlogy(y, mu) + errors))


def _errors(predicted: npt.ArrayLike, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    predicted, value = np.asarray(predicted, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if predicted.shape != value.shape or not predicted.size:
        raise ValueError(f"Predictions have shape {predicted.shape}, values {value.shape}; give one of each per cell.")
    return predicted - value
