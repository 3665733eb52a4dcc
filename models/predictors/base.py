"""Predictors: the one place where affinity meets popularity."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import pyro.distributions as dist
from torch import Tensor

from pyrorec.models.component import Component
from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.registry import Registry


class Predictor(Component):
    """How popularity enters the linear predictor of an observation.

    `scale` is the scale of popularity it takes, None where it takes none. `integrates` says that the effect
    of the side being trained is integrated out of its row, so that it is never a sample site there.
    """

    registry: ClassVar[Registry[Predictor]] = Registry("predictor")
    scale: ClassVar[Scale | None]
    integrates: ClassVar[bool] = False
    needs_log_rate: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry.add(cls)

    @abstractmethod
    def offset(self, popularity: Tensor) -> Tensor:
        """What popularity adds to the linear predictor, increasing in popularity; same shape as given."""

    @abstractmethod
    def offset_moments(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """Mean and variance of the offset under a law of popularity; the law's batch shape each."""

    def matched_moments(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """Mean and variance of a normal offset that gives the expected response right; here `offset_moments`."""
        return self.offset_moments(law)

    @classmethod
    @abstractmethod
    def default_popularity(cls) -> PopularityDistribution | None:
        """The popularity distribution used where none is chosen."""
