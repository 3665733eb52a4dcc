"""Which encoder a model has: a value here, so that models can hold it; what is built of it stands with the guides."""

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
