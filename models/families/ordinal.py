"""Ratings on an ordered scale, by cumulative logits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.absent import ONLY_MISSING, Absent
from pyrorec.models.families.base import Family, Outcome
from pyrorec.models.integrals.softplus import expected_softplus
from pyrorec.models.special import log1mexp

FAR = 60.0
"""A cut below all others or above them: sigma of it is 0 or 1 whatever the linear predictor."""
REACH = 50.0
HALVINGS = 100
EDGE = 1e-6


@dataclass(frozen=True)
class Ordinal(Family):
    """P(r <= c) = sigma(cut_c - eta), r = 1..C: cut points as far apart as learned (cumulative logits).

    No exponential family: no statistic of fixed length holds what a log says of the cuts. The first cut is 0, as the
    intercept carries the level; `gaps` (C - 2,), positive and learned, lead from each cut to the next. All gaps start
    at one where none are given. The mean is the expected rating; a cell's value is the sum of `trials` equal ratings.
    Raises ValueError for fewer than three levels or gaps of another number.
    """

    name: ClassVar[str] = "ordinal"
    learned: ClassVar[tuple[str, ...]] = ("gaps",)
    outcome: ClassVar[Outcome] = Outcome.RATING
    absent: ClassVar[frozenset[Absent]] = ONLY_MISSING
    support: ClassVar[constraints.Constraint] = constraints.nonnegative_integer

    levels: int = 5
    gaps: tuple[float, ...] | Tensor | None = None

    def __post_init__(self) -> None:
        if self.levels < 3:
            raise ValueError(f"levels must be at least 3, not {self.levels}; two levels are clicks (family bernoulli)")
        if not isinstance(self.gaps, Tensor):
            gaps = (1.0,) * (self.levels - 2) if self.gaps is None else tuple(float(gap) for gap in self.gaps)
            object.__setattr__(self, "gaps", gaps)
        if len(self.gaps) != self.levels - 2:  # type: ignore[arg-type]
            raise ValueError(f"{self.levels} levels have {self.levels - 2} gaps, not {len(self.gaps)}")  # type: ignore[arg-type]

    def cuts(self, like: Tensor) -> Tensor:
        """The C - 1 cut points, the first of them zero."""
        gaps = torch.as_tensor(self.gaps, dtype=like.dtype, device=like.device)
        return torch.cat([gaps.new_zeros(1), gaps.cumsum(0)])

    def _ends(self, value: Tensor, trials: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The cuts below and above each rating, and whether there is one."""
        rating = (value / trials.clamp_min(1.0)).long().clamp(1, self.levels)
        cuts = self.cuts(like)
        has_lower, has_upper = (rating > 1).to(like.dtype), (rating < self.levels).to(like.dtype)
        return cuts[(rating - 2).clamp_min(0)], cuts[(rating - 1).clamp_max(self.levels - 2)], has_lower, has_upper

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """log [sigma(upper - eta) - sigma(lower - eta)] = -softplus(eta - upper) - softplus(lower - eta) + log(1 -
        e^(lower - upper)), the terms of a cut that is not there left out; times trials."""
        lower, upper, has_lower, has_upper = self._ends(value, trials, eta)
        said = has_upper * F.softplus(eta - upper) + has_lower * F.softplus(lower - eta)
        return trials * (self._between(lower, upper, has_lower * has_upper) - said)

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """The same with the expected softplus of both ends (maths 5)."""
        lower, upper, has_lower, has_upper = self._ends(value, trials, mean)
        below = has_upper * expected_softplus(mean - upper, variance)
        above = has_lower * expected_softplus(lower - mean, variance)
        return trials * (self._between(lower, upper, has_lower * has_upper) - below - above)

    @staticmethod
    def _between(lower: Tensor, upper: Tensor, both: Tensor) -> Tensor:
        """log(1 - e^(lower - upper)) where a rating lies between two cuts, else zero."""
        inner = both > 0
        return torch.where(inner, log1mexp(torch.where(inner, upper - lower, torch.ones_like(upper))), both)

    def mean(self, eta: Tensor) -> Tensor:
        """The expected rating, 1 + sum of sigma(eta - cut)."""
        total = torch.ones_like(eta)
        for cut in self.cuts(eta):
            total = total + torch.sigmoid(eta - cut)
        return total

    def link(self, mean: float) -> float:
        """The eta of an expected rating, by bisection."""
        target, low, high = min(max(mean, 1 + EDGE), self.levels - EDGE), -REACH, REACH
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            below = float(self.mean(torch.tensor(middle, dtype=torch.float64))) < target
            low, high = (middle, high) if below else (low, middle)
        return 0.5 * (low + high)

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        noisy = eta + torch.logit(torch.rand_like(eta).clamp(1e-7, 1 - 1e-7))
        return trials * (1.0 + sum((noisy > cut).to(eta.dtype) for cut in self.cuts(eta)))

    def starting(self, value: Tensor, trials: Tensor) -> Self:
        """Gaps at which a common eta would give the observed shares of ratings, half a rating added to each level."""
        rating = (value / trials.clamp_min(1.0)).long().clamp(1, self.levels)
        count = torch.bincount(rating, minlength=self.levels + 1)[1:].double() + 0.5
        cuts = torch.logit(count.cumsum(0)[:-1] / count.sum())
        return replace(self, gaps=tuple(cuts.diff().tolist()))

    def refusal(self, value: Tensor, trials: Tensor) -> str | None:
        """Ratings are whole numbers from 1 to C."""
        rating = value / trials.clamp_min(1.0)
        outside = (rating < 1) | (rating > self.levels) | (rating != rating.floor())
        if not bool(outside.any()):
            return None
        return (
            f"Family ordinal takes ratings 1 to {self.levels}, and the log holds {float(rating[outside][0]):g}: give "
            "levels (model.family, levels), make steps of a half whole by doubling, or use family gaussian."
        )
