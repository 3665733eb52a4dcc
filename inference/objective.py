"""What training maximises, and the guide that goes with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import pyro.distributions as dist

from pyrorec.guides import BilateralGuide, DeltaGuide
from pyrorec.guides.stored import StoredGuide
from pyrorec.inference.elbo import AnalyticELBO, BoundedELBO, ExpectedELBO, MonteCarloELBO
from pyrorec.inference.free_bits import FreeBitsELBO


@dataclass(frozen=True)
class Objective(ABC):
    """An estimator of the loss together with the kind of guide it is for."""

    @abstractmethod
    def loss(self) -> AnalyticELBO | MonteCarloELBO:
        """A fresh estimator."""

    @property
    def guide(self) -> type[BilateralGuide]:
        return BilateralGuide

    def drawn(self, law: dist.TorchDistribution) -> dist.TorchDistribution:
        """What a popularity with this posterior is drawn from."""
        return law


@dataclass(frozen=True)
class Analytic(Objective):
    """The ELBO with every KL in closed form; refuses a pair that has none.

    `free_bits` is the KL in nats that each factor has for nothing, averaged over rows; above zero this is no bound.
    """

    free_bits: float = 0.0

    def __post_init__(self) -> None:
        if not self.free_bits >= 0:
            raise ValueError(f"free_bits must not be negative, not {self.free_bits}")

    def loss(self) -> AnalyticELBO:
        return FreeBitsELBO(self.free_bits) if self.free_bits else AnalyticELBO()


@dataclass(frozen=True)
class Expected(Objective):
    """The ELBO with every KL in closed form and popularity integrated out of the likelihood: nothing about it is
    sampled. For the popularity model."""

    def loss(self) -> ExpectedELBO:
        return ExpectedELBO()


@dataclass(frozen=True)
class Integrated(Objective):
    """The analytic ELBO with the passive side integrated out of the likelihood, exactly, at each draw of the active
    side: the same objective with less noise (maths 6.4). For the bilateral model, predictors plain and additive."""

    def loss(self) -> ExpectedELBO:
        return ExpectedELBO()


@dataclass(frozen=True)
class JaakkolaJordan(Objective):
    """A lower bound of the ELBO for clicks under a logit: both sides integrated out of every cell, absent ones too.

    Each cell has the quadratic bound of its best xi, which needs mean and variance of eta alone (maths 5, 6.4): nothing
    is drawn, and the users' and the items' step climb one number. What is logged as the ELBO is this bound, which lies
    below it. For the bilateral model, families bernoulli and binomial, predictors plain and additive.
    """

    def loss(self) -> BoundedELBO:
        return BoundedELBO()


@dataclass(frozen=True)
class StoredSample(Objective):
    """One draw of the passive side's factors serves a whole phase, as in cornac: for comparison only.

    It is the gradient of another objective, with a large bias (maths 6.2); the ELBO it logs is an estimate from that
    one draw. For the bilateral model.
    """

    def loss(self) -> AnalyticELBO:
        return AnalyticELBO()

    @property
    def guide(self) -> type[BilateralGuide]:
        return StoredGuide


@dataclass(frozen=True)
class MonteCarlo(Objective):
    """Pyro's Trace_ELBO: KLs estimated from the same draws as the likelihood."""

    particles: int = 1

    def __post_init__(self) -> None:
        if self.particles < 1:
            raise ValueError(f"particles must be at least 1, not {self.particles}")

    def loss(self) -> MonteCarloELBO:
        return MonteCarloELBO(num_particles=self.particles)


class DirectWeibull(dist.Weibull):
    """A Weibull without its reparameterised sampler, which an instance cannot give up."""

    has_rsample = False


@dataclass(frozen=True)
class ScoreFunction(MonteCarlo):
    """Trace_ELBO with popularity drawn directly, its gradient by the score function (maths 1.3, B30)."""

    def drawn(self, law: dist.TorchDistribution) -> dist.TorchDistribution:
        if isinstance(law, dist.Weibull):
            return DirectWeibull(law.scale, law.concentration)
        return law.has_rsample_(False)


@dataclass(frozen=True)
class MAP(Objective):
    """Maximum a posteriori: a delta guide under Trace_ELBO."""

    def loss(self) -> MonteCarloELBO:
        return MonteCarloELBO()

    @property
    def guide(self) -> type[BilateralGuide]:
        return DeltaGuide
