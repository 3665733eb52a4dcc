"""Simulated counts and the checks that several tests of empirical Bayes share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pyrorec.inference.empirical_bayes import Counts

Array = NDArray[np.float64]
Objective = Callable[[Array], tuple[float, Array]]


def gamma_world(items: int, seed: int, shape: float = 0.6, rate: float = 0.3) -> tuple[Array, Counts]:
    """True popularity (items,), and Poisson counts under exposures that differ and are not informed by it."""
    rng = np.random.default_rng(seed)
    z, exposure = rng.gamma(shape, 1 / rate, items), 0.1 + rng.gamma(2.0, 1.0, items)
    return z, Counts(rng.poisson(exposure * z), exposure)


def lognormal_world(
    items: int, seed: int, exposure: float = 1.0, mu: float = 0.7, sd: float = 1.2
) -> tuple[Array, Counts]:
    """True popularity (items,), and Poisson counts under one exposure for all."""
    rng = np.random.default_rng(seed)
    z = rng.lognormal(mu, sd, items)
    return z, Counts(rng.poisson(exposure * z), np.full(items, exposure))


def gradient_error(objective: Objective, at: list[float]) -> float:
    """Largest difference between the gradient and central differences of the value."""
    point, step = np.array(at), 1e-5
    numeric = [(objective(point + e)[0] - objective(point - e)[0]) / (2 * step) for e in step * np.eye(len(at))]
    return float(np.abs(objective(point)[1] - numeric).max())


def standard_errors(objective: Objective, at: Array, items: int) -> Array:
    """Of the maximum-likelihood estimates, by the curvature of the mean log-likelihood at the truth."""
    step = 1e-4
    curvature = [(objective(at + e)[1] - objective(at - e)[1]) / (2 * step) for e in step * np.eye(len(at))]
    return np.sqrt(np.diag(np.linalg.inv(-np.array(curvature))) / items)


def gamma_coverage(z: Array, a: Array, b: Array) -> float:
    """Share of z (items,) within the central 90 % of Gamma(a, b)."""
    lower, upper = (stats.gamma.ppf(level, a, scale=1 / b) for level in (0.05, 0.95))
    return float(((lower < z) & (z < upper)).mean())
