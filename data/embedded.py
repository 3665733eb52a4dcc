"""The simulated log that ships with the package, and the truth it was drawn from.

Its files are open formats in the folder `embedded`; `python -m pyrorec.simulation.embedded` writes them anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd

from pyrorec.data.interactions import Interactions
from pyrorec.data.readers import read_interactions
from pyrorec.data.truth import Truth


def embedded_log() -> tuple[Interactions, Interactions]:
    """(train, test): confounded counts, and clicks on randomly shown items, with features and common ids.

    In train popularity decides what users come across, and an absent cell is a zero; test has 0 and 1 of
    impressions drawn regardless of popularity, and an absent cell says nothing.
    """
    with _folder() as folder:
        train = _read(folder, "train")
        test = _read(folder, "test")
    user, item = test.recode(train.users, train.items)
    return train, replace(test, users=train.users, items=train.items, user=user, item=item)


def embedded_truth() -> Truth:
    """Popularity, activity, factors and scalars behind `embedded_log`, in the order of its ids."""
    with _folder() as folder:
        train = _read(folder, "train")
        truth = Truth.from_tables(
            pd.read_parquet(folder / "user_truth.parquet"),
            pd.read_parquet(folder / "item_truth.parquet"),
            json.loads((folder / "truth.json").read_text(encoding="utf-8")),
        )
    return truth.aligned(train.users, train.items)


@contextmanager
def _folder() -> Iterator[Path]:
    with as_file(files("pyrorec.data") / "embedded") as folder:
        yield folder


def _read(folder: Path, part: str) -> Interactions:
    return read_interactions(
        folder / f"{part}.parquet",
        user_features=folder / "user_features.parquet",
        item_features=folder / "item_features.parquet",
    )
