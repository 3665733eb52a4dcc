"""Amounts that are often zero: whether there is any, and how much."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.component import log_of
from pyrorec.models.families.base import SMALLEST_MEAN, Outcome, inside
from pyrorec.models.families.exponential_family import ExponentialFamily, Fitted
from pyrorec.models.families.gamma import GammaResponse
from pyrorec.models.families.positive import refuse_negative
from pyrorec.models.families.sums import Sums
from pyrorec.models.integrals.softplus import expected_softplus
from pyrorec.models.mass import Mass, SoftplusMass, safe_exp

HALVINGS = 200


@dataclass(frozen=True)
class HurdleGamma(ExponentialFamily):
    """r > 0 with probability pi = sigma(log odds + slope eta), and then r ~ Gamma(a, rate a e^-eta) (maths 6.5).

    One linear predictor speaks of both: those who spend more spend more often. `shape`, `odds` (of r > 0 at eta = 0)
    and `slope` are learned and positive, so the mean pi e^eta increases. With d = 1[r > 0]: phi = (d, d log r, r),
    natural = (logit pi + a log(a / mu) - log G(a), a, -a / mu), A = softplus(logit pi), h = 1 / r where r > 0. A
    cell's value is the sum of `trials` amounts, which are taken to have been alike. Absent cells may be zeros.
    """

    name: ClassVar[str] = "hurdle-gamma"
    learned: ClassVar[tuple[str, ...]] = ("shape", "odds", "slope")
    outcome: ClassVar[Outcome] = Outcome.AMOUNT
    mass: ClassVar[type[Mass]] = SoftplusMass
    support: ClassVar[constraints.Constraint] = constraints.nonnegative
    canonical_link: ClassVar[str] = "(logit pi + a log(a / mu) - log G(a), a, -a / mu)"
    practical_link: ClassVar[str] = "log of the mean above zero, logit of there being any"
    value_component: ClassVar[int | None] = 2

    shape: float | Tensor = 1.0
    odds: float | Tensor = 1.0
    slope: float | Tensor = 1.0

    def amount(self) -> GammaResponse:
        """The law of an amount above zero."""
        return GammaResponse(self.shape)

    def logit(self, eta: Tensor) -> Tensor:
        """logit pi."""
        return log_of(self.odds) + self.slope * eta

    @staticmethod
    def some(value: Tensor, trials: Tensor) -> Tensor:
        """Trials with an amount above zero."""
        return trials * (value > 0)

    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """trials times (d, d log r, r)."""
        some = self.some(value, trials)
        return torch.stack([some, -self.amount().log_base(value, some), value], -1)

    def natural(self, eta: Tensor) -> Tensor:
        """(logit pi + a log(a / mu) - log G(a), a, -a / mu)."""
        amount = self.amount().natural(eta)
        return torch.cat([(self.logit(eta) - self.amount().log_partition(amount))[..., None], amount], -1)

    def log_partition(self, natural: Tensor) -> Tensor:
        """softplus(logit pi)."""
        return F.softplus(natural[..., 0] + self.amount().log_partition(natural[..., 1:]))

    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """-trials d log r."""
        return self.amount().log_base(value, self.some(value, trials))

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """d logit pi - trials softplus(logit pi) + the Gamma's log-density where r > 0."""
        some, logit = self.some(value, trials), self.logit(eta)
        return some * logit - trials * F.softplus(logit) + self.amount().log_prob(value, some, eta)

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Both parts in closed form, the softplus by its own rule (maths 5)."""
        some, logit = self.some(value, trials), self.logit(mean)
        none = trials * expected_softplus(logit, self.slope**2 * variance)
        return some * logit - none + self.amount().expected_log_prob(value, some, mean, variance)

    def mass_line(self) -> tuple[float | Tensor, float | Tensor] | None:
        """logit pi: a zero has log-probability -softplus of it."""
        return self.slope, log_of(self.odds)

    def zeros(self, mass: Tensor, cells: Tensor | int) -> Tensor:
        """Minus the summed softplus(logit pi)."""
        return -mass

    def mean(self, eta: Tensor) -> Tensor:
        """pi e^eta."""
        return torch.sigmoid(self.logit(eta)) * safe_exp(eta)

    def variance(self, eta: Tensor) -> Tensor:
        """pi mu^2 (1 + 1/a) - (pi mu)^2."""
        pi, mu = torch.sigmoid(self.logit(eta)), safe_exp(eta)
        return pi * mu**2 * (1 + 1 / self.shape) - (pi * mu) ** 2

    def link(self, mean: float) -> float:
        """The eta at which pi e^eta is the mean, by bisection of its logarithm."""
        target, low, high = math.log(max(mean, SMALLEST_MEAN)), -100.0, 100.0
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            at = torch.tensor(middle, dtype=torch.float64)
            below = float(F.logsigmoid(self.logit(at))) + middle < target
            low, high = (middle, high) if below else (low, middle)
        return 0.5 * (low + high)

    def maximum_likelihood(self, sums: Sums) -> Fitted:
        """Share of amounts above zero, and their Gamma; the slope stays as it is, as one eta cannot tell it."""
        some, log_r, r = sums.statistic
        amount, eta = self.amount().maximum_likelihood(Sums(some, (log_r, r)))
        share = inside(some / sums.trials)
        odds = share / (1 - share) * math.exp(-float(self.slope) * eta)
        return Fitted(replace(self, shape=float(amount.shape), odds=odds), eta)  # type: ignore[attr-defined]

    def starting(self, value: Tensor, trials: Tensor) -> Self:
        """The shape of the amounts above zero, and the odds of one at their mean."""
        amount, share = self.amount().starting(value, trials), inside(float((value > 0).double().mean()))
        above = value[value > 0]
        level = math.log(float(above.double().mean())) if len(above) else 0.0
        odds = share / (1 - share) * math.exp(-float(self.slope) * level)
        return replace(self, shape=amount.shape, odds=min(max(odds, 1e-3), 1e3))

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        positive = torch.binomial(trials.expand_as(eta).contiguous(), torch.sigmoid(self.logit(eta)))
        return self.amount().sample(eta, positive)

    def refusal(self, value: Tensor, trials: Tensor) -> str | None:
        """Amounts of zero or more."""
        return refuse_negative(self.name, value)
