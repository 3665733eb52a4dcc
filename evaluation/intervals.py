"""Standard errors and intervals of ratios of sums over independent units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ratio:
    """sum of numerators / sum of denominators, both already summed within each independent unit, (units,)."""

    numerator: Array
    denominator: Array

    @classmethod
    def of(cls, numerator: npt.ArrayLike, denominator: npt.ArrayLike, cluster: npt.ArrayLike | None) -> Ratio:
        """From one entry per record (records,) and the records' units; None makes each record a unit."""
        top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
        if cluster is None:
            return cls(top, bottom)
        _, unit = np.unique(np.asarray(cluster), return_inverse=True)
        summed = [np.bincount(unit, weights=of).astype(np.float64) for of in (top, bottom)]
        return cls(*summed)

    @property
    def value(self) -> float:
        """The ratio."""
        return float(self.numerator.sum() / self.denominator.sum())


class Interval(ABC):
    """How sure a ratio is, if its units are independent."""

    level: float

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"The level of an interval lies between 0 and 1, not {self.level}.")

    @abstractmethod
    def around(self, ratio: Ratio) -> tuple[float, float, float]:
        """(standard error, lower, upper); NaN where there is a single unit."""

    @abstractmethod
    def method(self, of_mean: bool) -> str:
        """What the interval is called, of a mean or of a ratio whose denominator varies."""


@dataclass(frozen=True)
class Linearised(Interval):
    """The normal interval by the variance of the ratio to first order.

    With residuals e = numerator - value x denominator of G units the variance is G / (G - 1) sum e^2 / (sum of
    denominators)^2 (Cochran, 1977, 6.4). For a mean of single records that is the usual variance / n, for weights as
    denominators the delta method.
    """

    level: float = 0.95

    def around(self, ratio: Ratio) -> tuple[float, float, float]:
        units, value = len(ratio.numerator), ratio.value
        if units < 2:
            return np.nan, np.nan, np.nan
        residual = ratio.numerator - value * ratio.denominator
        se = float(np.sqrt(units / (units - 1) * (residual**2).sum()) / ratio.denominator.sum())
        half = float(ndtri(0.5 + self.level / 2)) * se
        return se, value - half, value + half

    def method(self, of_mean: bool) -> str:
        return "normal" if of_mean else "delta"


NORMAL = Linearised()
"""What is used where nothing else is asked for."""


@dataclass(frozen=True)
class Bootstrap(Interval):
    """Percentiles of the ratio over `draws` resamples of whole units (Efron, 1979); their sd is the standard error.

    It follows the skewness of a few large weights, which a normal interval cannot; it knows no more of rewards that
    the log does not hold.
    """

    level: float = 0.95
    draws: int = 1_000
    seed: int = 0

    def around(self, ratio: Ratio) -> tuple[float, float, float]:
        units, rng = len(ratio.numerator), np.random.default_rng(self.seed)
        if units < 2:
            return np.nan, np.nan, np.nan
        again = np.array([self._resampled(ratio, rng.integers(units, size=units)) for _ in range(self.draws)])
        lower, upper = np.nanquantile(again, [0.5 - self.level / 2, 0.5 + self.level / 2])
        return float(np.nanstd(again, ddof=1)), float(lower), float(upper)

    @staticmethod
    def _resampled(ratio: Ratio, units: npt.NDArray[np.int64]) -> float:
        """The ratio of some units; NaN where none of them has a weight."""
        below = ratio.denominator[units].sum()
        return float(ratio.numerator[units].sum() / below) if below > 0 else np.nan

    def method(self, of_mean: bool) -> str:
        return "bootstrap"
