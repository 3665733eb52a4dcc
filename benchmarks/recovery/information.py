"""Expected information, with the effects of items integrated out."""

from __future__ import annotations

import numpy as np
from scipy import special, stats

from benchmarks.recovery.settings import ITEMS


def information(x: np.ndarray, weight: np.ndarray, item: np.ndarray, variance: np.ndarray | float) -> np.ndarray:
    """X'WX - X'W1 1'WX / (1 / v_i + 1'W1), summed over items (see above)."""
    total = np.bincount(item, weight, ITEMS)
    sums = np.stack([np.bincount(item, weight * column, ITEMS) for column in x.T], 1)
    return (x * weight[:, None]).T @ x - (sums / (1 / np.asarray(variance) + total)[:, None]).T @ sums


def shape_information(a: float, mean: float) -> float:
    """psi1(a) - E psi1(a + K) - m / (a (a + m)), K negative binomial with mean m and shape a."""
    law = stats.nbinom(a, a / (a + mean))
    k = np.arange(int(law.ppf(1 - 1e-9)) + 2)
    return float(special.polygamma(1, a) - law.pmf(k) @ special.polygamma(1, a + k) - mean / (a * (a + mean)))
