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
    grows_with_popularity: ClassVar[bool] = False
    """Whether the link's parameter is measured in units of z (C), and not in units of 1 / z (lambda)."""

    @abstractmethod
    def log_link(self, log_z: Tensor) -> Tensor:
        """log g(z) from log z, which a small z does not underflow; same shape."""

    @abstractmethod
    def log_unlinked(self, log_z: Tensor) -> Tensor:
        """log(1 - g(z)) from log z, accurate where g is near one; same shape."""

    @property
    def log_parameter(self) -> Tensor:
        """Logarithm of the link's own parameter."""
        value = self.parameter
        return (value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)).log()

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

    def log_probability(self, affinity: Tensor, log_z: Tensor) -> tuple[Tensor, Tensor]:
        """log p and log(1 - p), the latter as log(sigma(-a) + sigma(a) (1 - g)), so that nothing cancels (maths 5)."""
        log_h = F.logsigmoid(affinity)
        return log_h + self.log_link(log_z), self.log_unmatched(F.logsigmoid(-affinity), log_h, log_z)

    def log_unmatched(self, log_rest: Tensor, log_h: Tensor, log_z: Tensor) -> Tensor:
        """log(1 - h g) from log(1 - h), log h and log z."""
        return torch.logaddexp(log_rest, log_h + self.log_unlinked(log_z))

    def log_prob(self, family: Family, value: Tensor, trials: Tensor, affinity: Tensor, popularity: Tensor) -> Tensor:
        return self.log_prob_at(family, value, trials, affinity, popularity.log())

    def log_prob_at(self, family: Family, value: Tensor, trials: Tensor, affinity: Tensor, node: Tensor) -> Tensor:
        """c log p + (trials - c) log(1 - p) + log binomial(trials, c)."""
        log_p, log_rest = self.log_probability(affinity, node)
        return value * log_p + (trials - value) * log_rest + log_choose(trials, value)

    def mean(self, family: Family, affinity: Tensor, popularity: Tensor) -> Tensor:
        """sigma(a) g(z), in (0, 1)."""
        return self.log_probability(affinity, popularity.log())[0].exp()

    def starting_level(self, family: Family, mean: float) -> float:
        return family.link(min(mean / float(self.log_link(torch.zeros(())).exp()), LARGEST_MATCH))

    def sample(self, family: Family, trials: Tensor, affinity: Tensor, popularity: Tensor) -> Tensor:
        p = self.mean(family, affinity, popularity)
        return torch.binomial(trials.expand_as(p).contiguous(), p)

    @classmethod
    def default_popularity(cls) -> PopularityDistribution | None:
        return Gamma()
