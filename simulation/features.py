"""Factors that side features explain in part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class FeatureColumns:
    """The columns of a feature table: numbers by name with (mean, sd), and one category with its levels."""

    numbers: Mapping[str, tuple[float, float]]
    category: str
    levels: tuple[str, ...]


USER_COLUMNS = FeatureColumns(
    {"age": (45.0, 9.0), "sessions_per_week": (12.0, 2.5)}, "region", ("north", "east", "south", "west")
)
ITEM_COLUMNS = FeatureColumns(
    {"year": (2012.0, 3.0), "minutes": (95.0, 18.0)},
    "genre",
    ("comedy", "crime", "drama", "family", "history"),
)


def draw_side(
    rng: np.random.Generator, ids: pd.Index, factors: int, share: float, columns: FeatureColumns
) -> tuple[np.ndarray, pd.DataFrame]:
    """Factors (ids, factors) of unit variance, and a feature table that explains `share` of that variance.

    factor = sqrt(share) f(x) + sqrt(1 - share) noise, with f linear in the numbers x and the dummies of the
    category, standardised over the ids; its random coefficients are not kept.
    """
    number = rng.standard_normal((len(ids), len(columns.numbers)))
    level = rng.integers(len(columns.levels), size=len(ids))
    dummies = np.eye(len(columns.levels))[level] * np.sqrt(len(columns.levels))
    design = np.hstack([number, dummies])
    signal = design @ rng.standard_normal((design.shape[1], factors))
    signal = (signal - signal.mean(axis=0)) / signal.std(axis=0)
    noise = rng.standard_normal((len(ids), factors))
    drawn = np.sqrt(share) * signal + np.sqrt(1.0 - share) * noise
    return drawn, _table(ids, number, level, columns)


def _table(ids: pd.Index, number: np.ndarray, level: np.ndarray, columns: FeatureColumns) -> pd.DataFrame:
    frame = {
        name: (mean + sd * column).round(2)
        for (name, (mean, sd)), column in zip(columns.numbers.items(), number.T, strict=True)
    }
    return pd.DataFrame({**frame, columns.category: np.array(columns.levels)[level]}, index=ids)
