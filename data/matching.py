"""Ids from one source as another source writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types


def written_as(known: pd.Index, ids: pd.Index) -> pd.Index:
    """`ids` as `known` writes them: numbers as text, or what reads as a number as that number.

    A file's ids are numbers or text as a whole, so one strange id changes the type of all others. What cannot be
    written in the other way stays as it is, and so does every id where the types agree.
    """
    if known.inferred_type == "string" and types.is_numeric_dtype(ids):
        return pd.Index([str(_plain(number)) for number in ids], dtype=known.dtype)
    if types.is_numeric_dtype(known) and not types.is_numeric_dtype(ids):
        return pd.Index([_number(entry) for entry in ids], dtype=object)
    return ids


def _number(entry: Any) -> Any:
    """A text that reads as a finite number as that number, whole ones as int; anything else as it is."""
    if not isinstance(entry, str):
        return entry
    try:
        number = float(entry)
    except ValueError:
        return entry
    return _plain(number) if np.isfinite(number) else entry


def _plain(number: Any) -> Any:
    """Whole numbers as int."""
    value = number.item() if isinstance(number, np.generic) else number
    return int(value) if isinstance(value, float) and value.is_integer() else value
