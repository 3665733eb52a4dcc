"""What training maximises, and the guide that goes with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from pyrorec.guides import BilateralGuide, DeltaGuide
from pyrorec.inference.elbo import AnalyticELBO, MonteCarloELBO


@dataclass(frozen=True)
class Objective(ABC):
    """An estimator of the loss together with the kind of guide it is for."""

    @abstractmethod
    def loss(self) -> AnalyticELBO | MonteCarloELBO:
        """A fresh estimator."""

    @property
    def guide(self) -> type[BilateralGuide]:
        return BilateralGuide


@dataclass(frozen=True)
class Analytic(Objective):
    """The ELBO with every KL in closed form; refuses a pair that has none."""

    def loss(self) -> AnalyticELBO:
        return AnalyticELBO()


@dataclass(frozen=True)
class MonteCarlo(Objective):
    """Pyro's Trace_ELBO: KLs estimated from the same draws as the likelihood."""

    particles: int = 1

    def __post_init__(self) -> None:
        if self.particles < 1:
            raise ValueError(f"particles must be at least 1, not {self.particles}")

    def loss(self) -> MonteCarloELBO:
        return MonteCarloELBO(num_particles=self.particles)


@dataclass(frozen=True)
class MAP(Objective):
    """Maximum a posteriori: a delta guide under Trace_ELBO."""

    def loss(self) -> MonteCarloELBO:
        return MonteCarloELBO()

    @property
    def guide(self) -> type[BilateralGuide]:
        return DeltaGuide
