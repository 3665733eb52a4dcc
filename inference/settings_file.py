"""Settings as plain values and back: what config.toml holds."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from pyrorec.data import Apart, Duplicates, InputError, Last, Missing, Sum, Trials, Unobserved, Weighted, Zero
from pyrorec.guides.covariances import Covariance
from pyrorec.guides.encoders import Encoding
from pyrorec.inference.annealing import Annealing, Cyclical, WarmUp
from pyrorec.inference.objective import (
    MAP,
    Analytic,
    Expected,
    Integrated,
    JaakkolaJordan,
    MonteCarlo,
    Objective,
    ScoreFunction,
    StoredSample,
)
from pyrorec.inference.plain_values import as_table, check_fields, check_positive
from pyrorec.inference.schedule import ItemsThenUsers, Joint, Schedule, UsersThenItems
from pyrorec.inference.settings import Training
from pyrorec.models.affinities import Affinity
from pyrorec.models.bilateral import BilateralModel, UnfitPair
from pyrorec.models.distributions import PopularityDistribution
from pyrorec.models.factor_priors import FactorPrior
from pyrorec.models.families import Family
from pyrorec.models.joint import JointModel
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.posterior_families import PosteriorFamily
from pyrorec.models.predictors import Predictor
from pyrorec.models.prior_source import PriorSource
from pyrorec.models.registry import Registry
from pyrorec.models.sharing import Sharing

OBJECTIVES: dict[str, type[Objective]] = {
    "analytic": Analytic,
    "expected": Expected,
    "monte-carlo": MonteCarlo,
    "score-function": ScoreFunction,
    "map": MAP,
    "integrated": Integrated,
    "jaakkola-jordan": JaakkolaJordan,
    "stored-sample": StoredSample,
}
SCHEDULES: dict[str, type[Schedule]] = {
    "items-then-users": ItemsThenUsers,
    "users-then-items": UsersThenItems,
    "joint": Joint,
}
ANNEALINGS: dict[str, type[Annealing]] = {"warm-up": WarmUp, "cyclical": Cyclical}
NAMED: dict[str, dict[str, Any]] = {"objective": OBJECTIVES, "schedule": SCHEDULES, "annealing": ANNEALINGS}
"""Parts of the training settings that have names of their own."""
RULES: dict[str, type] = {"sum": Sum, "trials": Trials, "last": Last, "apart": Apart}
PARTS: dict[str, Registry[Any]] = {
    "family": Family.registry,
    "predictor": Predictor.registry,
    "popularity": PopularityDistribution.registry,
    "activity": PopularityDistribution.registry,
    "affinity": Affinity.registry,
    "posterior": PosteriorFamily.registry,
    "sharing": Sharing.registry,
    "source": PriorSource.registry,
    "encoder": Encoding.registry,
    "covariance": Covariance.registry,
    "user_prior": FactorPrior.registry,
    "item_prior": FactorPrior.registry,
    "taste": Affinity.registry,
    "exposure_family": Family.registry,
}
ModelSpec = BilateralModel | PopularityModel | JointModel
KINDS: dict[str, type[ModelSpec]] = {"bilateral": BilateralModel, "popularity": PopularityModel, "joint": JointModel}


def model_to_plain(spec: ModelSpec) -> dict[str, Any]:
    """A model as nested plain values, its kind among them; what is None is left out."""
    plain = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)}
    for part in parts_of(type(spec)):
        plain[part] = None if plain[part] is None else plain[part].to_dict()
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
    kind = next(name for name, cls in KINDS.items() if type(spec) is cls)
    return {"kind": kind} | {name: value for name, value in plain.items() if value is not None}


def model_from_plain(plain: dict[str, Any]) -> ModelSpec:
    """The inverse of `model_to_plain`. Raises InputError for names, fields and values that do not exist."""
    fields = dict(plain)
    kind = kind_named(fields.pop("kind", "bilateral"))
    check_fields(kind, fields, "model")
    check_positive({"scale": fields.get("scale")}, "model")
    known = parts_of(kind)
    given = {name: part_from_plain(name, value) if name in known else value for name, value in fields.items()}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        return kind(**given)
    except UnfitPair as error:
        raise InputError(f"{error}.") from error


def kind_named(name: Any) -> type[ModelSpec]:
    """A kind of model by name. Raises InputError for one that does not exist."""
    if name not in KINDS:
        raise InputError(f"There is no model '{name}'; there are: {', '.join(KINDS)}.")
    return KINDS[name]


def parts_of(kind: type) -> list[str]:
    """The fields of a kind of model that hold a part with a name of its own."""
    return [field.name for field in dataclasses.fields(kind) if field.name in PARTS]


def part_from_plain(part: str, value: Any) -> Any:
    """A family, predictor or popularity distribution from its name, or from a table with its name and fields.

    `part` is a key of `PARTS`. Raises InputError for names, fields and values that do not exist.
    """
    table = as_table(value, f"[model] {part}")
    fields = {key: field for key, field in table.items() if key != "name"}
    try:
        kind = PARTS[part][table["name"]]
    except KeyError as error:
        raise InputError(f"[model] {part}: {error.args[0]}.") from error
    check_fields(kind, fields, f"model.{part}")
    check_positive({name: fields.get(name) for name in kind.learned}, f"model.{part}")
    try:
        return kind(**fields)
    except ValueError as error:
        raise InputError(f"[model.{part}] {error}.") from error


def training_to_plain(training: Training) -> dict[str, Any]:
    """Training settings as plain values; objective, schedule and annealing by name."""
    plain = {f.name: getattr(training, f.name) for f in dataclasses.fields(training)}
    plain |= {name: _named(known, plain[name]) for name, known in NAMED.items()}
    return {name: value for name, value in plain.items() if value is not None}


def training_from_plain(plain: dict[str, Any]) -> Training:
    """The inverse of `training_to_plain`. Raises InputError for names, fields and values that do not exist."""
    check_fields(Training, plain, "training")
    chosen = {
        name: named_settings(known, plain[name], f"training.{name}") for name, known in NAMED.items() if name in plain
    }
    try:
        return Training(**(plain | chosen))
    except ValueError as error:
        raise InputError(f"[training] {error}.") from error


def named_settings(known: dict[str, Any], value: Any, section: str) -> Any:
    """An objective, a schedule or an annealing from its name, or from a table with its name and settings."""
    table = as_table(value, f"[{section}]")
    if table["name"] not in known:
        raise InputError(f"[{section}] There is no '{table['name']}'; there are: {', '.join(known)}.")
    kind, fields = known[table["name"]], {key: field for key, field in table.items() if key != "name"}
    check_fields(kind, fields, section)
    try:
        return kind(**fields)
    except ValueError as error:
        raise InputError(f"[{section}] {error}.") from error


def _named(known: dict[str, Any], value: Any) -> dict[str, Any]:
    name = next((name for name, cls in known.items() if type(value) is cls), None)
    if name is None:
        raise InputError(f"{value!r} cannot be saved, as it is none of {', '.join(known)}; add its class to them.")
    fields = {name: field for name, field in dataclasses.asdict(value).items() if field is not None}
    return {"name": name, **fields}


def missing_to_plain(missing: Missing) -> str | float:
    """ "zero", "unobserved", or the weight of an absent cell."""
    return {Zero: "zero", Unobserved: "unobserved"}.get(type(missing), missing.weight)


def missing_from_plain(plain: str | float) -> Missing:
    """The inverse of `missing_to_plain`. Raises InputError for anything else."""
    known: dict[Any, Missing] = {"zero": Zero(), "unobserved": Unobserved()}
    if isinstance(plain, str) and plain in known:
        return known[plain]
    try:
        return Weighted(float(plain))
    except (TypeError, ValueError) as error:
        raise InputError(f"A missing cell is zero, unobserved or a weight above zero, not {plain!r}.") from error


def rule_to_plain(rule: Duplicates) -> str:
    """How repeated records became one cell, by name."""
    return next(name for name, kind in RULES.items() if type(rule) is kind)


def rule_from_plain(name: str) -> Duplicates:
    """The inverse of `rule_to_plain`."""
    if name not in RULES:
        raise InputError(f"There is no rule '{name}' for repeated records; there are: {', '.join(RULES)}.")
    return RULES[name]()


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as plain values. Raises InputError where it is missing or is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is not a TOML file that can be read: {error}.") from error


def to_toml(plain: dict[str, Any]) -> str:
    """Plain values as TOML text; NumPy's numbers are written as numbers."""
    return tomli_w.dumps(python_numbers(plain))


def python_numbers(value: Any) -> Any:
    """The same value with every NumPy number as Python's."""
    if isinstance(value, dict):
        return {name: python_numbers(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [python_numbers(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value
