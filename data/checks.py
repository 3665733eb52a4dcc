"""Checks that turn the columns of a source into arrays, or refuse them naming the first bad row.

Rows are counted from 1, the first record; a header does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api import types

from pyrorec.data.entries import EXPOSURES
from pyrorec.data.errors import InputError

EPOCH = pd.Timestamp(0, tz="UTC")
TIME_REMEDY = "give unix seconds or ISO 8601 dates such as 2024-05-31T12:00"


def shown(entry: object) -> str:
    """An id or value as a user would write it, without NumPy's type names."""
    return repr(entry.item() if isinstance(entry, np.generic) else entry)


@dataclass(frozen=True)
class Place:
    """Where a column comes from, for messages: the source (a file, say) and the column's name."""

    source: str
    column: str

    def refuse_where(self, bad: np.ndarray, what: str, column: pd.Series, remedy: str) -> None:
        """Raise InputError for the first true entry of `bad` (records,)."""
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(
                f"{self.source}: {what} ({shown(column.iloc[row])}) in column '{self.column}', row {row + 1}; {remedy}."
            )


def numbers(column: pd.Series, place: Place) -> np.ndarray:
    """The column as finite float64 (records,); booleans are 0 and 1.

    Raises InputError for text, dates, complex, missing and infinite values.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    converted = column
    if not types.is_numeric_dtype(column) and not types.is_datetime64_any_dtype(column):
        converted = _parsed(column)
        text = converted.isna().to_numpy() & column.notna().to_numpy()
        place.refuse_where(text, "not a number", column, "write numbers only, with a point for decimals")
    if types.is_complex_dtype(converted) or not types.is_numeric_dtype(converted):
        raise InputError(f"{place.source}: column '{place.column}' holds {converted.dtype}; give real numbers.")
    array = converted.to_numpy(dtype=np.float64, na_value=np.nan)
    place.refuse_where(np.isnan(array), "missing value", column, "drop the row or fill it in")
    place.refuse_where(np.isinf(array), "infinite value", column, "give finite numbers")
    return array


def _parsed(column: pd.Series) -> pd.Series:
    if types.is_timedelta64_dtype(column):
        return column
    try:
        return pd.to_numeric(column, errors="coerce")
    except (TypeError, ValueError, OverflowError):  # lists and other objects that are no scalars
        return pd.Series(np.nan, index=column.index)


def times(column: pd.Series, place: Place) -> np.ndarray:
    """The column as int64 or float64 (records,): numbers as they are, dates as seconds since 1970 (UTC).

    Raises InputError for what is neither a number nor an ISO 8601 date, and for a mixture of the two.
    """
    if types.is_integer_dtype(column) and not column.hasnans:
        return column.to_numpy(dtype=np.int64)
    if types.is_numeric_dtype(column):
        return numbers(column, place)
    if types.is_datetime64_any_dtype(column):
        return _seconds(column, column, place)
    number = _parsed(column)
    if number.isna().all():
        return _seconds(column, _dates(column), place)
    place.refuse_where(number.isna().to_numpy(), "not a time like the others", column, TIME_REMEDY)
    return number.to_numpy(dtype=np.float64)


def _dates(column: pd.Series) -> pd.Series:
    try:
        return pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
    except (TypeError, ValueError, OverflowError):  # objects that are no dates
        return pd.Series(pd.NaT, index=column.index)


def _seconds(column: pd.Series, dates: pd.Series, place: Place) -> np.ndarray:
    place.refuse_where(dates.isna().to_numpy(), "not a time", column, TIME_REMEDY)
    return ((pd.to_datetime(dates, utc=True) - EPOCH) / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64)


def exposures(column: pd.Series, place: Place) -> np.ndarray:
    """The column as str (records,), each "biased" or "random"; InputError for any other label."""
    known = column.isin(EXPOSURES).to_numpy(dtype=bool)
    place.refuse_where(~known, "unknown exposure", column, "label each record 'biased' or 'random'")
    return np.array(EXPOSURES)[(column == EXPOSURES[1]).to_numpy(dtype=np.int8)]


def propensities(column: pd.Series, place: Place) -> np.ndarray:
    """The column as float64 (records,) in (0, 1]; InputError otherwise."""
    array = numbers(column, place)
    place.refuse_where(
        (array <= 0.0) | (array > 1.0), "propensity outside (0, 1]", column, "give probabilities of exposure"
    )
    return array


def identifiers(column: pd.Series, place: Place) -> tuple[np.ndarray, pd.Index]:
    """Codes int64 (records,) and the distinct ids in order of first appearance.

    Whole numbers of any storage become int64 ids. Raises InputError for missing ids, lists and the like.
    """
    try:
        codes, distinct = pd.factorize(column.array)
    except TypeError:
        raise InputError(
            f"{place.source}: column '{place.column}' holds lists or the like; ids must be numbers or text."
        ) from None
    if len(codes) and codes.min() < 0:
        place.refuse_where(codes < 0, "missing id", column, "drop the row or give it an id")
    return np.asarray(codes, dtype=np.int64), id_index(distinct)


def id_index(distinct: np.ndarray | pd.api.extensions.ExtensionArray) -> pd.Index:
    """Distinct ids as an index; whole numbers, however stored, become int64."""
    if isinstance(distinct, pd.Categorical):
        distinct = np.asarray(distinct)
    if types.is_float_dtype(distinct):
        distinct = np.asarray(distinct, dtype=np.float64)
        within = np.abs(distinct) < 2.0**53
        if not bool(np.all(within)) or not bool(np.all(distinct == np.floor(distinct))):
            return pd.Index(distinct)
    if types.is_float_dtype(distinct) or types.is_signed_integer_dtype(distinct):
        return pd.Index(np.asarray(distinct, dtype=np.int64))
    if types.is_unsigned_integer_dtype(distinct) and max(distinct, default=0) < 2**63:
        return pd.Index(np.asarray(distinct, dtype=np.int64))
    return pd.Index(distinct, tupleize_cols=False)
