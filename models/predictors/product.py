"""Popularity multiplies the probability of a match: P(click) = sigma(a) g(z)."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.distributions.gamma import Gamma
from pyrorec.models.families.base import Family
from pyrorec.models.families.bernoulli import Bernoulli, log_choose
from pyrorec.models.predictors.base import Predictor, UnfitPair

LARGEST_MATCH = 0.9
"""A fit does not start at matches more probable than this."""


class Product(Predictor):
    """P(click) = h g(z), h = sigma(a), with a link g that grows from 0 to 1 (maths 1.2.8).

    The split into h and g is identified only through the shape of the click rate over users, and at click rates below
    one in a hundred not at all in practice (maths 2.1): prefer an additive predictor where the split matters.
    """

    scale: ClassVar[Scale | None] = Scale.RATE

    @abstractmethod
    def log_link(self, popularity: Tensor) -> Tensor:
        """log g(z), for z on the rate scale; same shape."""

    @abstractmethod
    def log_unlinked(self, popularity: Tensor) -> Tensor:
        """log(1 - g(z)), accurate where g is near one; same shape."""

    @property
    def parameter(self) -> float | Tensor:
        """The link's own parameter."""
        value: float | Tensor = getattr(self, self.learned[0])
        return value

    def check_family(self, family: Family) -> None:
        if not isinstance(family, Bernoulli):
            raise UnfitPair(
                f"predictor {self.name} returns a click probability of its own: use family bernoulli, not {family.name}"
            )

    def log_probability(self, affinity: Tensor, popularity: Tensor) -> tuple[Tensor, Tensor]:
        """log p and log(1 - p), the latter as log(sigma(-a) + sigma(a) (1 - g)), so that nothing cancels (maths 5)."""
        log_h = F.logsigmoid(affinity)
        return log_h + self.log_link(popularity), self.log_unmatched(F.logsigmoid(-affinity), log_h, popularity)

    def log_unmatched(self, log_rest: Tensor, log_h: Tensor, popularity: Tensor) -> Tensor:
        """log(1 - h g) from log(1 - h) and log h."""
        return torch.logaddexp(log_rest, log_h + self.log_unlinked(popularity))

    def log_prob(self, family: Family, value: Tensor, trials: Tensor, affinity: Tensor, popularity: Tensor) -> Tensor:
        """c log p + (trials - c) log(1 - p) + log binomial(trials, c)."""
        log_p, log_rest = self.log_probability(affinity, popularity)
        return value * log_p + (trials - value) * log_rest + log_choose(trials, value)

    def mean(self, family: Family, affinity: Tensor, popularity: Tensor) -> Tensor:
        """sigma(a) g(z), in (0, 1)."""
        return self.log_probability(affinity, popularity)[0].exp()

    def starting_level(self, family: Family, mean: float) -> float:
        return family.link(min(mean / float(self.log_link(torch.ones(())).exp()), LARGEST_MATCH))

    def sample(self, family: Family, trials: Tensor, affinity: Tensor, popularity: Tensor) -> Tensor:
        p = self.mean(family, affinity, popularity)
        return torch.binomial(trials.expand_as(p).contiguous(), p)

    @classmethod
    def default_popularity(cls) -> PopularityDistribution | None:
        return Gamma()
