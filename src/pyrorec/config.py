"""From a configuration file and the flags that override it to the values a fit takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch.distributions import constraints

from pyrorec.data import Duplicates, InputError, Interactions, Missing
from pyrorec.inference.choice import Choice
from pyrorec.inference.configured import CHOOSERS
from pyrorec.inference.plain_values import check_fields, fits
from pyrorec.inference.settings import Training, default_training
from pyrorec.inference.settings_file import (
    PARTS,
    ModelSpec,
    kind_named,
    missing_from_plain,
    model_from_plain,
    model_to_plain,
    part_from_plain,
    parts_of,
    read_toml,
    rule_from_plain,
    training_from_plain,
    training_to_plain,
)
from pyrorec.models.affinities import Affinity
from pyrorec.models.bilateral import UnfitPair
from pyrorec.models.families import Family
from pyrorec.models.prior_source import ExposureCounts, PriorSource

RECORDED = {"pyrorec", "format", "reason", "level_shift", "recalibration", "log"}
"""What a run's own config.toml holds beside what a fit takes."""
SECTIONS = {"model", "training", "missing", "seed"} | RECORDED
FLAG_OF = {"popularity": "prior", "activity": "prior", "source": "prior_source"}
"""Flags whose name differs from that of the part they choose."""
SETTINGS = ("factors", "binarise", "amortised", "affinity_first", "inverse_propensity", "negatives")
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


def resolve_repeats(config: dict[str, Any], flag: str | None) -> Duplicates | None:
    """How repeated records become cells: as the flag says; else apart where a run's own configuration kept them so.

    The other rules it may record were read off its log's values, and another log's may call for another.
    """
    kept_apart = config.get("log", {}).get("duplicates") == "apart"
    name = "apart" if flag is None and kept_apart else flag
    return None if name is None else rule_from_plain(name)


def takes_negative(config: dict[str, Any], flags: dict[str, Any]) -> bool:
    """Whether a family that takes negative values was asked for."""
    family = flags["family"] or config.get("model", {}).get("family")
    name = family.get("name") if isinstance(family, dict) else family
    return name in Family.registry.names() and Family.registry[str(name)].support is constraints.real


def resolve_kind(config: dict[str, Any], flag: str | None) -> type[ModelSpec]:
    """The kind of model: flag over configuration over bilateral. Raises InputError for one that does not exist."""
    return kind_named(config.get("model", {}).get("kind", "bilateral") if flag is None else flag)


def resolve_model(kind: type[ModelSpec], config: dict[str, Any], flags: dict[str, Any], log: Interactions) -> Choice:
    """The model: flags over the configuration over what the log's values suggest.

    What the configuration holds beside a flag that it does not go together with gives way, as the popularity of
    another run does to --predictor plain.

    `flags` holds the names of parts (`prior` for popularity), factors, missing and the model's own settings, None where
    not given.
    """
    given = {name: value for name, value in config.get("model", {}).items() if name != "kind"}
    check_fields(kind, given, "model")
    own, choosing = parts_of(kind), CHOOSERS[kind]
    flagged = {part: part_from_plain(part, name) for part, name in named_parts(own, flags).items()}
    configured = {part: part_from_plain(part, given.pop(part)) for part in own if part in given}
    given |= own_settings(kind, flags)
    binarise, factors = given.pop("binarise", None), flags["factors"]
    crossed = next((part for part in ("taste", "affinity") if part in own), None)
    if factors is not None and crossed is not None:
        default = getattr(kind(), crossed)
        flagged[crossed] = with_factors(flagged.get(crossed, configured.get(crossed, default)), factors)
    if flags.get("prior_rule") is not None:
        if "source" not in own:
            raise InputError("--prior-rule does not belong to this kind of --model.")
        flagged["source"] = with_rule(flagged.get("source", configured.get("source")), flags["prior_rule"])
    base, missing = model_from_plain(model_to_plain(kind()) | given), resolve_missing(config, flags)

    def chosen(parts: dict[str, Any]) -> Choice:
        choice: Choice = choosing(log, base, **parts, binarise=binarise, missing=missing)
        return choice

    try:
        return chosen(overridden(own, flagged, configured, chosen) if flagged else configured)
    except UnfitPair as error:
        raise InputError(f"{error}.") from error


def named_parts(own: list[str], flags: dict[str, Any]) -> dict[str, str]:
    """The parts named by flags. Raises InputError for a flag that belongs to another kind of model."""
    named = {part: flags.get(FLAG_OF.get(part, part)) for part in PARTS}
    for part, name in named.items():
        if name is not None and part not in own and part != "activity":
            raise InputError(f"--{FLAG_OF.get(part, part).replace('_', '-')} does not belong to this kind of --model.")
    return {part: name for part, name in named.items() if name is not None and part in own}


def own_settings(kind: type[ModelSpec], flags: dict[str, Any]) -> dict[str, Any]:
    """Plain settings given by flags. Raises InputError for a flag that belongs to another kind of model."""
    fields = {field.name for field in dataclasses.fields(kind)}
    given = {name: flags[name] for name in SETTINGS if flags.get(name) is not None}
    for name in given:
        if name not in fields and name != "factors":
            raise InputError(f"--{name.replace('_', '-')} does not belong to this kind of --model.")
    return {name: value for name, value in given.items() if name in fields}


def with_rule(source: PriorSource | None, rule: str) -> PriorSource:
    """A prior source that uses a rule of empirical Bayes. Raises InputError for one that uses none."""
    source = source or ExposureCounts()
    if "rule" not in {field.name for field in dataclasses.fields(source)}:
        raise InputError(
            f"Prior source {source.name} uses no rule: leave --prior-rule out, or take exposure or earlier."
        )
    return dataclasses.replace(source, rule=rule)  # type: ignore[call-arg]


def with_factors(affinity: Affinity, factors: int) -> Affinity:
    """An affinity with so many factors. Raises InputError for one that has none."""
    if "factors" not in {field.name for field in dataclasses.fields(affinity)}:
        raise InputError(f"Affinity {affinity.name} has no factors: leave --factors out.")
    return dataclasses.replace(affinity, factors=factors)  # type: ignore[call-arg]


def overridden(
    own: list[str], flagged: dict[str, Any], configured: dict[str, Any], chosen: Callable[[dict[str, Any]], Choice]
) -> dict[str, Any]:
    """The parts given by flags, with those of the configuration that go together with them."""
    parts = dict(flagged)
    for part in [part for part in own if part in configured and part not in flagged]:
        with suppress(UnfitPair):
            chosen(parts | {part: configured[part]})
            parts[part] = configured[part]
    return parts


def resolve_missing(config: dict[str, Any], flags: dict[str, Any]) -> Missing | None:
    """What an absent cell means, if anybody said so."""
    plain = flags["missing"] if flags["missing"] is not None else config.get("missing")
    return None if plain is None else missing_from_plain(plain)


def resolve_training(kind: type[ModelSpec], config: dict[str, Any], flags: dict[str, Any], records: int) -> Training:
    """Training settings: flags over the configuration over the defaults of the kind of model for so many records."""
    given = {name: value for name, value in flags.items() if value is not None}
    return training_from_plain(
        training_to_plain(default_training(kind(), records)) | config.get("training", {}) | given
    )
