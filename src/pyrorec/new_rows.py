"""Commands on single rows of a run: folding in new ones, and finding neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pyrorec.options import (
    ExposureColumn,
    ItemColumn,
    Output,
    PropensityColumn,
    RunFolder,
    TimestampColumn,
    UserColumn,
    ValueColumn,
    columns,
)


def fold_in(
    run: RunFolder,
    log: Annotated[Path, typer.Argument(metavar="NEW", help="Log of new users, new items or changed cells.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Folder of the new run; none: a new version of RUN.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Add a version to a folder that holds a run.")] = False,
    user_features: Annotated[Path | None, typer.Option(help="Table with one row per new user.")] = None,
    item_features: Annotated[Path | None, typer.Option(help="Table with one row per new item.")] = None,
    user_column: UserColumn = "user_id",
    item_column: ItemColumn = "item_id",
    value_column: ValueColumn = "value",
    timestamp_column: TimestampColumn = "timestamp",
    exposure_column: ExposureColumn = "exposure",
    propensity_column: PropensityColumn = "propensity",
) -> None:
    """Give new users, new items and changed rows a posterior without training, as a run of its own."""
    from pyrorec.commands.fit import add_version
    from pyrorec.data import read_interactions
    from pyrorec.inference.fold_in import fold_in as folded
    from pyrorec.inference.store import check_folder, ids_frame, load

    target = run if out is None else out
    if out is not None:
        check_folder(out, replace_run=replace)
    loaded = load(run)
    new = read_interactions(
        log,
        columns=columns(user_column, item_column, value_column, timestamp_column, exposure_column, propensity_column),
        duplicates=loaded.log.rule,
        user_features=user_features,
        item_features=item_features,
        allow_negative=True,
        to_fit=False,
    )
    found = folded(loaded, new)
    ids_frame(found.log)  # refuses ids that could not be saved
    typer.echo(f"run in {target} ({add_version(found, target).name})")


def neighbours(
    run: RunFolder,
    *,
    output: Output,
    item: Annotated[list[str], typer.Option(help="Id of an item; give it again for more.")] = [],  # noqa: B006
    user: Annotated[list[str], typer.Option(help="Id of a user; give it again for more.")] = [],  # noqa: B006
    side: Annotated[str, typer.Option(help="Without ids: all of item or user.")] = "item",
    k: Annotated[int, typer.Option("--k", help="Neighbours of each.")] = 10,
    draws: Annotated[int, typer.Option(help="Posterior draws.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
) -> None:
    """Write the most similar items or users: id, neighbour, rank, similarity, sd, lower, upper."""
    from pyrorec.commands.tables import check_output, write_table
    from pyrorec.data import InputError
    from pyrorec.inference.neighbours import neighbours as found
    from pyrorec.inference.store import load

    check_output(output)
    if item and user:
        raise InputError("Ask for neighbours of items or of users, not of both at once.")
    side = "user" if user else "item" if item else side
    table = found(load(run), side, item or user or None, k, draws, seed)
    write_table(table, output)
    typer.echo(f"{len(table):,} neighbours of {table['id'].nunique():,} {side}s in {output}")
