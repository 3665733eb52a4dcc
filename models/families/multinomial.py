"""A user's events spread over items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.absent import EXACT, Absent
from pyrorec.models.families.base import Outcome, refuse_fractions
from pyrorec.models.families.coupled import CoupledFamily
from pyrorec.models.families.exponential_family import Fitted
from pyrorec.models.families.sums import Sums


@dataclass(frozen=True)
class Multinomial(CoupledFamily):
    """A row of counts y ~ Multinomial(n, softmax(eta)), n its total: phi = y, A = log sum e^eta (maths 6.5).

    One trial is one event. A is flat along the ones: eta + c is the same law. Absent cells that are zeros enter the
    sum under the logarithm alone; where absent cells are missing, the stored ones are all there was to choose from.
    `log_prob` takes n as trials, one number a row.
    """

    name: ClassVar[str] = "multinomial"
    outcome: ClassVar[Outcome] = Outcome.COUNT
    absent: ClassVar[frozenset[Absent]] = EXACT
    binarisable: ClassVar[bool] = True
    support: ClassVar[constraints.Constraint] = constraints.nonnegative_integer
    canonical_link: ClassVar[str] = "softmax"
    practical_link: ClassVar[str] = "softmax"

    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """The counts."""
        return value

    def natural(self, eta: Tensor) -> Tensor:
        """eta itself."""
        return eta

    def log_partition(self, natural: Tensor) -> Tensor:
        """log sum e^eta."""
        return torch.logsumexp(natural, -1)

    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """log n! - sum log y!."""
        return torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)

    def variance(self, eta: Tensor) -> Tensor:
        """p (1 - p) of each item's count in one event."""
        share = torch.softmax(eta, -1)
        return share * (1 - share)

    def maximum_likelihood(self, sums: Sums) -> Fitted:
        """Refused: there are as many eta as items; their shares are `sums.mean`."""
        raise NotImplementedError("a multinomial has no single eta: its shares are the mean of its sums")

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        """`trials` events of each row, one number a row; the counts of their items."""
        total = trials.expand(eta.shape[:-1]).reshape(-1)
        rows = torch.softmax(eta, -1).reshape(len(total), -1)
        counts = torch.zeros_like(rows)
        for row, n in enumerate(total.long().tolist()):
            if n:
                counts[row] = torch.bincount(torch.multinomial(rows[row], n, replacement=True), minlength=rows.shape[1])
        return counts.reshape(eta.shape)

    def refusal(self, value: Tensor, trials: Tensor) -> str | None:
        """Counts are whole numbers."""
        return refuse_fractions(self.name, value)
