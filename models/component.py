"""What families, predictors and popularity distributions have in common: small immutable values."""

from __future__ import annotations

import dataclasses
from abc import ABC
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn


@dataclass(frozen=True)
class Component(ABC):
    """A named, immutable part of a model.

    Fields listed in `learned` are positive scalars: inside a model they are replaced by tensors that the
    optimiser moves on the log scale, and the value in the dataclass is where it starts.
    A class that states `name` is concrete and enters its folder's registry.
    """

    name: ClassVar[str]
    learned: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def example(cls) -> Self:
        """An instance for conformance tests."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """Name and fields, as plain values that a TOML file can hold."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
        return {"name": self.name, **lists}


C = TypeVar("C", bound=Component)


class Learned(nn.Module, Generic[C]):
    """Holds the learned fields of a component as parameters on the log scale."""

    def __init__(self, start: C) -> None:
        super().__init__()
        self.start = start
        self.log_values = nn.ParameterDict(
            {field: nn.Parameter(torch.tensor(float(getattr(start, field))).log()) for field in start.learned}
        )

    def value(self) -> C:
        """The component with its learned fields at their present values (0-d tensors with gradient)."""
        if not self.start.learned:
            return self.start
        return dataclasses.replace(self.start, **{k: v.exp() for k, v in self.log_values.items()})

    def fixed(self) -> C:
        """The component with its learned fields as plain floats."""
        return dataclasses.replace(self.start, **{k: float(v.detach().exp()) for k, v in self.log_values.items()})


class Parts(nn.ModuleDict, PyroModule):
    """Modules by name, inside a Pyro module.

    Pyro announces every parameter of a plain module each time it is taken out of a Pyro module, which costs more
    than a small model itself; a container of its own kind is passed over.
    """


def as_float(x: float | Tensor) -> float:
    """A component's field as a plain number, whether learned or given."""
    return float(x.detach()) if isinstance(x, Tensor) else float(x)
