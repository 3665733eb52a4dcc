"""Tables in and out of the command line: Parquet or CSV by the file's ending."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import typer

from pyrorec.data import InputError
from pyrorec.data.checks import shown
from pyrorec.data.matching import written_as
from pyrorec.data.tables import read_table
from pyrorec.inference.files import whole

if TYPE_CHECKING:
    from pyrorec.inference.run import Run

ENDINGS = {".csv", ".parquet"}


def check_output(path: Path) -> None:
    """Refuses, before any work, a file that could not be written."""
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: give an output ending in .csv or .parquet.")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; create it first.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file.")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Writes a table whole or not at all."""
    with whole(path) as partial:
        if path.suffix == ".csv":
            table.to_csv(partial, index=False)
        else:
            plain = table.copy()
            plain.attrs = {}
            plain.to_parquet(partial, index=False)


def wanting(*needed: str, rest: bool = False):  # type: ignore[no-untyped-def]
    """A column chooser for `read_table` that refuses a table without the needed columns."""

    def wanted(names: Sequence[str]) -> list[str]:
        for column in needed:
            if column not in names:
                raise InputError(f"There is no column '{column}'; the file has {', '.join(map(str, names))}.")
        return list(names) if rest else list(needed)

    return wanted


def id_column(path: Path, column: str, known: pd.Index) -> pd.Index:
    """The ids of a file, as the run writes them."""
    table = read_table(path, wanting(column), (column,))
    return pd.Index(as_known(table[column], known, path))


def pairs_table(path: Path, run: Run) -> pd.DataFrame:
    """A table of pairs with all its columns, ids as the run writes them."""
    table = read_table(path, wanting("user_id", "item_id", rest=True), ("user_id", "item_id"))
    if table.empty:
        raise InputError(f"{path} holds no pairs.")
    table["user_id"] = as_known(table["user_id"], run.posterior.users, path)
    table["item_id"] = as_known(table["item_id"], run.posterior.items, path)
    return table


def popularity_column(path: Path, known: pd.Index) -> pd.Series:
    """Popularity by item id."""
    table = read_table(path, wanting("item_id", "popularity"), ("item_id",))
    values = pd.to_numeric(table["popularity"], errors="coerce")
    if values.isna().any():
        raise InputError(f"{path}: row {int(np.argmax(values.isna())) + 1} has no number in column popularity.")
    index = pd.Index(as_known(table["item_id"], known, path))
    if not index.is_unique:
        raise InputError(
            f"{path}: item {shown(index[index.duplicated()][0])} stands more than once; keep one row each."
        )
    return pd.Series(values.to_numpy(), index=index)


def as_known(ids: pd.Series, known: pd.Index, path: Path) -> pd.Series:
    """Ids as the run writes them; a missing one is refused."""
    if ids.isna().any():
        raise InputError(f"{path}: row {int(np.argmax(ids.isna())) + 1} has no {ids.name}.")
    return pd.Series(written_as(known, pd.Index(ids)), index=ids.index, name=ids.name)


def print_evaluation(table: pd.DataFrame) -> None:
    """The evaluation, one metric a line, with its notes."""
    typer.echo(table.dropna(axis=1, how="all").T.to_string(float_format=lambda x: f"{x:.4f}"))
    print_notes(table)


def print_notes(table: pd.DataFrame) -> None:
    """What the table's maker wants known about it."""
    for note in table.attrs.get("notes", []):
        typer.echo(f"note: {note}")
