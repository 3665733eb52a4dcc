"""Families: the law, with its link, that makes an observation of a linear predictor."""

from __future__ import annotations

from abc import abstractmethod
from enum import Enum
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.absent import ANY, Absent
from pyrorec.models.component import Component
from pyrorec.models.integrals.log_average import log_normal_average
from pyrorec.models.integrals.normal import normal_average
from pyrorec.models.mass import Mass
from pyrorec.models.registry import Registry


class Outcome(Enum):
    """What one observation is, and so what its expectation means."""

    CLICK = "click probability"
    COUNT = "expected count"
    RATING = "expected rating"
    AMOUNT = "expected amount"
    SHARE = "expected share"

    @property
    def graded(self) -> bool:
        """Whether how large a value is tells liking: such values are averaged, where clicks and counts are added."""
        return self in (Outcome.RATING, Outcome.AMOUNT, Outcome.SHARE)


SMALLEST_MEAN = 1e-8
"""Expected values are kept this far from where a link is infinite."""


TINY = 1e-12
"""Smallest variance of a linear predictor: the square root keeps a finite gradient."""


def inside(mean: float) -> float:
    """A probability kept off 0 and 1."""
    return min(max(mean, SMALLEST_MEAN), 1 - SMALLEST_MEAN)


class Family(Component):
    """One observed cell given its linear predictor eta.

    A cell is `value` out of `trials`: clicks out of impressions, a count over `trials` units of exposure, the sum
    of `trials` ratings. A cell with trials = 0 and value = 0 says nothing and has log-probability 0.
    """

    registry: ClassVar[Registry[Family]] = Registry("family")
    outcome: ClassVar[Outcome]
    log_rate: ClassVar[bool] = False
    """Whether eta is the logarithm of a rate that a row's latent frailty may multiply (predictor log-additive)."""
    coupled: ClassVar[bool] = False
    """Whether a user's cells are one draw, so that only whole rows of users have a probability."""
    varies_by_item: ClassVar[bool] = False
    """Whether each item has fields of its own, so that cells have to say which item they are of (`for_items`)."""
    binarisable: ClassVar[bool] = False
    """Whether values taken as clicks, zeros and ones, are values of this family."""
    absent: ClassVar[frozenset[Absent]] = ANY
    """What an absent cell may mean."""
    mass: ClassVar[type[Mass]]
    """The function of eta whose sum over a row of zeros is all their log-probability needs; see `mass_line`. None
    where an absent cell is never a zero."""
    support: ClassVar[constraints.Constraint]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry.add(cls)

    @abstractmethod
    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """Log-probability of each cell, base measure included; natural logs, elementwise."""

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

    def predictive_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """log E p(value), eta ~ N(mean, variance): the density of a cell not seen before, elementwise.

        By a trapezoid about the mode of the integrand (`log_normal_average`), in float64, without gradient.
        """
        value, trials, mean, variance = (t.double() for t in (value, trials, mean, variance))
        return log_normal_average(lambda eta: self.log_prob(value, trials, eta), mean, variance.clamp_min(TINY).sqrt())

    def zeros(self, mass: Tensor, cells: Tensor | int) -> Tensor:
        """Log-probability of `cells` zeros (one trial each) from the sum of their `mass`, elementwise."""
        raise NotImplementedError(f"family {self.name} has no zeros: {self.absent_refusal(1.0)}")

    def mass_line(self) -> tuple[float | Tensor, float | Tensor] | None:
        """Scale and shift of eta before `mass` is applied; None where it takes eta itself."""
        return None

    def starting(self, value: Tensor, trials: Tensor) -> Self:
        """The family with its learned fields where a fit should start, given the observed cells (trials above 0)."""
        return self

    def for_log(self, items: int) -> Self:
        """The family of a log with so many items: a field that each item has of its own gets that length."""
        return self

    def items_refusal(self, items: int) -> str | None:
        """Why a log of so many items cannot be fitted, with the remedy, as one sentence; None where it can."""
        return None

    def for_items(self, item: Tensor) -> Self:
        """The family of cells of these items, their own fields of the shape of `item`; itself where none has any."""
        return self

    def refusal(self, value: Tensor, trials: Tensor) -> str | None:
        """Why observed cells cannot be of this family, with the remedy, as one sentence; None where they can."""
        return None

    def absent_refusal(self, weight: float) -> str | None:
        """Why an absent cell cannot be a zero of this weight, with the remedy, as one sentence; None where it can."""
        meaning = Absent.of_weight(weight)
        if meaning in self.absent:
            return None
        allowed = " or ".join(
            {Absent.ZERO: "zero", Absent.MISSING: "unobserved"}[a] for a in Absent if a in self.absent
        )
        return f"Family {self.name} cannot take an absent cell for {meaning.value}: use --missing {allowed}."

    def zero(self, eta: Tensor) -> Tensor:
        """Log-probability that a cell of one trial is zero."""
        one = torch.ones((), dtype=eta.dtype, device=eta.device)
        return self.log_prob(torch.zeros_like(eta), one, eta)


def refuse_fractions(name: str, value: Tensor) -> str | None:
    """The refusal of values that are no whole numbers of zero or more."""
    if bool((value < 0).any()) or bool((value != value.floor()).any()):
        return (
            f"Family {name} takes whole numbers of zero or more, and the log holds others: use family gaussian, "
            "or binarise it (--binarise)."
        )
    return None
