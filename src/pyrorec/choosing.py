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
    table = compared(
        loaded, read_interactions(log, columns=names, allow_negative=True, to_fit=False), at=tuple(at), seed=seed
    )
    print_evaluation(table)
    write_table(table.reset_index(), output)


def tune(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="CSV, TSV or Parquet: the log to train on.")],
    *,
    space: Annotated[Path, typer.Option(help="TOML file: lists of values for [model] and [training].")],
    out: Annotated[Path, typer.Option(help="Folder of the results; resumed where it holds some.")],
    validation: Annotated[float, typer.Option(help="Part of the log that candidates are judged on.")] = 0.2,
    seeds: Annotated[list[int], typer.Option(help="One fit and one split each: --seeds 0 1.")] = [0],  # noqa: B006
    metric: Annotated[
        str | None, typer.Option(help="log-likelihood or ndcg@10; chosen by the log if left out.")
    ] = None,
    inverse_propensity: Annotated[
        bool, typer.Option("--inverse-propensity", help="Weigh validation cells by the log's propensities.")
    ] = False,
    user_features: Annotated[Path | None, typer.Option(help="Table with one row per user.")] = None,
    item_features: Annotated[Path | None, typer.Option(help="Table with one row per item.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    user_column: UserColumn = "user_id",
    item_column: ItemColumn = "item_id",
    value_column: ValueColumn = "value",
    timestamp_column: TimestampColumn = "timestamp",
    exposure_column: ExposureColumn = "exposure",
    propensity_column: PropensityColumn = "propensity",
) -> None:
    """Fit a declared space of models on a part of a log, judge them on the rest, and write the best configuration."""
    from pyrorec.data import InputError, read_interactions
    from pyrorec.inference.fit import check_device
    from pyrorec.inference.search_space import Space
    from pyrorec.inference.settings import Context
    from pyrorec.inference.tuning import BEST, RESULTS
    from pyrorec.inference.tuning import tune as tuned
    from pyrorec.inference.validation_metrics import metric_named

    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError("--seeds must be different whole numbers of zero or more.")
    if out.exists() and (not out.is_dir() or any(path.name not in (BEST, RESULTS) for path in out.iterdir())):
        raise InputError(f"{out} holds something else than results of tuning; give another folder.")
    check_device(device)
    declared = Space.read(space)
    train = read_interactions(
        log,
        columns=columns(user_column, item_column, value_column, timestamp_column, exposure_column, propensity_column),
        user_features=user_features,
        item_features=item_features,
        allow_negative=True,
    )
    found = tuned(
        declared, train, out, validation=validation, seeds=seeds,
        metric=metric_named(metric, train, inverse_propensity),
        context=Context(device=device, threads=threads, progress=not quiet),
    )  # fmt: skip
    typer.echo(found.table.to_string(float_format=lambda x: f"{x:.4f}"))
    typer.echo(f"best configuration in {out / BEST}, every fit in {out / RESULTS}")
