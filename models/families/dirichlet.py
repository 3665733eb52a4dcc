"""How a user divides a whole over items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.absent import ONLY_MISSING, Absent
from pyrorec.models.families.base import Outcome
from pyrorec.models.families.coupled import CoupledFamily
from pyrorec.models.families.exponential_family import Fitted, log_gamma
from pyrorec.models.families.positive import refuse_nonpositive
from pyrorec.models.families.sums import Sums
from pyrorec.models.mass import safe_exp

SMALLEST = 1e-30
"""Stands for the concentration of a cell outside of the whole, whose share is drawn as nothing."""


@dataclass(frozen=True)
class Dirichlet(CoupledFamily):
    """The shares of a row's stored cells ~ Dirichlet(e^eta): phi = log r, natural = e^eta (maths 6.5).

    A = sum log G(a_i) - log G(a_0), h = prod 1 / r_i, with a_0 the sum of the a_i. Absent cells are outside of the
    whole. Amounts are divided by their row's total: a part of the cells taken out leaves shares of the rest that are
    Dirichlet with the same a_i, so nothing changes where some are held out. One trial is one row.
    """

    name: ClassVar[str] = "dirichlet"
    outcome: ClassVar[Outcome] = Outcome.SHARE
    absent: ClassVar[frozenset[Absent]] = ONLY_MISSING
    support: ClassVar[constraints.Constraint] = constraints.positive
    canonical_link: ClassVar[str] = "a"
    practical_link: ClassVar[str] = "log a"
    value_component: ClassVar[int | None] = None

    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """log r."""
        return value.log()

    def natural(self, eta: Tensor) -> Tensor:
        """a = e^eta."""
        return safe_exp(eta)

    def log_partition(self, natural: Tensor) -> Tensor:
        """sum log G(a_i) - log G(a_0)."""
        return log_gamma(natural).sum(-1) - torch.lgamma(natural.sum(-1))

    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """-sum log r."""
        return -value.log().sum(-1)

    def variance(self, eta: Tensor) -> Tensor:
        """m (1 - m) / (1 + a_0), m the expected share."""
        a = self.natural(eta)
        share = a / a.sum(-1, keepdim=True)
        return share * (1 - share) / (1 + a.sum(-1, keepdim=True))

    def maximum_likelihood(self, sums: Sums) -> Fitted:
        """Refused: there are as many eta as items; `solve_mean` of the mean log-shares gives them."""
        raise NotImplementedError("a Dirichlet has no single eta: solve A'(a) = mean log r by solve_mean")

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        """Shares of each row, `trials` (one number a row) copies added."""
        draw = torch.distributions.Dirichlet(safe_exp(eta).clamp_min(SMALLEST)).sample()
        return draw.clamp_min(torch.finfo(eta.dtype).tiny) * trials.expand(eta.shape[:-1])[..., None]

    def refusal(self, value: Tensor, trials: Tensor) -> str | None:
        """Amounts are above zero."""
        return refuse_nonpositive(self.name, value)
