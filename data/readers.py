"""Logs from files, data frames and matrices."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial, singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from pyrorec.data.build import Rules, build_interactions
from pyrorec.data.checks import Place, exposures, identifiers, numbers, propensities, shown, times
from pyrorec.data.duplicates import Duplicates
from pyrorec.data.entries import Entries
from pyrorec.data.errors import InputError
from pyrorec.data.interactions import Interactions
from pyrorec.data.matrices import entries_of_array, entries_of_sparse
from pyrorec.data.missing import Missing
from pyrorec.data.tables import PathLike, read_table

logger = logging.getLogger("pyrorec")


@dataclass(frozen=True)
class Columns:
    """What the columns of a log are called.

    A column that keeps its default name may be absent, except user and item; one that was renamed may not.
    """

    user: str = "user_id"
    item: str = "item_id"
    value: str = "value"
    timestamp: str = "timestamp"
    exposure: str = "exposure"
    propensity: str = "propensity"

    def present(self, names: Sequence[str], source: str) -> dict[str, str]:
        """The columns found among `names`, by role; InputError for an absent or ambiguous one."""
        found: dict[str, str] = {}
        for field in fields(self):
            name = getattr(self, field.name)
            if name in found.values():
                raise InputError(f"{source}: column '{name}' cannot be the {field.name} as well; name another column.")
            if list(names).count(name) > 1:
                raise InputError(f"{source}: column '{name}' stands twice; keep one of the two.")
            if name in names:
                found[field.name] = name
            elif field.name in ("user", "item") or name != field.default:
                raise InputError(
                    f"{source}: no column '{name}' among {', '.join(map(str, names)) or 'none'}; say which "
                    f"column holds the {field.name}, Columns({field.name}=...) or --{field.name}-column."
                )
        return found


@dataclass(frozen=True)
class Source:
    """A log with its ids coded, and its name for messages."""

    records: Entries
    users: pd.Index
    items: pd.Index
    name: str


def read_interactions(
    source: Any,
    *,
    columns: Columns = Columns(),
    missing: Missing | None = None,
    duplicates: Duplicates | None = None,
    user_features: PathLike | pd.DataFrame | None = None,
    item_features: PathLike | pd.DataFrame | None = None,
    allow_negative: bool = False,
    to_fit: bool = True,
) -> Interactions:
    """The interaction log of a file (.csv, .tsv, .txt, .parquet), a data frame, or a (users, items) matrix.

    A table has one row per record; without a value column each record counts 1. In a sparse matrix the stored
    entries are records, explicit zeros included; in a dense one the nonzero entries, or, where it holds NaN, all
    entries but NaN. Matrix ids are row and column numbers. `missing` and `duplicates` default to what the values
    suggest, see `default_missing` and `choose_rule`. A log that is not `to_fit` but to judge or recalibrate by, or
    to be folded in, may hold zeros alone, and one user or one item. Feature tables are files or frames with one row
    per id, in a column called as the log's id column. Raises InputError, in one sentence that names source, row and
    remedy, for whatever cannot be used.
    """
    coded = _source(source, columns)
    return build_interactions(
        coded.records,
        coded.users,
        coded.items,
        Rules(missing, duplicates, allow_negative, to_fit),
        user_features=None if user_features is None else read_features(user_features, columns.user),
        item_features=None if item_features is None else read_features(item_features, columns.item),
        source=coded.name,
    )


@singledispatch
def _source(source: Any, columns: Columns) -> Source:
    raise InputError(
        f"Cannot read a log from a {type(source).__name__}; give a path, a frame or a (users, items) matrix."
    )


@_source.register(str)
@_source.register(os.PathLike)
def _(source: PathLike, columns: Columns) -> Source:
    name = str(Path(source))

    def wanted(names: Sequence[str]) -> list[str]:
        return list(columns.present(names, name).values())

    return _from_frame(read_table(source, wanted, (columns.user, columns.item)), columns, name)


@_source.register
def _(source: pd.DataFrame, columns: Columns) -> Source:
    return _from_frame(source, columns, "the data frame")


@_source.register
def _(source: np.ndarray, columns: Columns) -> Source:
    return _from_matrix(entries_of_array(source), source.shape, "the array")


@_source.register(sparse.sparray)
@_source.register(sparse.spmatrix)
def _(source: sparse.sparray, columns: Columns) -> Source:
    return _from_matrix(entries_of_sparse(source), source.shape, "the sparse matrix")


def _from_matrix(records: Entries, shape: tuple[int, ...], name: str) -> Source:
    return Source(records, pd.Index(np.arange(shape[0])), pd.Index(np.arange(shape[1])), name)


def _from_frame(frame: pd.DataFrame, columns: Columns, name: str) -> Source:
    found = columns.present(list(frame.columns), name)
    if len(frame) == 0:
        raise InputError(f"{name}: the log holds no record; give one row per interaction.")

    def column(role: str, check: Callable[[pd.Series, Place], np.ndarray]) -> np.ndarray | None:
        return check(frame[found[role]], Place(name, found[role])) if role in found else None

    user, users = identifiers(frame[columns.user], Place(name, columns.user))
    item, items = identifiers(frame[columns.item], Place(name, columns.item))
    value = column("value", numbers)
    if value is None:
        logger.info("%s has no column '%s': each record counts 1.", name, columns.value)
    once = np.broadcast_to(np.float64(1.0), len(frame))
    records = Entries(
        user=user,
        item=item,
        value=once if value is None else value,
        trials=once,
        timestamp=column("timestamp", times),
        exposure=column("exposure", exposures),
        propensity=column("propensity", propensities),
    )
    return Source(records, users, items, name)


@singledispatch
def read_features(source: PathLike | pd.DataFrame, id_column: str) -> pd.DataFrame:
    """A table of features, a file or a data frame, indexed by its column `id_column` of unique ids.

    A frame already indexed by ids of that name is taken as it is. Raises InputError for an absent column and
    for missing or repeated ids.
    """
    path = Path(source)
    check = partial(_needs, id_column=id_column, name=str(path))
    return _indexed(read_table(path, check, (id_column,)), id_column, str(path))


@read_features.register
def _(source: pd.DataFrame, id_column: str) -> pd.DataFrame:
    name = "the feature table"
    if id_column not in source.columns and source.index.name == id_column:
        source = source.reset_index()
    _needs(list(source.columns), id_column, name)
    return _indexed(source, id_column, name)


def _needs(names: Sequence[str], id_column: str, name: str) -> list[str]:
    if list(names).count(id_column) != 1:
        raise InputError(f"{name}: needs one column '{id_column}' among {', '.join(map(str, names))}; rename it.")
    return list(names)


def _indexed(frame: pd.DataFrame, id_column: str, name: str) -> pd.DataFrame:
    codes, ids = identifiers(frame[id_column], Place(name, id_column))
    if len(ids) < len(codes):
        twice = ids[int(codes[pd.Series(codes).duplicated().to_numpy()][0])]
        raise InputError(f"{name}: id {shown(twice)} stands more than once in '{id_column}'; keep one row per id.")
    table = frame.drop(columns=id_column)
    table.index = ids.rename(id_column)
    return table
