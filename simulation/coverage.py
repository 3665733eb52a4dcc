"""How well estimates and their intervals recover a known truth; arrays in, tables out."""

from __future__ import annotations

import numpy as np
import pandas as pd


def interval_coverage(lower: np.ndarray, upper: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Share of the intervals [lower, upper] that hold their truth, and its Monte Carlo standard error.

    Arrays of one shape. The error is sqrt(c (1 - c) / n) of Morris, White and Crowther (2019), table 6, for
    independent intervals; it is 0 where all or none hold. Raises ValueError for unequal shapes, no entry, and
    a lower end above its upper end.
    """
    _same_shape(lower=lower, upper=upper, truth=truth)
    if np.any(lower > upper):
        raise ValueError("An interval has its lower end above its upper end; swap the two.")
    share = float(np.mean((lower <= truth) & (truth <= upper)))
    return share, float(np.sqrt(share * (1.0 - share) / np.size(truth)))


def recovery(
    parameter: str, truth: np.ndarray, estimate: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> pd.DataFrame:
    """One row: parameter, n, coverage, coverage_se, bias, bias_se, rmse, correlation.

    Arrays of one shape, all on the scale that errors are wanted on. The bias is mean(estimate - truth), its
    standard error sd / sqrt(n); the correlation is Pearson's, NaN where one side is constant. Rows of several
    parameters are put together by pandas.concat. Raises ValueError as `interval_coverage` does.
    """
    _same_shape(truth=truth, estimate=estimate)
    coverage, coverage_se = interval_coverage(lower, upper, truth)
    error = np.ravel(estimate) - np.ravel(truth)
    row = {
        "parameter": parameter,
        "n": error.size,
        "coverage": coverage,
        "coverage_se": coverage_se,
        "bias": error.mean(),
        "bias_se": error.std(ddof=1) / np.sqrt(error.size) if error.size > 1 else np.nan,
        "rmse": np.sqrt(np.mean(error**2)),
        "correlation": _correlation(np.ravel(estimate), np.ravel(truth)),
    }
    return pd.DataFrame([row])


def recovery_by_group(
    group: np.ndarray, truth: np.ndarray, estimate: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> pd.DataFrame:
    """`recovery` within each label of `group` (n,), such as deciles of exposure; the label is the parameter.

    One row per label, in order. Arrays (n,). Raises ValueError as `interval_coverage` does.
    """
    _same_shape(group=group, truth=truth, estimate=estimate, lower=lower, upper=upper)
    columns = (truth, estimate, lower, upper)
    parts = [recovery(str(label), *(column[group == label] for column in columns)) for label in np.unique(group)]
    return pd.concat(parts, ignore_index=True)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if x.min() == x.max() or y.min() == y.max():
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _same_shape(**arrays: np.ndarray) -> None:
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or 0 in next(iter(shapes.values())):
        raise ValueError(f"These must have one shape and at least one entry, but are {shapes}.")
