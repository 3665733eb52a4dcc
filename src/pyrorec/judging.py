"""Commands on how far a run may be believed: judging it, and setting its level right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyrorec.options import (
    ExposureColumn,
    InterventionName,
    ItemColumn,
    PopularityValue,
    PropensityColumn,
    QualityShare,
    RunFolder,
    TimestampColumn,
    UserColumn,
    ValueColumn,
    Weight,
    columns,
)
from pyrorec.questions import build_intervention, check_numbers, load_run

if TYPE_CHECKING:
    from pyrorec.data import Columns, Interactions


def evaluate(
    run: RunFolder,
    test: Annotated[Path, typer.Argument(metavar="TEST", help="Log to judge the run on.")],
    *,
    at: Annotated[list[int], typer.Option(help="List lengths: --at 10 50.")] = [10, 50],  # noqa: B006
    output: Annotated[Path | None, typer.Option(help="CSV or Parquet file to write.")] = None,
    user_column: UserColumn = "user_id",
    item_column: ItemColumn = "item_id",
    value_column: ValueColumn = "value",
    timestamp_column: TimestampColumn = "timestamp",
    exposure_column: ExposureColumn = "exposure",
    propensity_column: PropensityColumn = "propensity",
) -> None:
    """Judge a run on a test log, baselines beside it."""
    from pyrorec.commands.tables import check_output, print_evaluation, write_table
    from pyrorec.inference.evaluate import evaluate as judge

    check_numbers(at=min(at))
    if output is not None:
        check_output(output)
    loaded = load_run(run)
    names = columns(user_column, item_column, value_column, timestamp_column, exposure_column, propensity_column)
    table = judge(loaded, read_test(test, names), at=tuple(at))
    print_evaluation(table)
    if output is not None:
        write_table(table.reset_index(), output)


def diagnose(
    run: RunFolder,
    *,
    output: Annotated[Path | None, typer.Option(help="CSV or Parquet file to write.")] = None,
) -> None:
    """Say in plain words what of a run may be believed."""
    from pyrorec.commands.tables import check_output, write_table
    from pyrorec.inference.diagnostics import diagnose as examine

    if output is not None:
        check_output(output)
    table = examine(load_run(run))
    for line in table.itertuples():
        typer.echo(f"[{line.verdict}] {line.check}: {line.finding}")
    if output is not None:
        write_table(table, output)


def recalibrate(
    run: RunFolder,
    random_log: Annotated[
        Path | None, typer.Argument(metavar="[RANDOM_LOG]", help="Log of randomly exposed pairs.")
    ] = None,
    *,
    intervention: InterventionName = "observe",
    weight: Weight = None,
    quality_share: QualityShare = None,
    popularity: PopularityValue = None,
    use_propensities: Annotated[
        bool,
        typer.Option("--use-propensities", help="Start from what the run's own propensities say, or take it alone."),
    ] = False,
    user_column: UserColumn = "user_id",
    item_column: ItemColumn = "item_id",
    value_column: ValueColumn = "value",
    timestamp_column: TimestampColumn = "timestamp",
    exposure_column: ExposureColumn = "exposure",
    propensity_column: PropensityColumn = "propensity",
) -> None:
    """Correct a run's base rate by a small random sample, or by propensities, as a new version of the run."""
    from pyrorec.commands.fit import add_version
    from pyrorec.data import InputError
    from pyrorec.inference.recalibrate import level_by_propensity, shift_by_propensity
    from pyrorec.inference.recalibrate import recalibrate as corrected

    if random_log is None and not use_propensities:
        raise InputError("Give a log of randomly exposed pairs, or --use-propensities where the run's log has some.")
    loaded = load_run(run)
    names = columns(user_column, item_column, value_column, timestamp_column, exposure_column, propensity_column)
    asked = build_intervention(intervention, weight, quality_share, popularity, loaded)
    if random_log is None:
        mended = level_by_propensity(loaded, asked)
    else:
        prior = shift_by_propensity(loaded, asked) if use_propensities else None
        mended = corrected(loaded, read_test(random_log, names), asked, prior)
    version = add_version(mended, run)
    typer.echo(f"run in {run} ({version.name})")


def read_test(path: Path, names: Columns) -> Interactions:
    """A log to judge a run on; ratings below zero are allowed, and zeros alone."""
    from pyrorec.data import read_interactions

    return read_interactions(path, columns=names, allow_negative=True, to_fit=False)
