"""What the processes on records and on exposure have in common: learned components by name, a level, a population."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from pyro.nn import PyroModule

from pyrorec.models.bilateral import Level
from pyrorec.models.component import Learned, Parts


class LearnedParts(PyroModule):
    """A Pyro module whose `parts` hold learned components ("family", "predictor", "popularity") and a "level"."""

    parts: Parts

    @property
    def level(self) -> Level:
        """The intercept of the outcome."""
        return self.parts["level"]  # type: ignore[return-value]

    def component(self, name: str) -> Any:
        """A component with its learned fields as tensors."""
        return self.learned(name).value()

    def learned(self, name: str) -> Learned[Any]:
        """What holds the learned fields of a component."""
        return self.parts[name]  # type: ignore[return-value]

    def population(self) -> dist.TorchDistribution:
        """p(z) at the present parameters, batch shape ()."""
        law: dist.TorchDistribution = self.component("popularity").population(like=self.level.intercept)
        return law
