"""Tables from files: CSV, TSV and Parquet, every failure told in one sentence."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pandas as pd
import pyarrow.parquet as pq

from pyrorec.data.errors import InputError

PathLike: TypeAlias = str | os.PathLike[str]

#: What stands for a missing entry in text, except in id columns, where "NA" or "None" may be an id.
ABSENT = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "<NA>")
WHOLE_NUMBER = r"(?:0|-?[1-9][0-9]{0,17})"

#: Given the column names of a table, the columns wanted of it; may refuse.
Wanted: TypeAlias = Callable[[Sequence[str]], list[str]]


def read_table(path: PathLike, wanted: Wanted, ids: Sequence[str]) -> pd.DataFrame:
    """The wanted columns of a .csv, .tsv, .txt (tabs) or .parquet file; text may be compressed (.gz).

    `wanted` maps the column names of the file to those to read. `ids` names the id columns: in text they are
    kept as written, so that 007 stays apart from 7, unless all are plain whole numbers. Raises InputError for
    what is absent, unknown or damaged.
    """
    file = Path(path)
    read = _reader(file)
    if not file.exists():
        raise InputError(f"{file}: no such file; check the path.")
    if not file.is_file():
        raise InputError(f"{file}: is not a file; give the path of one CSV or Parquet file.")
    return read(file, wanted, ids)


def _read_parquet(file: Path, wanted: Wanted, ids: Sequence[str]) -> pd.DataFrame:
    with _told(file, "Parquet"), pq.ParquetFile(file) as parquet:
        names = wanted(parquet.schema_arrow.names)
        table = parquet.read(columns=names)
        table.validate(full=True)  # damaged text would otherwise surface only when it is first used
        # Without the pandas metadata an index that was stored comes back as the plain column it is.
        return table.to_pandas(ignore_metadata=True, split_blocks=True, self_destruct=True)


def _read_text(file: Path, wanted: Wanted, ids: Sequence[str], *, separator: str) -> pd.DataFrame:
    read = partial(pd.read_csv, sep=separator, encoding="utf-8-sig", index_col=False, keep_default_na=False)
    with _told(file, "text"):
        header = [str(name) for name in read(file, nrows=0).columns]
        names = wanted(header)
        absent = {name: [""] if name in ids else list(ABSENT) for name in header}
        # All columns are read and then dropped: with usecols pandas would not notice rows that are too long.
        frame = read(file, na_values=absent, dtype={name: str for name in ids}, low_memory=False)[names]
    return frame.assign(**{name: _plain_ids(frame[name]) for name in ids if name in names})


def _plain_ids(column: pd.Series) -> pd.Series:
    """Ids written as plain whole numbers throughout become int64; other ids stay text."""
    codes, distinct = pd.factorize(column)
    if len(distinct) == 0 or (codes < 0).any() or not distinct.str.fullmatch(WHOLE_NUMBER).all():
        return column
    return pd.Series(distinct.astype("int64").to_numpy().take(codes), index=column.index, name=column.name)


@contextmanager
def _told(file: Path, format_name: str) -> Iterator[None]:
    """Turn whatever a parser raises into InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except InputError:
        raise
    except Exception as error:  # parsers of damaged files raise nearly anything, MemoryError included
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{file}: cannot be read as {format_name} ({reason}); check that it is complete.") from None


READERS: dict[str, Callable[[Path, Wanted, Sequence[str]], pd.DataFrame]] = {
    ".csv": partial(_read_text, separator=","),
    ".tsv": partial(_read_text, separator="\t"),
    ".txt": partial(_read_text, separator="\t"),
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
}
COMPRESSED = (".csv", ".tsv", ".txt")


def _reader(file: Path) -> Callable[[Path, Wanted, Sequence[str]], pd.DataFrame]:
    suffix = file.suffix.lower()
    if suffix == ".gz" and Path(file.stem).suffix.lower() in COMPRESSED:
        suffix = Path(file.stem).suffix.lower()
    if suffix not in READERS:
        raise InputError(f"{file}: unknown suffix '{file.suffix}'; use one of {', '.join(READERS)}, .csv.gz.")
    return READERS[suffix]
