"""The report of a run as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pyro.distributions as dist
from matplotlib.figure import Figure

from pyrorec.data import InputError, Interactions, Unobserved, Weighted
from pyrorec.data.truth import Truth
from pyrorec.inference.files import write_text
from pyrorec.inference.intervention import Deconfound, Intervention, Observe
from pyrorec.inference.run import Run
from pyrorec.models.families import Outcome
from pyrorec.report import figures, html, popularity
from pyrorec.report.meanings import meaning

LISTED = 5
"""Recommendations shown to each of a few users."""


def write_report(
    run: Run,
    path: str | Path,
    *,
    test: Interactions | None = None,
    evaluation: pd.DataFrame | None = None,
    truth: Truth | None = None,
    diagnostics: pd.DataFrame | None = None,
) -> None:
    """Writes the report of a run to `path`: one HTML file without scripts and without links to elsewhere.

    `test` serves calibration, `evaluation` is what `evaluate(run, test)` gave, `truth` is known for simulated
    logs, `diagnostics` any table worth showing. A section that cannot be made says why. The folder of `path` is
    made if need be; the file is whole or absent.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, report(run, test, evaluation, truth, diagnostics))


def report(
    run: Run,
    test: Interactions | None,
    evaluation: pd.DataFrame | None,
    truth: Truth | None,
    diagnostics: pd.DataFrame | None,
) -> str:
    """The page as text."""
    sections: list[tuple[str, Callable[[], str]]] = [
        ("What was fitted", lambda: fitted(run)),
        ("Evaluation", lambda: evaluated(evaluation)),
        ("Training", lambda: drawn(figures.loss_curves(run))),
        ("Popularity against counts", lambda: drawn(popularity.popularity_against_counts(run))),
        ("Recovery of the truth", lambda: recovered(run, truth)),
        ("Calibration", lambda: drawn(figures.calibration(run, test))),
        ("Popularity of what is recommended", lambda: drawn(figures.popularity_under_interventions(run, evaluation))),
        ("Factors in use", lambda: drawn(figures.active_factors(run))),
        ("Diagnostics", lambda: diagnosed(diagnostics)),
        ("Recommendations", lambda: recommended(run)),
        ("What this report does not show", lambda: html.items(limits(run, test, truth))),
    ]
    return html.page("Report of a run", [(heading, attempt(make)) for heading, make in sections])


def attempt(make: Callable[[], str]) -> str:
    """A section, or the sentence that says why there is none."""
    try:
        return make()
    except InputError as reason:
        return html.absent(str(reason))


def drawn(figure: Figure) -> str:
    """A figure as a section of the page."""
    return html.picture(figure)


def fitted(run: Run) -> str:
    """Model, log and training in plain words."""
    log, spec = run.log, run.spec
    cells = log.n_users * log.n_items
    epoch = run.best_epoch
    laws = run.posterior.item_effect.population, run.posterior.user_effect.population
    lines = {
        "Choice": run.reason or "the model was given by the caller",
        **{f"Model: {f.name}": plain(getattr(spec, f.name)) for f in fields(spec)},
        "Outcome": f"{spec.outcome.value} (family {run.posterior.response})",
        "Learned": "intercept {:.4g}, predictor {}, popularity {}, activity {}".format(
            float(run.posterior.intercept), run.posterior.item_effect.predictor, *map(law, laws)
        ),
        "Level": level(run),
        "Log": f"{log.n_users:,} users, {log.n_items:,} items, {len(log):,} cells of {cells:,} "
        f"({len(log) / max(1, cells):.2%}), {log.kind.value}",
        "Missing cells": absent_cells(log),
        "Repeated records": log.aggregation or "there were none",
        "Training": f"{run.training}",
        "Epochs": f"{len(run.metrics)} of at most {run.training.epochs}, "
        + (f"epoch {epoch} kept (counted from 0)" if epoch is not None else "the last one kept"),
        "Seed": f"{run.seed}",
    }
    return html.facts(lines)


def level(run: Run) -> str:
    """What was added to the linear predictor after the fit."""
    posterior = run.posterior
    fitted = posterior.level_shift - posterior.recalibration
    parts = {"to match the clicks of the log": fitted, "by a random sample or propensities": posterior.recalibration}
    said = [f"{shift:+.3f} {why}" for why, shift in parts.items() if shift]
    return "moved after the fit: " + ", ".join(said) if said else "as fitted"


def plain(part: object) -> str:
    """A field of the model as text."""
    return "none" if part is None else str(part)


