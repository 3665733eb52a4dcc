"""Golden values: every function of the specification against reference values (maths 8).

    python -m benchmarks.golden FILE

FILE holds `entries`, each a function's name, its parameters, its value and perhaps a naive_scale. For each function
the table gives the number of entries; the worst error in float64 in units of its tolerance, 1e-10 |value| + 1e-13
naive_scale; the worst error in float32, parameters rounded, against float64 at the rounded parameters, in units of
1e-5 |value| + 1e-6 naive_scale; and how many gradients with respect to continuous parameters are not finite. A
function passes if no error exceeds its tolerance and every gradient is finite, in both precisions. The exit status
is 0 if every function passes, 1 if one does not, is unknown, or there is none, and 2 if FILE cannot be read.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.golden_functions import COUNTS, FUNCTIONS

TINY_ALLOWED = {"elog_expsat_lognormal", "probit_normal_sq"}
"""Only these may be wrong by 1e-20 whatever their value."""
LARGEST, SMALLEST = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny


class Malformed(ValueError):
    """A file that is not of the golden schema."""


@dataclass(frozen=True)
class Entry:
    """One reference value."""

    name: str
    params: dict[str, float]
    value: float
    naive_scale: float = 0.0


@dataclass(frozen=True)
class Row:
    """What became of one function's entries; a problem is what kept it from being evaluated."""

    name: str
    entries: int
    double: float = 0.0
    single: float = 0.0
    not_finite: int = 0
    problem: str = ""

    @property
    def passed(self) -> bool:
        return not self.problem and self.double <= 1 and self.single <= 1 and not self.not_finite

    def line(self) -> str:
        verdict = ("PASS" if self.passed else "FAIL") + (f"  {self.problem}" if self.problem else "")
        return (
            f"{self.name:<30}{self.entries:>8}{self.double:>12.2g}{self.single:>12.2g}{self.not_finite:>12}  {verdict}"
        )


def read(path: Path) -> list[Entry]:
    """The entries of a golden file, none if it is empty. Raises Malformed."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if text.strip() else {}
    except (OSError, ValueError) as error:
        raise Malformed(f"{path} cannot be read as JSON: {error}") from error
    entries = content.get("entries", []) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise Malformed(f"{path} holds no list of entries")
    return [_entry(raw, f"entry {i} of {path}") for i, raw in enumerate(entries)]


def _entry(raw: Any, where: str) -> Entry:
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str) or not isinstance(raw.get("params"), dict):
        raise Malformed(f"{where} lacks a name or parameters")
    params: dict[str, float] = raw["params"]
    value: Any = raw.get("value")
    scale: Any = raw.get("naive_scale", 0.0)
    numbers = [*params.values(), value, scale]
    if not all(isinstance(x, int | float) and not isinstance(x, bool) and x == x for x in numbers):
        raise Malformed(f"{where}, {raw['name']}, has a parameter, a value or a naive_scale that is not a number")
    function = FUNCTIONS.get(raw["name"])
    if function is not None and (takes := set(inspect.signature(function).parameters)) != set(params):
        raise Malformed(f"{where}, {raw['name']}, has parameters {sorted(params)} where {sorted(takes)} are wanted")
    return Entry(raw["name"], params, float(value), float(scale))


def evaluate(name: str, entries: Sequence[Entry]) -> Row:
    """One function on all of its entries at once."""
    if name not in FUNCTIONS:
        return Row(name, len(entries), problem="unknown function")
    try:
        return _compare(name, entries)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        return Row(name, len(entries), problem=f"{type(error).__name__}: {error}".splitlines()[0])


def _compare(name: str, entries: Sequence[Entry]) -> Row:
    wanted = torch.tensor([e.value for e in entries], dtype=torch.float64)
    scale = torch.tensor([e.naive_scale for e in entries], dtype=torch.float64)
    params = {
        key: torch.tensor([float(e.params[key]) for e in entries], dtype=torch.float64) for key in entries[0].params
    }
    value, gradients = _value_and_gradients(name, params)
    rounded = {key: p.float() for key, p in params.items()}
    single, single_gradients = _value_and_gradients(name, rounded)
    at_rounded, gradients_at_rounded = _value_and_gradients(name, {key: p.double() for key, p in rounded.items()})
    tolerance = 1e-10 * wanted.abs() + 1e-13 * scale + (1e-20 if name in TINY_ALLOWED else 0.0)
    nearest = at_rounded.float().double()
    finite = wanted.isfinite()
    bad = sum(int((finite & ~g.isfinite()).sum()) for g in gradients)
    for g, exact in zip(single_gradients, gradients_at_rounded, strict=True):
        holds = nearest.isfinite() & (exact.abs() <= LARGEST)  # others have no gradient in float32
        bad += int((holds & ~g.isfinite()).sum())
    return Row(
        name,
        len(entries),
        _worst(value, wanted, tolerance),
        _worst(single.double(), nearest, 1e-5 * nearest.abs() + 1e-6 * scale + SMALLEST),
        bad,
    )


def _value_and_gradients(name: str, params: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
    leaves = {key: p.clone().requires_grad_(not (key == "k" and name in COUNTS)) for key, p in params.items()}
    value = FUNCTIONS[name](**leaves)
    return value.detach(), list(torch.autograd.grad(value.sum(), [p for p in leaves.values() if p.requires_grad]))


def _worst(got: Tensor, wanted: Tensor, tolerance: Tensor) -> float:
    """The largest error in units of its tolerance; inf for one that is not a number."""
    error = torch.where(got == wanted, torch.zeros_like(wanted), (got - wanted).abs())
    units = torch.where(error == 0, torch.zeros_like(error), error / tolerance.clamp_min(1e-300))
    return float(units.nan_to_num(nan=torch.inf, posinf=torch.inf).max())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    path = parser.parse_args(arguments).file
    try:
        entries = read(path)
    except Malformed as error:
        print(error, file=sys.stderr)
        return 2
    names = dict.fromkeys(entry.name for entry in entries)
    rows = [evaluate(name, [entry for entry in entries if entry.name == name]) for name in names]
    print(f"{'function':<30}{'entries':>8}{'float64':>12}{'float32':>12}{'not finite':>12}")
    for row in rows:
        print(row.line())
    if not rows:
        print(f"{path} has no entries: FAIL")
    return 0 if rows and all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
