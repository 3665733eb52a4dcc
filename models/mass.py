"""Functions of the linear predictor whose sum over a whole row is all that its zeros need.

For a family with phi(0) = 0 a row's log-likelihood is a sum over its non-zeros plus a term that depends on the
dense row only through one sum (maths 6.6). Each class gives that summand and its derivative in one pass.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_LOG_RATE = 30.0
"""Beyond this log rate exp is continued by its tangent: finite in float32, convex, gradient never vanishing."""


def safe_exp(eta: Tensor) -> Tensor:
    """exp(eta), continued linearly beyond `LARGEST_LOG_RATE`, where a float32 sum would soon overflow."""
    return eta.clamp(max=LARGEST_LOG_RATE).exp() * (1 + (eta - LARGEST_LOG_RATE).clamp_min(0))


class Mass(ABC):
    """A convex function u of eta; `nothing` is where u and its derivative vanish."""

    nothing: ClassVar[float] = -math.inf

    @staticmethod
    @abstractmethod
    def value(eta: Tensor) -> Tensor:
        """u(eta), elementwise."""

    @staticmethod
    @abstractmethod
    def sum_and_slope(eta: Tensor) -> tuple[Tensor, Tensor]:
        """Row sums of u(eta), shape (rows,), and u'(eta), shape (rows, columns); may overwrite eta."""


class ExpMass(Mass):
    """u = exp(eta): Poisson rates and cloglog hazards."""

    value = staticmethod(safe_exp)

    @staticmethod
    def sum_and_slope(eta: Tensor) -> tuple[Tensor, Tensor]:
        if eta.numel() == 0 or float(eta.max()) <= LARGEST_LOG_RATE:
            slope = eta.exp_()
            return slope.sum(-1), slope
        total = safe_exp(eta).sum(-1)
        return total, eta.clamp_(max=LARGEST_LOG_RATE).exp_()


class SoftplusMass(Mass):
    """u = log(1 + exp(eta)): the log-partition of the Bernoulli."""

    @staticmethod
    def value(eta: Tensor) -> Tensor:
        return F.softplus(eta)

    @staticmethod
    def sum_and_slope(eta: Tensor) -> tuple[Tensor, Tensor]:
        return F.softplus(eta).sum(-1), eta.sigmoid_()


class SquareMass(Mass):
    """u = eta^2: the Gaussian."""

    nothing: ClassVar[float] = 0.0

    @staticmethod
    def value(eta: Tensor) -> Tensor:
        return torch.square(eta)

    @staticmethod
    def sum_and_slope(eta: Tensor) -> tuple[Tensor, Tensor]:
        return eta.square().sum(-1), eta.mul_(2)


class ProbitMass(Mass):
    """u = -log Phi(-eta): minus the log-probability of no click under a probit."""

    @staticmethod
    def value(eta: Tensor) -> Tensor:
        return -torch.special.log_ndtr(-eta)

    @staticmethod
    def sum_and_slope(eta: Tensor) -> tuple[Tensor, Tensor]:
        log_tail = torch.special.log_ndtr(-eta)
        slope = torch.exp(-0.5 * eta.square() - 0.5 * math.log(2 * math.pi) - log_tail)
        return -log_tail.sum(-1), slope
