"""From a configuration file and the flags that override it to the values a fit takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pyrorec.data import InputError, Interactions, Missing
from pyrorec.inference.choice import Choice, choose
from pyrorec.inference.settings import Training
from pyrorec.inference.settings_file import (
    OBJECTIVES,
    missing_from_plain,
    model_from_plain,
    model_to_plain,
    read_toml,
    training_from_plain,
    training_to_plain,
)
from pyrorec.models.bilateral import BilateralModel, UnfitPair
from pyrorec.models.distributions import PopularityDistribution
from pyrorec.models.families import Family
from pyrorec.models.predictors import Predictor

SECTIONS = {"model", "training", "missing", "seed", "pyrorec", "format", "reason", "level_shift"}
MODELS = ("bilateral",)


def read_config(path: Path | None) -> dict[str, Any]:
    """A configuration as plain values: the [model] and [training] tables, missing and seed.

    A run's own config.toml may be given. Raises InputError for a file that cannot be read or an unknown key.
    """
    if path is None:
        return {}
    plain = read_toml(path)
    unknown = sorted(set(plain) - SECTIONS)
    if unknown:
        raise InputError(f"{path}: unknown key '{unknown[0]}'; there are model, training, missing and seed.")
    return plain


def named(registry: Any, name: str | None) -> Any:
    """An instance of a registered class by name, None for None. Raises InputError for an unknown name."""
    if name is None:
        return None
    try:
        return registry[name]()
    except KeyError as error:
        raise InputError(f"{error.args[0]}.") from error


def check_model(name: str) -> None:
    """Refuses a kind of model that does not exist."""
    if name not in MODELS:
        raise InputError(f"There is no model '{name}'; there are: {', '.join(MODELS)}.")


def resolve_model(config: dict[str, Any], flags: dict[str, Any], log: Interactions) -> Choice:
    """The model: flags over the configuration over what the log's values suggest.

    `flags` holds family, predictor, prior (names), factors, binarise and missing, None where not given.
    """
    given = dict(config.get("model", {}))
    if flags["factors"] is not None:
        given["factors"] = flags["factors"]
    family = named(Family.registry, flags["family"]) or build(Family.registry, given.pop("family", None))
    predictor = named(Predictor.registry, flags["predictor"]) or build(Predictor.registry, given.pop("predictor", None))
    prior = named(PopularityDistribution.registry, flags["prior"])
    prior = prior or build(PopularityDistribution.registry, given.pop("popularity", None))
    given.pop("activity", None)
    configured = given.pop("binarise", None)
    binarise = flags["binarise"] if flags["binarise"] is not None else configured
    try:
        base = model_from_plain(model_to_plain(BilateralModel()) | given)
        choice = choose(
            log, base, family=family, predictor=predictor, binarise=binarise, missing=resolve_missing(config, flags)
        )
        return (
            choice if prior is None else replace(choice, model=replace(choice.model, popularity=prior, activity=prior))
        )
    except UnfitPair as error:
        raise InputError(f"{error}.") from error


def build(registry: Any, fields: dict[str, Any] | str | None) -> Any:
    """A registered class from a table with its name and fields, or from its name alone."""
    if fields is None:
        return None
    try:
        return registry.build({"name": fields} if isinstance(fields, str) else fields)
    except (KeyError, TypeError) as error:
        raise InputError(f"The [model] settings cannot be used: {error.args[0]}.") from error


def resolve_missing(config: dict[str, Any], flags: dict[str, Any]) -> Missing | None:
    """What an absent cell means, if anybody said so."""
    plain = flags["missing"] if flags["missing"] is not None else config.get("missing")
    return None if plain is None else missing_from_plain(plain)


def resolve_training(config: dict[str, Any], flags: dict[str, Any]) -> Training:
    """Training settings: flags over the configuration over the defaults."""
    plain = training_to_plain(Training()) | dict(config.get("training", {}))
    plain |= {name: value for name, value in flags.items() if value is not None and name != "objective"}
    if flags.get("objective") is not None:
        if flags["objective"] not in OBJECTIVES:
            raise InputError(f"There is no objective '{flags['objective']}'; there are: {', '.join(OBJECTIVES)}.")
        plain["objective"] = {"name": flags["objective"]}
    return training_from_plain(plain)
