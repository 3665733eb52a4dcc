"""Whether the plain values of a configuration are of the types that settings want."""

from __future__ import annotations

import dataclasses
import math
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from pyrorec.data import InputError

TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    tuple[int, ...]: "a list of whole numbers above zero",
    tuple[float, ...]: "a list of finite numbers",
}


def check_fields(settings: type, plain: dict[str, Any], section: str) -> None:
    """Refuses keys that `settings` (a dataclass) has no field for, and plain values of another type than theirs.

    Fields that hold parts with a name of their own, such as families, are left to whoever builds them.
    """
    hints = get_type_hints(settings)
    names = [field.name for field in dataclasses.fields(settings)]
    for name, value in plain.items():
        if name not in names:
            raise InputError(f"[{section}] has no key '{name}'; there are {', '.join(names) or 'none'}.")
        wanted = [hint for hint in alternatives(hints[name]) if hint in TYPES]
        if wanted and not any(fits(value, hint) for hint in wanted):
            raise InputError(
                f"[{section}] {name} must be {' or '.join(TYPES[hint] for hint in wanted)}, not {value!r}."
            )


def check_positive(values: dict[str, Any], section: str) -> None:
    """Refuses anything but numbers above zero, or lists of them; None stands for a default."""
    for name, value in values.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        if value is not None and not all(fits(number, float) and number > 0 for number in numbers):
            raise InputError(f"[{section}] {name} must be a number above zero, not {value!r}.")


def as_table(value: Any, name: str) -> dict[str, Any]:
    """A part given by its name alone, or as a table with a name and settings of its own."""
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        raise InputError(f"{name} must be a name, or a table with a name, not {value!r}.")
    return table


def alternatives(hint: Any) -> tuple[Any, ...]:
    """int | None as (int,)."""
    options = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    return tuple(option for option in options if option is not NoneType)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value read from TOML is of a type among `TYPES`; truth values are no numbers."""
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    if hint is int:
        return isinstance(value, int)
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    if not isinstance(value, list | tuple):
        return False
    if hint == tuple[float, ...]:
        return all(fits(number, float) for number in value)
    return all(fits(width, int) and width > 0 for width in value)
