"""Feature tables as numbers: an encoding fitted once, stored as plain data, and applied to any ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pandas as pd
from pandas.api import types

from pyrorec.data.errors import InputError

#: Categories beyond the most frequent ones share one column.
MOST_LEVELS = 50
REST = "(other)"


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """Encoded features: values float32 (ids, columns) and the name of each column."""

    values: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class Numeric:
    """A number, or a date in seconds, standardised to mean 0 and standard deviation 1; a missing one is the mean, 0."""

    kind: ClassVar[str] = "numeric"
    column: str
    mean: float
    sd: float
    dates: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (self.column,)

    def transform(self, column: pd.Series) -> np.ndarray:
        """Raises InputError for numbers where dates were, dates where numbers were, and text."""
        if column.notna().any() and types.is_datetime64_any_dtype(column) != self.dates:
            was, now = ("dates", "none") if self.dates else ("numbers", "dates")
            raise InputError(
                f"Feature '{self.column}' held {was} where the model was fitted, and holds {now} here: write it as it "
                "was there, and leave it empty where it is unknown."
            )
        return np.nan_to_num((_numbers(self.column, column) - self.mean) / self.sd, nan=0.0)[:, None]


@dataclass(frozen=True)
class Flag:
    """A yes or no as 1 or 0; a missing one is the mean."""

    kind: ClassVar[str] = "flag"
    column: str
    mean: float

    @property
    def names(self) -> tuple[str, ...]:
        return (self.column,)

    def transform(self, column: pd.Series) -> np.ndarray:
        """Raises InputError for anything but yes and no, as such or as 1 and 0."""
        flags = _numbers(self.column, column)
        if not np.isin(flags[~np.isnan(flags)], (0.0, 1.0)).all():
            raise InputError(
                f"Feature '{self.column}' was yes or no where the model was fitted, and holds other numbers here: "
                "write true and false, or 1 and 0, and leave it empty where it is unknown."
            )
        return np.nan_to_num(flags, nan=self.mean)[:, None]


@dataclass(frozen=True)
class Levels:
    """One column per category, 1 where it applies; a missing one is all zeros.

    Where the table had more than 50 categories, those of one row only and the less frequent ones share a last
    column, and so do new categories; where it had not, a new category is all zeros.
    """

    kind: ClassVar[str] = "levels"
    column: str
    levels: tuple[str, ...]
    has_rest: bool

    @property
    def names(self) -> tuple[str, ...]:
        rest = (REST,) if self.has_rest else ()
        return tuple(f"{self.column}={level}" for level in (*self.levels, *rest))

    def transform(self, column: pd.Series) -> np.ndarray:
        there = column.notna().to_numpy()
        code = pd.Index(self.levels).get_indexer(pd.Index(column.astype(str)))
        code[(code < 0) & self.has_rest] = len(self.levels)
        encoded = np.zeros((len(column), len(self.names)))
        rows = np.flatnonzero(there & (code >= 0))
        encoded[rows, code[rows]] = 1.0
        return encoded


Encoding: TypeAlias = Numeric | Flag | Levels
ENCODINGS: dict[str, Callable[..., Encoding]] = {encoding.kind: encoding for encoding in (Numeric, Flag, Levels)}


@dataclass(frozen=True)
class FeatureEncoder:
    """How each column of a feature table becomes numbers."""

    encodings: tuple[Encoding, ...]

    @classmethod
    def fit(cls, frame: pd.DataFrame) -> FeatureEncoder:
        """Learn the encoding of a table indexed by id.

        Columns of one value are dropped, and so are names: more than 50 categories of which none repeats.
        Numbers and dates are standardised, booleans are 0 and 1, all else is one-hot. Raises InputError for
        infinite numbers.
        """
        fitted = (_fit_column(str(name), frame[name]) for name in frame.columns)
        return cls(tuple(encoding for encoding in fitted if encoding is not None))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        return tuple(name for encoding in self.encodings for name in encoding.names)

    def transform(self, frame: pd.DataFrame, ids: pd.Index | None = None) -> FeatureMatrix:
        """The rows of `ids` (default: of the table), float32 (ids, columns); ids the table lacks get zeros.

        Raises InputError for a table that lacks a column of the fitted one, or holds text or infinite numbers where
        that one held numbers.
        """
        ids = frame.index if ids is None else ids
        position = frame.index.get_indexer(ids)
        found = np.flatnonzero(position >= 0)
        rows = frame.iloc[position[found]].rename(columns=str)
        values = np.zeros((len(ids), len(self.names)), dtype=np.float32)
        start = 0
        for encoding in self.encodings:
            if encoding.column not in rows.columns:
                raise InputError(
                    f"The feature table lacks column '{encoding.column}', which the model was fitted on: add it, empty "
                    "where nothing is known."
                )
            stop = start + len(encoding.names)
            values[found, start:stop] = encoding.transform(rows[encoding.column])
            start = stop
        return FeatureMatrix(values, self.names)

    def to_dict(self) -> dict[str, Any]:
        """The encoding as plain data, ready for JSON."""
        return {"columns": [{"kind": encoding.kind, **asdict(encoding)} for encoding in self.encodings]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> FeatureEncoder:
        """The encoder that `to_dict` wrote; InputError for anything else."""
        try:
            return cls(tuple(_from_plain(column) for column in plain["columns"]))
        except (KeyError, TypeError) as error:
            raise InputError(f"These are not the stored features of a model ({error}); fit them anew.") from None


def encode_features(frame: pd.DataFrame, ids: pd.Index) -> FeatureMatrix:
    """Fit the encoding of a table indexed by id and apply it to `ids`: float32 (ids, columns) and names."""
    return FeatureEncoder.fit(frame).transform(frame, ids)


def _fit_column(name: str, column: pd.Series) -> Encoding | None:
    if types.is_bool_dtype(column):
        flags = _as_float(column)
        return Flag(name, float(np.nanmean(flags))) if column.nunique() > 1 else None
    if types.is_numeric_dtype(column) or types.is_datetime64_any_dtype(column):
        return _fit_numeric(name, _as_float(column), types.is_datetime64_any_dtype(column))
    count = column.dropna().astype(str).value_counts()
    if len(count) < 2:
        return None
    # Frequent first, equal ones by name, so that the order of the rows does not matter.
    ordered = sorted(zip(-count, count.index, strict=True))
    if len(ordered) <= MOST_LEVELS:
        return Levels(name, tuple(level for _, level in ordered), has_rest=False)
    repeated = tuple(level for frequency, level in ordered[:MOST_LEVELS] if frequency < -1)
    return Levels(name, repeated, has_rest=True) if repeated else None


def _fit_numeric(name: str, column: np.ndarray, dates: bool) -> Numeric | None:
    _refuse_infinite(name, column)
    known = column[~np.isnan(column)]
    if len(known) == 0 or known.min() == known.max():
        return None
    return Numeric(name, float(known.mean()), float(known.std()), dates)


def _numbers(name: str, column: pd.Series) -> np.ndarray:
    """The column as float64 with NaN where missing. Raises InputError where it is no column of finite numbers."""
    try:
        numbers = _as_float(column)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Feature '{name}' was a number or a date where the model was fitted, and is none here ({error}): write it "
            "as it was there, and leave it empty where it is unknown."
        ) from error
    _refuse_infinite(name, numbers)
    return numbers


def _refuse_infinite(name: str, column: np.ndarray) -> None:
    if np.isinf(column).any():
        raise InputError(f"Feature '{name}' holds infinite numbers; give finite ones, or none where it is unknown.")


def _as_float(column: pd.Series) -> np.ndarray:
    """The column as float64 with NaN where missing; dates as seconds since 1970."""
    if column.isna().all():
        return np.full(len(column), np.nan)
    if types.is_datetime64_any_dtype(column):
        dates = pd.to_datetime(column, utc=True)
        return ((dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _from_plain(plain: Mapping[str, Any]) -> Encoding:
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    return ENCODINGS[plain["kind"]](**{name: fields[name] for name in fields if name != "kind"})
