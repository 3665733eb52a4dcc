"""From a configuration file and the flags that override it to the values a fit takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyrorec.data import InputError, Interactions, Missing
from pyrorec.inference.choice import Choice, choose
from pyrorec.inference.plain_values import check_fields, fits
from pyrorec.inference.settings import Training
from pyrorec.inference.settings_file import (
    PARTS,
    missing_from_plain,
    model_from_plain,
    model_to_plain,
    part_from_plain,
    read_toml,
    training_from_plain,
    training_to_plain,
)
from pyrorec.models.bilateral import BilateralModel, UnfitPair

SECTIONS = {"model", "training", "missing", "seed", "pyrorec", "format", "reason", "level_shift", "log"}
MODELS = ("bilateral",)
LARGEST_SEED = 2**32 - 1


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
    for section in ("model", "training"):
        if not isinstance(plain.get(section, {}), dict):
            raise InputError(f"{path}: {section} must be a table, [{section}], not {plain[section]!r}.")
    return plain


def resolve_seed(config: dict[str, Any], flag: int | None) -> int:
    """The seed: the flag over the configuration over 0. Raises InputError for what is no seed."""
    seed = config.get("seed", 0) if flag is None else flag
    if not fits(seed, int) or not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"The seed (--seed) must be a whole number from 0 to {LARGEST_SEED}, not {seed!r}.")
    return int(seed)


def takes_negative(config: dict[str, Any], flags: dict[str, Any]) -> bool:
    """Whether a family that takes negative values was asked for."""
    family = flags["family"] or config.get("model", {}).get("family")
    return "gaussian" in (family, family.get("name") if isinstance(family, dict) else None)


def check_model(name: str) -> None:
    """Refuses a kind of model that does not exist."""
    if name not in MODELS:
        raise InputError(f"There is no model '{name}'; there are: {', '.join(MODELS)}.")


def resolve_model(config: dict[str, Any], flags: dict[str, Any], log: Interactions) -> Choice:
    """The model: flags over the configuration over what the log's values suggest.

    What the configuration holds beside a flag that it does not go together with gives way, as the popularity of
    another run does to --predictor plain.

    `flags` holds family, predictor, prior (names), factors, binarise and missing, None where not given.
    """
    given = dict(config.get("model", {}))
    check_fields(BilateralModel, given, "model")
    named = {"family": flags["family"], "predictor": flags["predictor"], "popularity": flags["prior"]}
    named["activity"] = flags["prior"]
    flagged = {part: part_from_plain(part, name) for part, name in named.items() if name is not None}
    configured = {part: part_from_plain(part, given.pop(part)) for part in PARTS if part in given}
    given |= {name: flags[name] for name in ("factors", "binarise") if flags[name] is not None}
    binarise = given.pop("binarise", None)
    base, missing = model_from_plain(model_to_plain(BilateralModel()) | given), resolve_missing(config, flags)

    def chosen(parts: dict[str, Any]) -> Choice:
        return choose(log, base, **parts, binarise=binarise, missing=missing)

    try:
        return chosen(overridden(flagged, configured, chosen) if flagged else configured)
    except UnfitPair as error:
        raise InputError(f"{error}.") from error


def overridden(
    flagged: dict[str, Any], configured: dict[str, Any], chosen: Callable[[dict[str, Any]], Choice]
) -> dict[str, Any]:
    """The parts given by flags, with those of the configuration that go together with them."""
    parts = dict(flagged)
    for part in [part for part in PARTS if part in configured and part not in flagged]:
        with suppress(UnfitPair):
            chosen(parts | {part: configured[part]})
            parts[part] = configured[part]
    return parts


def resolve_missing(config: dict[str, Any], flags: dict[str, Any]) -> Missing | None:
    """What an absent cell means, if anybody said so."""
    plain = flags["missing"] if flags["missing"] is not None else config.get("missing")
    return None if plain is None else missing_from_plain(plain)


def resolve_training(config: dict[str, Any], flags: dict[str, Any]) -> Training:
    """Training settings: flags over the configuration over the defaults."""
    given = {name: value for name, value in flags.items() if value is not None}
    return training_from_plain(training_to_plain(Training()) | config.get("training", {}) | given)
