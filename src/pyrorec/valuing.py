"""The command that says what a policy would earn, from a log that another policy left."""

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
    from pyrorec.evaluation.intervals import Interval
    from pyrorec.inference.policy import Rule


def off_policy(
    run: RunFolder,
    log: Annotated[Path, typer.Argument(metavar="LOG", help="Impressions of another policy, with propensities.")],
    *,
    rule: Annotated[str, typer.Option(help="How items are shown by their scores: greedy or softmax.")] = "greedy",
    epsilon: Annotated[float, typer.Option(help="Under greedy: probability of any candidate at random.")] = 0.0,
    temperature: Annotated[float | None, typer.Option(help="Under softmax: in the unit of the scores.")] = None,
    items: Annotated[Path | None, typer.Option(help="File with a column item_id: the candidates.")] = None,
    could_show: Annotated[
        Path | None,
        typer.Option(help="File with item_id: what the logging policy could show; else what the log holds."),
    ] = None,
    by_record: Annotated[
        bool, typer.Option("--by-record", help="Records, not users, are the independent units.")
    ] = False,
    bootstrap: Annotated[
        int | None, typer.Option(help="Resamples of a bootstrap in place of normal intervals.")
    ] = None,
    level: Annotated[float, typer.Option(help="Probability of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    intervention: InterventionName = "observe",
    weight: Weight = None,
    quality_share: QualityShare = None,
    popularity: PopularityValue = None,
    output: Annotated[Path | None, typer.Option(help="CSV or Parquet file to write.")] = None,
    user_column: UserColumn = "user_id",
    item_column: ItemColumn = "item_id",
    value_column: ValueColumn = "value",
    timestamp_column: TimestampColumn = "timestamp",
    exposure_column: ExposureColumn = "exposure",
    propensity_column: PropensityColumn = "propensity",
) -> None:
    """Estimate what showing items by a run would earn: IPS, self-normalised IPS and doubly robust."""
    from pyrorec.commands.tables import check_output, id_column, print_notes, write_table
    from pyrorec.data import Apart, read_interactions
    from pyrorec.inference.off_policy import off_policy as estimated
    from pyrorec.inference.policy import policy

    check_numbers(bootstrap=bootstrap)
    chosen, interval = build_rule(rule, epsilon, temperature), build_interval(bootstrap, level, seed)
    if output is not None:
        check_output(output)
    loaded = load_run(run)
    names = columns(user_column, item_column, value_column, timestamp_column, exposure_column, propensity_column)
    impressions = read_interactions(log, columns=names, duplicates=Apart(), allow_negative=True, to_fit=False)
    known = loaded.posterior.items
    target = policy(
        loaded,
        chosen,
        intervention=build_intervention(intervention, weight, quality_share, popularity, loaded),
        items=None if items is None else id_column(items, "item_id", known),
    )
    shown = None if could_show is None else id_column(could_show, "item_id", known)
    table = estimated(target, impressions, could_show=shown, by_user=not by_record, interval=interval)
    typer.echo(table.T.to_string(float_format=lambda x: f"{x:.4g}"))
    print_notes(table)
    if output is not None:
        write_table(table.reset_index(), output)


def build_rule(name: str, epsilon: float, temperature: float | None) -> Rule:
    """A rule by name; what was said in vain is noted. Raises InputError for an unknown name, a missing temperature."""
    from pyrorec.data import InputError
    from pyrorec.inference.policy import EpsilonGreedy, Softmax

    if name == "greedy":
        if temperature is not None:
            typer.echo("note: --temperature has no meaning under greedy; it belongs to softmax.")
        return EpsilonGreedy(epsilon)
    if name == "softmax":
        if temperature is None:
            raise InputError("--rule softmax needs a --temperature, in the unit of the scores that `score` writes.")
        if epsilon:
            typer.echo("note: --epsilon has no meaning under softmax; it belongs to greedy.")
        return Softmax(temperature)
    raise InputError(f"There is no rule '{name}'; there are greedy and softmax.")


def build_interval(bootstrap: int | None, level: float, seed: int) -> Interval:
    """A normal interval, or a bootstrap of so many draws. Raises InputError for a level that is no probability."""
    from pyrorec.data import InputError
    from pyrorec.evaluation import Bootstrap, Linearised

    if not 0 < level < 1:
        raise InputError(f"--level is a probability between 0 and 1, not {level}.")
    return Linearised(level) if bootstrap is None else Bootstrap(level, bootstrap, seed)