def law(population: dist.TorchDistribution | None) -> str:
    """A population law with the numbers it was given or learned."""
    if population is None:
        return "none"
    numbers = ", ".join(f"{name} {float(getattr(population, name)):.4g}" for name in population.arg_constraints)
    return f"~ {type(population).__name__}({numbers})"


def absent_cells(log: Interactions) -> str:
    """What a missing cell says, in words."""
    if isinstance(log.missing, Unobserved):
        return "unobserved: they enter no likelihood"
    if isinstance(log.missing, Weighted):
        return f"zeros of weight {log.missing.weight:g}"
    return "zeros, as sure as any zero in the log"


def evaluated(evaluation: pd.DataFrame | None) -> str:
    """The evaluation table, one metric a row, with what it means."""
    if evaluation is None:
        raise InputError("No evaluation was given: pass evaluation=evaluate(run, test) with a held-out log.")
    rows = [[name, *evaluation[name], meaning(name)] for name in evaluation.columns]
    notes = [str(note) for note in evaluation.attrs.get("notes", [])]
    return html.table(["metric", *evaluation.index, "what it means"], rows) + (html.items(notes) if notes else "")


def recovered(run: Run, truth: Truth | None) -> str:
    """Recovered against true popularity. Raises InputError where no truth is known."""
    if truth is None:
        raise InputError("The truth behind this log is not known; only simulated logs have one.")
    return drawn(popularity.recovered_against_true(run, truth))


def diagnosed(diagnostics: pd.DataFrame | None) -> str:
    """The table of diagnostics. Raises InputError where none was given."""
    if diagnostics is None:
        raise InputError("No diagnostics were given.")
    return html.table(["", *diagnostics.columns], ([name, *row] for name, *row in diagnostics.itertuples()))


def recommended(run: Run) -> str:
    """The first items of a few users, with what becomes of the list when popularity is averaged out."""
    users = few_users(run)
    asked: dict[str, Intervention] = {"Observe": Observe()}
    if run.posterior.popularity is not None:
        asked["Deconfound"] = Deconfound()
    lists = {name: run.recommend(users, LISTED, intervention) for name, intervention in asked.items()}
    blocks = []
    for user, cells in zip(users, run.log.user_counts[run.posterior.users.get_indexer(users)], strict=True):
        tables = "".join(
            f"<div><h3>{name}</h3>{listed(table[table.user_id == user])}</div>" for name, table in lists.items()
        )
        blocks.append(
            f'<h3>User {html.escape(str(user))}, {cells:,} cells in the log</h3><div class="pair">{tables}</div>'
        )
    note = (
        f"Score: {run.spec.outcome.value}, plug-in; the interval holds 90 % of the posterior. Seen items are left out."
    )
    if len(asked) == 1:
        note += " There is no popularity in the model, so Deconfound cannot be asked."
    return html.paragraph(note) + "".join(blocks)


def few_users(run: Run) -> pd.Index:
    """The least active user, one in the middle and the most active one."""
    order = np.argsort(run.log.user_counts, kind="stable")
    chosen = np.unique([0, len(order) // 2, len(order) - 1])
    return run.posterior.users.take(order[chosen])


def listed(table: pd.DataFrame) -> str:
    """Recommendations of one user as a table."""
    rows = (
        [str(r.rank), str(r.item_id), r.score, f"{html.number(r.lower)} to {html.number(r.upper)}"]
        for r in table.itertuples()
    )
    return html.table(["rank", "item", "score", "90 % interval"], rows)


def limits(run: Run, test: Interactions | None, truth: Truth | None) -> list[str]:
    """What a reader might take from the page and should not."""
    lines = [
        "Intervals are those of a mean-field approximation: users, items and popularity are taken as independent "
        "in the posterior, which makes intervals too narrow, and learned numbers (intercept, prior shapes, "
        "noise) are point estimates whose uncertainty is left out.",
        "One seed was fitted: how far another seed, split or number of factors would lead elsewhere is not shown.",
        "Deconfound answers a causal question only if popularity, as modelled, is what confounds exposure and "
        "outcome; the log alone cannot tell whether something else does.",
        "Popularity is partly quality: what an item gains by being good and by being seen is one number here.",
        "Ranking metrics on a log collected under a recommender favour whatever that recommender showed.",
    ]
    if test is None:
        lines.append("Nothing was held out for this page: train log figures say how the model describes, not predicts.")
    if truth is not None:
        lines.append("The log is simulated from the very family of models that was fitted; real logs are less kind.")
    if run.spec.outcome is Outcome.CLICK and run.log.missing.weight:
        lines.append("Missing cells were taken as zeros, so click probabilities include the chance of being exposed.")
    return lines
