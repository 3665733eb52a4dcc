"""Commands for choosing among models: comparing runs, and tuning over a declared space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pyrorec.options import (
    ExposureColumn,
    ItemColumn,
    Output,
    PropensityColumn,
    TimestampColumn,
    UserColumn,
    ValueColumn,
    columns,
)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of fitted runs.")],
    *,
    log: Annotated[Path, typer.Option(help="Held-out log, which no run has seen.")],
    output: Output,
    at: Annotated[list[int], typer.Option(help="Also NDCG at these list lengths: --at 10.")] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(help="Seed of the posterior draws.")] = 0,
    user_column: UserColumn = "user_id",
    item_column: ItemColumn = "item_id",
    value_column: ValueColumn = "value",
    timestamp_column: TimestampColumn = "timestamp",
    exposure_column: ExposureColumn = "exposure",
    propensity_column: PropensityColumn = "propensity",
) -> None:
    """Compare runs by held-out predictive density, with standard errors of differences."""
    from pyrorec.commands.tables import check_output, print_evaluation, write_table
    from pyrorec.data import InputError, read_interactions
    from pyrorec.inference.compare import compare as compared
    from pyrorec.inference.store import load

    check_output(output)
    if len({str(run) for run in runs}) < len(runs):
        raise InputError("One run is given twice; give each folder once.")
    if at and min(at) < 1:
        raise InputError(f"--at must be at least 1, not {min(at)}.")
    loaded = {str(run): load(run) for run in runs}
    names = columns(user_column, item_column, value_column, timestamp_column, exposure_column, propensity_column)
    table = compared(loaded, read_interactions(log, columns=names, allow_negative=True), at=tuple(at), seed=seed)
    print_evaluation(table)
    write_table(table.reset_index(), output)
