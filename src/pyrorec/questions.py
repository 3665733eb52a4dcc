"""Interventions and readings by name, the run they are asked of, and notes on what was not said or said in vain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import pandas as pd

    from pyrorec.inference.intervention import Intervention
    from pyrorec.inference.run import Run
    from pyrorec.inference.scores import Reading

DEFAULT_WEIGHT = 0.5


def build_intervention(
    name: str, weight: float | None, quality_share: float | None, popularity: str | None, run: Run
) -> Intervention:
    """An intervention by name; what was not said, or said in vain, is noted. Raises InputError for an unknown name."""
    from pyrorec.data import InputError
    from pyrorec.inference.intervention import Deconfound, Observe, SetPopularity, Temper

    if weight is not None and name != "temper":
        typer.echo(f"note: --weight has no meaning under {name}; it is the power of popularity under temper.")
    if quality_share is not None and name != "deconfound":
        typer.echo(f"note: --quality-share has no meaning under {name}; it belongs to deconfound.")
    if popularity is not None and name != "set":
        typer.echo(f"note: --popularity has no meaning under {name}; it is the value under set.")
    if name == "temper" and weight is None:
        typer.echo(f"note: --weight was not given and is {DEFAULT_WEIGHT}; tune it on validation data.")
    if name == "set" and popularity is None:
        typer.echo("note: --popularity was not given: every item is taken to be as popular as the average one.")
    makers: dict[str, Callable[[], Intervention]] = {
        "observe": Observe,
        "deconfound": lambda: Deconfound(quality_share or 0.0),
        "set": lambda: SetPopularity(popularity_values(popularity, run)),
        "temper": lambda: Temper(DEFAULT_WEIGHT if weight is None else weight),
    }
    if name not in makers:
        raise InputError(f"There is no intervention '{name}'; there are {', '.join(makers)}.")
    return makers[name]()


def popularity_values(text: str | None, run: Run) -> float | pd.Series:
    """A number, or the popularity column of a file by item id; the average item's popularity where nothing is said."""
    from pyrorec.commands.tables import popularity_column
    from pyrorec.inference.intervention import average_popularity

    if text is None:
        return average_popularity(run.posterior)
    try:
        return float(text)
    except ValueError:
        return popularity_column(Path(text), run.posterior.items)


def build_reading(name: str, quantile: float, seed: int) -> Reading:
    """A reading by name. Raises InputError for an unknown name."""
    from pyrorec.data import InputError
    from pyrorec.inference.scores import PlugIn, Predictive, Quantile, Thompson

    known = {
        "plug-in": PlugIn,
        "predictive": Predictive,
        "quantile": lambda: Quantile(quantile),
        "thompson": lambda: Thompson(seed),
    }
    if name not in known:
        raise InputError(f"There is no reading '{name}'; there are {', '.join(known)}.")
    return known[name]()


def load_run(folder: Path) -> Run:
    """The current version of a run folder."""
    from pyrorec.inference.store import load

    return load(folder)


def check_numbers(**numbers: int | None) -> None:
    """Refuses counts below one."""
    from pyrorec.data import InputError

    for name, number in numbers.items():
        if number is not None and number < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {number}.")
