"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pyrorec.data import Columns

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a fitted run.")]
UserColumn = Annotated[str, typer.Option(help="Column of user ids.")]
ItemColumn = Annotated[str, typer.Option(help="Column of item ids.")]
ValueColumn = Annotated[str, typer.Option(help="Column of values (counts, clicks, ratings).")]
TimestampColumn = Annotated[str, typer.Option(help="Column of times.")]
ExposureColumn = Annotated[str, typer.Option(help="Column saying biased or random.")]
PropensityColumn = Annotated[str, typer.Option(help="Column of propensities.")]
InterventionName = Annotated[str, typer.Option(help="observe, deconfound, set or temper.")]
Weight = Annotated[float | None, typer.Option(help="Power of popularity under temper (0.5).")]
QualityShare = Annotated[
    float | None,
    typer.Option(help="Under deconfound: part of popularity's effect that is quality and stays, 0 to 1 (0)."),
]
PopularityValue = Annotated[
    str | None, typer.Option(help="Under set: a number, or a file with item_id and popularity (average).")
]
Output = Annotated[Path, typer.Option("--output", "--out", help="CSV or Parquet file to write.")]


def columns(user: str, item: str, value: str, timestamp: str, exposure: str, propensity: str) -> Columns:
    """The column names of a log."""
    from pyrorec.data import Columns

    return Columns(user=user, item=item, value=value, timestamp=timestamp, exposure=exposure, propensity=propensity)
