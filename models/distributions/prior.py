"""Priors of popularity that say whom they speak of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pyro.distributions as dist


class Scope(Enum):
    """Whom a prior speaks of (maths 1.4): only a population's may be integrated over to adjust."""

    POPULATION = "population"
    ITEM = "item"


class WrongScope(ValueError):
    """An item's own prior where the population's is needed, or the other way round."""


@dataclass(frozen=True)
class Prior:
    """A law of popularity with its scope.

    A population prior has batch shape (): one item drawn at random. An item prior has one law an item, batch shape
    (items,): what is known of each, from other data than those it meets. Raises WrongScope for any other shape.
    """

    law: dist.TorchDistribution
    scope: Scope

    def __post_init__(self) -> None:
        if self.scope is Scope.POPULATION and self.law.batch_shape:
            raise WrongScope(
                f"a population prior is one law, and this one has batch shape {tuple(self.law.batch_shape)}: "
                "give the law of an item drawn at random, or scope ITEM"
            )
        if self.scope is Scope.ITEM and len(self.law.batch_shape) != 1:
            raise WrongScope(f"an item prior has one law an item, not batch shape {tuple(self.law.batch_shape)}")

    def population(self) -> dist.TorchDistribution:
        """The law, if it is the population's. Raises WrongScope for an item prior (maths 1.4, theorem 2)."""
        if self.scope is not Scope.POPULATION:
            raise WrongScope(
                "adjusting for popularity integrates over the population's law, and this prior is the items' own, "
                "which would bring popularity back: give a population prior, or set popularity with SetPopularity"
            )
        return self.law
