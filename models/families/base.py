"""Families: the exponential family, with its link, that makes an observation of a linear predictor."""

from __future__ import annotations

from abc import abstractmethod
from enum import Enum
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.component import Component
from pyrorec.models.integrals.normal import normal_average
from pyrorec.models.mass import Mass
from pyrorec.models.registry import Registry


class Outcome(Enum):
    """What one observation is, and so what its expectation means."""

    CLICK = "click probability"
    COUNT = "expected count"
    RATING = "expected rating"


SMALLEST_MEAN = 1e-8
"""Expected values are kept this far from where a link is infinite."""


TINY = 1e-12
"""Smallest variance of a linear predictor: the square root keeps a finite gradient."""


def inside(mean: float) -> float:
    """A probability kept off 0 and 1."""
    return min(max(mean, SMALLEST_MEAN), 1 - SMALLEST_MEAN)


class Family(Component):
    """One observed cell given its linear predictor eta.

    A cell is `value` out of `trials`: clicks out of impressions, a count over `trials` units of exposure, a
    rating seen `trials` times. A cell with trials = 0 and value = 0 says nothing and has log-probability 0.
    """

    registry: ClassVar[Registry[Family]] = Registry("family")
    outcome: ClassVar[Outcome]
    log_rate: ClassVar[bool] = False
    """Whether eta is the logarithm of a rate, so that popularity may multiply it."""
    mass: ClassVar[type[Mass]]
    """The function of eta whose sum over a row of zeros is all their log-probability needs."""
    support: ClassVar[constraints.Constraint]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry.add(cls)

    @abstractmethod
    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """Log-probability of each cell, base measure included; natural logs, elementwise."""

    @abstractmethod
    def zeros(self, mass: Tensor, cells: Tensor | int) -> Tensor:
        """Log-probability of `cells` zeros (one trial each) from the sum of their `mass`, elementwise."""

    @abstractmethod
    def mean(self, eta: Tensor) -> Tensor:
        """Expected value of one trial, increasing in eta."""

    @abstractmethod
    def link(self, mean: float) -> float:
        """The eta at which one trial has this expected value, which is first moved inside the family's range."""

    @abstractmethod
    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        """A draw of the value of each cell."""

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """E log p(value), eta ~ N(mean, variance), elementwise; here by the trapezoid rule of `normal_average`."""
        return normal_average(lambda eta: self.log_prob(value, trials, eta), mean, variance.clamp_min(TINY).sqrt())

    def starting(self, spread: float) -> Self:
        """The family with its learned fields where a fit should start, given the sd of the observed values."""
        return self

    def zero(self, eta: Tensor) -> Tensor:
        """Log-probability that a cell of one trial is zero."""
        one = torch.ones((), dtype=eta.dtype, device=eta.device)
        return self.log_prob(torch.zeros_like(eta), one, eta)
