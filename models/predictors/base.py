"""Predictors: the one place where affinity meets popularity."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import pyro.distributions as dist
from torch import Tensor

from pyrorec.models.component import Component
from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.families.base import Family
from pyrorec.models.registry import Registry


class UnfitPair(ValueError):
    """A family, predictor and popularity distribution that do not go together; the message says why."""


class Predictor(Component):
    """How affinity and popularity together make an observation of a family.

    `scale` is the scale of popularity it takes, None where it takes none. A predictor either adds an offset to the
    family's linear predictor (`Offset`) or returns a click probability of its own (`Product`).
    """

    registry: ClassVar[Registry[Predictor]] = Registry("predictor")
    scale: ClassVar[Scale | None]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry.add(cls)

    @abstractmethod
    def check_family(self, family: Family) -> None:
        """Raises UnfitPair for a family that this predictor cannot feed."""

    @abstractmethod
    def log_prob(self, family: Family, value: Tensor, trials: Tensor, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Log-probability of cells given affinity (intercept included) and popularity, elementwise."""

    @abstractmethod
    def log_prob_at(self, family: Family, value: Tensor, trials: Tensor, affinity: Tensor, node: Tensor) -> Tensor:
        """The same at a quadrature node: log z where popularity is a rate, which no small z underflows, else zeta."""

    @abstractmethod
    def mean(self, family: Family, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Expected value of one trial, increasing in both; elementwise."""

    @abstractmethod
    def sample(self, family: Family, trials: Tensor, affinity: Tensor, popularity: Tensor) -> Tensor:
        """A draw of the value of each cell."""

    @abstractmethod
    def starting_level(self, family: Family, mean: float) -> float:
        """The intercept at which a cell's expected value is `mean`, affinity at zero and popularity at its middle."""

    @classmethod
    @abstractmethod
    def default_popularity(cls) -> PopularityDistribution | None:
        """The popularity distribution used where none is chosen."""


class Offset(Predictor):
    """A predictor that adds a function of popularity to the family's linear predictor."""

    needs_log_rate: ClassVar[bool] = False

    def check_family(self, family: Family) -> None:
        if self.needs_log_rate and not family.log_rate:
            raise UnfitPair(
                f"predictor {self.name} multiplies a rate, and family {family.name} has none: "
                "use family poisson or cloglog, or predictor additive"
            )

    @abstractmethod
    def offset(self, popularity: Tensor) -> Tensor:
        """What popularity adds to the linear predictor, increasing in popularity; same shape as given."""

    def offset_at(self, node: Tensor) -> Tensor:
        """The offset at a quadrature node: log z where popularity is a rate, zeta where it is a logarithm."""
        return self.offset(node)

    @abstractmethod
    def offset_moments(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """Mean and variance of the offset under a law of popularity; the law's batch shape each."""

    def matched_moments(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """Mean and variance of a normal offset that gives the expected response right; here `offset_moments`."""
        return self.offset_moments(law)

    def log_prob(self, family: Family, value: Tensor, trials: Tensor, affinity: Tensor, popularity: Tensor) -> Tensor:
        return family.log_prob(value, trials, affinity + self.offset(popularity))

    def log_prob_at(self, family: Family, value: Tensor, trials: Tensor, affinity: Tensor, node: Tensor) -> Tensor:
        return family.log_prob(value, trials, affinity + self.offset_at(node))

    def starting_level(self, family: Family, mean: float) -> float:
        """The link of the mean; zero for coupled rows, which say nothing of the unit of their values."""
        return 0.0 if family.coupled else family.link(mean)

    def mean(self, family: Family, affinity: Tensor, popularity: Tensor) -> Tensor:
        return family.mean(affinity + self.offset(popularity))

    def sample(self, family: Family, trials: Tensor, affinity: Tensor, popularity: Tensor) -> Tensor:
        return family.sample(affinity + self.offset(popularity), trials)
