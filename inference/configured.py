"""A model from a configuration alone, as `pyrorec fit --config` would take it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyrorec.data import InputError, Interactions
from pyrorec.inference.choice import Choice, choose, choose_joint, choose_popularity
from pyrorec.inference.plain_values import check_fields
from pyrorec.inference.settings import Training, default_training
from pyrorec.inference.settings_file import (
    ModelSpec,
    kind_named,
    missing_from_plain,
    model_from_plain,
    model_to_plain,
    part_from_plain,
    parts_of,
    training_from_plain,
    training_to_plain,
)
from pyrorec.models.bilateral import BilateralModel, UnfitPair
from pyrorec.models.joint import JointModel
from pyrorec.models.popularity import PopularityModel

CHOOSERS: dict[type, Callable[..., Choice]] = {
    BilateralModel: choose,
    PopularityModel: choose_popularity,
    JointModel: choose_joint,
}


def configured_kind(config: dict[str, Any]) -> type[ModelSpec]:
    """The kind of model that a configuration names, bilateral where it names none."""
    return kind_named(config.get("model", {}).get("kind", "bilateral"))


def configured_model(config: dict[str, Any], log: Interactions) -> Choice:
    """The model of [model] and the meaning of a missing cell; what is not said is chosen from the log's values.

    Raises InputError for names, fields and values that do not exist, and for parts that do not go together.
    """
    kind = configured_kind(config)
    given = {name: value for name, value in config.get("model", {}).items() if name != "kind"}
    check_fields(kind, given, "model")
    parts = {part: part_from_plain(part, given.pop(part)) for part in parts_of(kind) if part in given}
    binarise = given.pop("binarise", None)
    missing = missing_from_plain(config["missing"]) if "missing" in config else None
    try:
        base = model_from_plain(model_to_plain(kind()) | given)
        return CHOOSERS[kind](log, base, **parts, binarise=binarise, missing=missing)
    except UnfitPair as error:
        raise InputError(f"{error}.") from error


def configured_training(config: dict[str, Any], records: int) -> Training:
    """The settings of [training] over the defaults of the kind of model for so many records."""
    default = default_training(configured_kind(config)(), records)
    return training_from_plain(training_to_plain(default) | config.get("training", {}))
