"""Affinities of the popularity model: what user and item have to do with each other, as a small value."""

from __future__ import annotations

from typing import Any, ClassVar

from pyrorec.models.component import Component
from pyrorec.models.registry import Registry


class Affinity(Component):
    """Which terms a_ui is made of; ids and, where the log brings them, features of users and items.

    `linear` says whether ids and features have linear terms, `reads_features` whether features are read at all,
    `factors` how many factors meet in a dot product (0 for none).
    """

    registry: ClassVar[Registry[Affinity]] = Registry("affinity")
    linear: ClassVar[bool]
    reads_features: ClassVar[bool]
    factors: int

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry.add(cls)
