"""Results written down one line at a time, so that what is done stays done when a process dies."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from pyrorec.data import Interactions
from pyrorec.inference.files import write_text


class Ledger:
    """Rows by key, kept in a file of JSON lines; a last line that was cut off is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            found = [parsed(line) for line in path.read_text(encoding="utf-8").splitlines()]
            self.rows = {row["key"]: row for row in found if row is not None}
            write_text(path, "".join(json.dumps(row) + "\n" for row in self.rows.values()))

    def __contains__(self, key: str) -> bool:
        return key in self.rows

    def add(self, key: str, row: dict[str, Any]) -> None:
        """Appends a row and forces it onto the disk."""
        self.rows[key] = {"key": key} | row
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(self.rows[key]) + "\n")
            file.flush()
            os.fsync(file.fileno())


def parsed(line: str) -> dict[str, Any] | None:
    """A row, None for a line that is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("key"), str) else None


def key_of(*parts: Any) -> str:
    """A hash of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def digest_of(log: Interactions) -> str:
    """A hash of everything a fit reads of a log."""
    found = hashlib.sha256(repr(log.missing).encode())
    for table in (log.to_frame(), log.user_features, log.item_features):
        if table is not None:
            found.update(pd.util.hash_pandas_object(table).to_numpy().tobytes())
            found.update(repr(list(table.columns)).encode())
    return found.hexdigest()
