"""Write the log that ships with the package: `python -m pyrorec.simulation.embedded [FOLDER]`."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from pyrorec.data import Interactions
from pyrorec.simulation.world import FrailtyWorld

SEED = 2024
WORLD = FrailtyWorld(users=600, items=300, factors=4, mean_count=0.25, random_per_user=20)


def write_embedded(folder: Path) -> None:
    """Simulate the shipped world and write its log, features and truth into `folder` as Parquet and JSON."""
    drawn = WORLD.simulate(SEED)
    tables = {
        "train": _cells(drawn.train),
        "test": _cells(drawn.test),
        "user_features": _compact(_features(drawn.train.user_features)),
        "item_features": _compact(_features(drawn.train.item_features)),
        "user_truth": _compact(drawn.truth.user_table()),
        "item_truth": _compact(drawn.truth.item_table()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False, compression="zstd")
    # Rounded as the tables are, so that the last bit of a logarithm may differ between machines.
    shared = {name: round(number, 6) for name, number in drawn.truth.shared().items()}
    (folder / "truth.json").write_text(json.dumps(shared, indent=2) + "\n", encoding="utf-8")


def _cells(log: Interactions) -> pd.DataFrame:
    frame = log.to_frame()[["user_id", "item_id", "value", "timestamp", "exposure"]]
    return frame.astype({"value": np.int16, "timestamp": np.int32})


def _features(table: pd.DataFrame | None) -> pd.DataFrame:
    assert table is not None, "the embedded world has features"
    return table.reset_index()


def _compact(frame: pd.DataFrame) -> pd.DataFrame:
    """Reals as float32."""
    return frame.astype({name: np.float32 for name in frame.select_dtypes("float64").columns})


def main() -> None:
    """Write into the folder named on the command line, or else the one the package reads."""
    named = sys.argv[1:]
    folder = Path(named[0]) if named else Path(str(files("pyrorec.data") / "embedded"))
    write_embedded(folder)
    print(f"wrote {sum(file.stat().st_size for file in folder.iterdir()):,} bytes to {folder}")


if __name__ == "__main__":
    main()
