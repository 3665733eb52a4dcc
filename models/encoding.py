"""Which encoder a model has and which covariance in q, as values; what is built of them stands with the guides."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from torch import nn

from pyrorec.models.component import Component
from pyrorec.models.registry import Registry


class Encoding(Component):
    """An encoder's kind and sizes; the classes are found in `pyrorec.guides.encoders`."""

    registry: ClassVar[Registry[Encoding]] = Registry("encoder")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry.add(cls)

    @abstractmethod
    def build(self, setting: Any) -> nn.Module:
        """The network for one side; `setting` is a `pyrorec.guides.encoders.Setting`."""


class Covariance(Component):
    """The form of a row's covariance in q; the classes are found in `pyrorec.guides.covariances`."""

    registry: ClassVar[Registry[Covariance]] = Registry("covariance")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry.add(cls)

    @abstractmethod
    def head(self, inputs: int, factors: int, scale: float) -> nn.Module:
        """The last layer of an encoder, whose `law` makes a normal law (rows, K) of a hidden layer."""
