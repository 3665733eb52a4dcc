"""The command line: the same words as the Python interface."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from pyrorec.choosing import compare, tune
from pyrorec.judging import diagnose, evaluate, recalibrate
from pyrorec.new_rows import fold_in, neighbours
from pyrorec.options import (
    ExposureColumn,
    InterventionName,
    ItemColumn,
    Output,
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
from pyrorec.questions import build_intervention, build_reading, check_numbers, load_run
from pyrorec.valuing import off_policy

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Pyro models for interaction logs: taste, popularity, and how far to believe them.",
)


def show_version(asked: bool) -> None:
    """Prints the version and ends."""
    if asked:
        from pyrorec import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Version.")] = False,
) -> None:
    """Pyro models for interaction logs: taste, popularity, and how far to believe them."""


@app.command()
def fit(
    log: Annotated[
        Path | None, typer.Argument(metavar="[LOG]", help="CSV, TSV or Parquet; none: embedded log.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    model: Annotated[
        str | None, typer.Option(help="bilateral (default), popularity, or joint (exposure and its outcome).")
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            help="Clicks: bernoulli, cloglog, probit. Counts: poisson, negative-binomial, binomial, multinomial. "
            "Ratings: gaussian, gaussian-known, gaussian-per-item, ordinal. Amounts: gamma, exponential, hurdle-gamma. "
            "Shares: beta, dirichlet."
        ),
    ] = None,
    predictor: Annotated[
        str | None,
        typer.Option(help="plain, additive, log-additive, odds, product-saturation, product-ratio or product-tanh."),
    ] = None,
    prior: Annotated[
        str | None, typer.Option(help="Popularity: gamma, exponential, lognormal, weibull or normal.")
    ] = None,
    posterior: Annotated[
        str | None, typer.Option(help="q(z): gamma, lognormal, weibull, inverse-gaussian or normal.")
    ] = None,
    affinity: Annotated[str | None, typer.Option(help="factorisation-machine, linear, dot or featured-dot.")] = None,
    sharing: Annotated[str | None, typer.Option(help="One popularity per item, period or interaction.")] = None,
    prior_source: Annotated[
        str | None, typer.Option(help="Items' prior: learned, exposure (counts) or earlier (periods).")
    ] = None,
    prior_rule: Annotated[
        str | None, typer.Option(help="Empirical Bayes rule of that prior; default: the one for --prior.")
    ] = None,
    amortised: Annotated[bool | None, typer.Option("--amortised/--free-form", help="Encoder or free q(z).")] = None,
    affinity_first: Annotated[
        bool | None, typer.Option("--affinity-first/--jointly", help="Affinity before popularity, or together.")
    ] = None,
    inverse_propensity: Annotated[
        bool | None, typer.Option("--inverse-propensity/--unweighted", help="Weight by the log's propensities.")
    ] = None,
    negatives: Annotated[float | None, typer.Option(help="Absent pairs drawn per record and epoch.")] = None,
    missing: Annotated[str | None, typer.Option(help="An absent cell: zero, unobserved or a weight.")] = None,
    binarise: Annotated[bool | None, typer.Option("--binarise/--no-binarise", help="Values above 0 become 1.")] = None,
    repeats: Annotated[
        str | None, typer.Option(help="Records of one pair: sum, trials (clicks of impressions), last or apart.")
    ] = None,
    user_features: Annotated[Path | None, typer.Option(help="Table with one row per user.")] = None,
    item_features: Annotated[Path | None, typer.Option(help="Table with one row per item.")] = None,
    factors: Annotated[int | None, typer.Option(help="Number of factors K.")] = None,
    encoder: Annotated[str | None, typer.Option(help="row (of the paper) or set (of any catalogue).")] = None,
    user_prior: Annotated[
        str | None, typer.Option(help="Users' factors: standard, cap (from features) or learned-scale.")
    ] = None,
    item_prior: Annotated[str | None, typer.Option(help="Items' factors, likewise.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's rate.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Share of a row's cells hidden from its encoder.")] = None,
    validation_fraction: Annotated[float | None, typer.Option(help="Part of train watched for stopping.")] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="analytic, integrated, jaakkola-jordan, monte-carlo, map; popularity: expected, analytic, "
            "monte-carlo, score-function."
        ),
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="items-then-users, users-then-items or joint.")] = None,
    holdout: Annotated[float, typer.Option(help="Part kept to evaluate: random exposures, else the latest.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Same seed, same result.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    config: Annotated[Path | None, typer.Option(help="TOML file; flags override it.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Add a version to a folder that holds a run.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted fit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    user_column: UserColumn = "user_id",
    item_column: ItemColumn = "item_id",
    value_column: ValueColumn = "value",
    timestamp_column: TimestampColumn = "timestamp",
    exposure_column: ExposureColumn = "exposure",
    propensity_column: PropensityColumn = "propensity",
) -> None:
    """Fit a model to a log (or to the embedded simulated one) and write a run folder."""
    from pyrorec.commands.fit import Request, run_fit

    check_numbers(factors=factors, epochs=epochs, batch_size=batch_size, threads=threads)
    names = columns(user_column, item_column, value_column, timestamp_column, exposure_column, propensity_column)
    run_fit(
        Request(
            log=log, out=out, columns=names, repeats=repeats, user_features=user_features, item_features=item_features,
            kind=model, config=config, holdout=holdout, seed=seed, threads=threads, device=device,
            replace=replace, resume=resume, progress=not quiet,
            model={"family": family, "predictor": predictor, "prior": prior, "missing": missing,
                   "binarise": binarise, "factors": factors, "posterior": posterior, "affinity": affinity,
                   "sharing": sharing, "prior_source": prior_source, "prior_rule": prior_rule, "amortised": amortised,
                   "affinity_first": affinity_first, "inverse_propensity": inverse_propensity,
                   "negatives": negatives, "encoder": encoder, "user_prior": user_prior, "item_prior": item_prior},
            training={"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "dropout": dropout,
                      "validation_fraction": validation_fraction, "objective": objective, "schedule": schedule},
        )
    )  # fmt: skip


@app.command()
def recommend(
    run: RunFolder,
    *,
    output: Output,
    k: Annotated[int, typer.Option("--k", help="Items per user.")] = 10,
    users: Annotated[Path | None, typer.Option(help="File with a column user_id; all users otherwise.")] = None,
    items: Annotated[Path | None, typer.Option(help="File with a column item_id: the candidates.")] = None,
    exclude: Annotated[Path | None, typer.Option(help="File with user_id, item_id: pairs to leave out.")] = None,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Recommend seen items too.")] = False,
    intervention: InterventionName = "observe",
    weight: Weight = None,
    quality_share: QualityShare = None,
    popularity: PopularityValue = None,
    reading: Annotated[str, typer.Option(help="plug-in, predictive, quantile or thompson.")] = "plug-in",
    quantile: Annotated[float, typer.Option(help="Probability read by --reading quantile.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of --reading thompson.")] = 0,
) -> None:
    """Write the best items of each user: user_id, item_id, rank, score, sd, lower, upper."""
    from pyrorec.commands.tables import check_output, id_column, pairs_table, print_notes, write_table

    check_output(output)
    loaded = load_run(run)
    table = loaded.recommend(
        users=None if users is None else id_column(users, "user_id", loaded.posterior.users),
        items=None if items is None else id_column(items, "item_id", loaded.posterior.items),
        exclude=None if exclude is None else pairs_table(exclude, loaded),
        k=k,
        intervention=build_intervention(intervention, weight, quality_share, popularity, loaded),
        reading=build_reading(reading, quantile, seed),
        include_seen=include_seen,
    )
    write_table(table, output)
    print_notes(table)
    typer.echo(f"{len(table):,} recommendations for {table['user_id'].nunique():,} users in {output}")


@app.command()
def score(
    run: RunFolder,
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="File with user_id and item_id.")],
    *,
    output: Output,
    intervention: InterventionName = "observe",
    weight: Weight = None,
    quality_share: QualityShare = None,
    popularity: PopularityValue = None,
    reading: Annotated[str, typer.Option(help="plug-in, predictive, quantile or thompson.")] = "predictive",
    quantile: Annotated[float, typer.Option(help="Probability read by --reading quantile.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of --reading thompson.")] = 0,
) -> None:
    """Write the pairs with mean (click probability, expected count or rating), sd, lower, upper."""
    from pyrorec.commands.tables import check_output, pairs_table, print_notes, write_table

    check_output(output)
    loaded = load_run(run)
    table = loaded.score(
        pairs_table(pairs, loaded),
        intervention=build_intervention(intervention, weight, quality_share, popularity, loaded),
        reading=build_reading(reading, quantile, seed),
    )
    write_table(table, output)
    print_notes(table)
    typer.echo(f"{len(table):,} pairs scored in {output}")


@app.command()
def report(run: RunFolder) -> None:
    """Write the run's report anew, as report.html in its folder."""
    from pyrorec.commands.fit import rewrite_report

    typer.echo(f"report in {rewrite_report(run)}")


