"""Registries filled by looking into a folder: a new part is one new file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Generic, TypeVar

from pyrorec.models.component import Component

C = TypeVar("C", bound=Component)


class Registry(Generic[C]):
    """Concrete classes of one kind by name.

    A class of the same qualified name replaces the old one (a notebook cell run twice); another class of the
    same name raises.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[C]] = {}

    def add(self, cls: type[C]) -> None:
        if "name" not in cls.__dict__:
            return
        old = self._classes.get(cls.name)
        if old is not None and (old.__module__, old.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"the {self.kind} name '{cls.name}' is taken by {old.__module__}.{old.__qualname__}; choose another"
            )
        self._classes[cls.name] = cls

    def remove(self, name: str) -> None:
        """Forget a class; tests use it to restore what they added."""
        self._classes.pop(name, None)

    def __getitem__(self, name: str) -> type[C]:
        if name not in self._classes:
            raise KeyError(f"no {self.kind} is called '{name}'; there are: {', '.join(self.names())}")
        return self._classes[name]

    def __iter__(self) -> Iterator[type[C]]:
        return iter(self._classes[name] for name in self.names())

    def names(self) -> list[str]:
        return sorted(self._classes)

    def build(self, fields: dict[str, object]) -> C:
        """The inverse of `Component.to_dict`."""
        rest = {k: v for k, v in fields.items() if k != "name"}
        return self[str(fields["name"])](**rest)


def discover(package: ModuleType) -> None:
    """Import every module of a folder, so that its classes register themselves."""
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
