"""Exponential families: a law stated by its parts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pyrorec.models.families.base import Family
from pyrorec.models.families.sums import Sums

NEWTON_STEPS = 100
CONVERGED = 1e-13


class Fitted(NamedTuple):
    """A maximum of the likelihood: the family with what it learns, and the linear predictor common to all cells."""

    family: Family
    eta: float


class ExponentialFamily(Family):
    """p(x) = h(x) exp(natural . phi(x) - A(natural)) for one trial (maths 1.1, 6.5).

    phi and the natural parameter have one more, last dimension than the cells: k components. `natural` maps the
    linear predictor of the practical link to the canonical parameter. A cell of several trials has the sum of their
    statistics and as many log-partitions. A family states its parts; a faster or safer `log_prob` may stand beside
    them and is tested equal.
    """

    canonical_link: ClassVar[str]
    """The link at which eta would be the natural parameter itself."""
    practical_link: ClassVar[str]
    """The link in use."""
    value_component: ClassVar[int | None] = 0
    """The component of phi that is the value, whose mean and variance are A' and A''; None where none is."""

    @abstractmethod
    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """phi summed over the trials of each cell, shape of value + (k,)."""

    @abstractmethod
    def natural(self, eta: Tensor) -> Tensor:
        """The natural parameter at a linear predictor, shape of eta + (k,)."""

    @abstractmethod
    def log_partition(self, natural: Tensor) -> Tensor:
        """A of one trial, (...,) from (..., k); convex."""

    @abstractmethod
    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """log h of each cell; free of eta."""

    @abstractmethod
    def variance(self, eta: Tensor) -> Tensor:
        """Variance of the value of one trial, shape of the mean."""

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """natural . phi - trials A(natural) + log h."""
        natural = self.natural(eta)
        said = (self.statistic(value, trials) * natural).sum(-1)
        return said - trials * self.log_partition(natural) + self.log_base(value, trials)

    def sums(self, value: Tensor, trials: Tensor) -> Sums:
        """What online learning keeps of some cells, (cells,) each."""
        return Sums.of(trials, self.statistic(value.double(), trials.double()))

    def maximum_likelihood(self, sums: Sums) -> Fitted:
        """The maximum of the likelihood of cells with one common eta: A'(natural) = mean phi.

        Here for one parameter: the family as it is, and the link of the mean. Fields that are no natural parameter
        of the family stay as they are.
        """
        return Fitted(self, self.link(float(sums.mean[self.value_component or 0])))


def solve_mean(log_partition: Callable[[Tensor], Tensor], target: Tensor, start: Tensor) -> Tensor:
    """The natural parameter at which A' is `target`, (k,): Newton's method on a convex function, halving its steps.

    `start` has to lie inside the domain of A, outside of which A is nan or infinite (`log_gamma`).
    """

    def objective(natural: Tensor) -> Tensor:
        return log_partition(natural) - (natural * target).sum()

    natural, value = start.double(), objective(start.double())
    for _ in range(NEWTON_STEPS):
        slope = torch.autograd.functional.jacobian(objective, natural)
        curvature = torch.autograd.functional.hessian(objective, natural)
        move = torch.linalg.solve(curvature, slope)
        if float((slope * move).sum()) < CONVERGED:
            break
        step = 1.0
        while not float(objective(natural - step * move)) <= float(value) and step > 1e-10:
            step /= 2
        natural = natural - step * move
        value = objective(natural)
    return natural


def log_gamma(x: Tensor) -> Tensor:
    """log G(x), infinite outside of its domain x > 0, which no log-partition may leave."""
    return torch.where(x > 0, torch.lgamma(x), torch.inf)