@app.command()
def datasets() -> None:
    """List public logs: where they are, what they hold, under which licence."""
    from pyrorec.data import catalogue

    for entry in catalogue().to_dict("records"):
        typer.echo("\n".join(f"{name}: {value}" for name, value in entry.items()) + "\n")


app.command()(evaluate)
app.command()(diagnose)
app.command()(recalibrate)
app.command("off-policy")(off_policy)
app.command("fold-in")(fold_in)
app.command()(neighbours)
app.command()(compare)
app.command()(tune)


def spread_at(arguments: list[str]) -> list[str]:
    """`--at 10 50` as `--at 10 --at 50`, so that several numbers can follow one flag; so for `--seeds`."""
    out: list[str] = []
    inside = ""
    for argument in arguments:
        if argument in ("--at", "--seeds"):
            inside = argument
        elif inside and argument.lstrip("-").isdigit():
            out += [inside, argument]
        else:
            inside = ""
            out.append(argument)
    return out


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; refused input gives one sentence on standard error and exit status 2."""
    handler = logging.StreamHandler(sys.stdout)  # standard error is for refusals
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("pyrorec").addHandler(handler)
    logging.getLogger("pyrorec").setLevel(logging.INFO)
    try:
        app(args=spread_at(sys.argv[1:] if arguments is None else arguments))
    except ValueError as error:
        from pyrorec.data.errors import InputError  # only now: loading the data room takes a second

        if not isinstance(error, InputError):
            raise
        typer.echo(f"pyrorec: {error}", err=True)
        sys.exit(2)
    except ArithmeticError as error:
        typer.echo(f"pyrorec: {error}", err=True)
        sys.exit(3)
    except KeyboardInterrupt:
        typer.echo("pyrorec: interrupted; a fit goes on with --resume", err=True)
        sys.exit(130)
    finally:
        logging.getLogger("pyrorec").removeHandler(handler)
