"""A declared space of configurations, and the candidates drawn from it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyrorec.data import InputError
from pyrorec.inference.configured import configured_kind
from pyrorec.inference.plain_values import check_fields, fits
from pyrorec.inference.settings_file import read_toml, training_from_plain

LARGEST_GRID = 10_000
KEYS = ("model", "training", "missing", "samples", "seed")
Setting = tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """Values to choose from by setting: `choices` maps a path such as ("model", "factors") to a list of values.

    All combinations are candidates, or `samples` of them drawn at random by `seed`.
    """

    choices: dict[Setting, list[Any]]
    samples: int | None = None
    seed: int = 0

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Space:
        """From tables [model] and [training] and `missing`, where a list is a choice and anything else is fixed.

        A setting that is a list itself, such as hidden, is given as a list of lists. Raises InputError for an unknown
        key.
        """
        unknown = sorted(set(plain) - set(KEYS))
        if unknown:
            raise InputError(f"A space has no key '{unknown[0]}'; there are {', '.join(KEYS)}.")
        samples, seed = plain.get("samples"), plain.get("seed", 0)
        if samples is not None and not (fits(samples, int) and samples >= 1):
            raise InputError(f"samples must be a whole number of at least 1, not {samples!r}.")
        if not (fits(seed, int) and seed >= 0):
            raise InputError(f"seed must be a whole number of 0 or more, not {seed!r}.")
        choices = dict(leaves({name: plain[name] for name in ("model", "training", "missing") if name in plain}))
        empty = next((path for path, values in choices.items() if not values), None)
        if not choices or empty:
            raise InputError(f"{'.'.join(empty) if empty else 'The space'} has no values; give at least one setting.")
        return cls(choices, samples, seed)

    @classmethod
    def read(cls, path: Path) -> Space:
        """From a TOML file."""
        return cls.from_plain(read_toml(path))

    @property
    def size(self) -> int:
        """Number of combinations."""
        return math.prod(len(values) for values in self.choices.values())

    def candidates(self) -> list[dict[str, Any]]:
        """The configurations, in the order of the grid. Raises InputError for settings that do not exist."""
        if self.samples is None and self.size > LARGEST_GRID:
            raise InputError(f"The space holds {self.size:,} combinations: give samples, a number of them to draw.")
        numbers = range(self.size)
        if self.samples is not None and self.samples < self.size:
            numbers = sorted(random.Random(self.seed).sample(numbers, self.samples))  # type: ignore[assignment]
        found = [self.combination(number) for number in numbers]
        for candidate in found:
            check_declared(candidate)
        return found

    def combination(self, number: int) -> dict[str, Any]:
        """The configuration at a place of the grid; the last setting varies fastest."""
        places = np.unravel_index(number, [len(values) for values in self.choices.values()])
        plain: dict[str, Any] = {}
        for (path, values), place in zip(self.choices.items(), places, strict=True):
            table = plain
            for name in path[:-1]:
                table = table.setdefault(name, {})
            table[path[-1]] = values[int(place)]
        return plain


def leaves(table: dict[str, Any], above: Setting = ()) -> Iterator[tuple[Setting, list[Any]]]:
    """Every setting of nested tables with its values."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value if isinstance(value, list) else [value]


def check_declared(candidate: dict[str, Any]) -> None:
    """Refuses settings that do not exist; parts that do not go together are left to whoever builds the model."""
    for name in ("model", "training"):
        if not isinstance(candidate.get(name, {}), dict):
            raise InputError(f"{name} must be a table, [{name}], not {candidate[name]!r}.")
    given = {name: value for name, value in candidate.get("model", {}).items() if name != "kind"}
    check_fields(configured_kind(candidate), given, "model")
    training_from_plain(candidate.get("training", {}))
