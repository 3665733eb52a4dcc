"""What a rule of empirical Bayes takes and gives: counts in, a population prior and item priors out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyro.distributions as dist
import torch

from pyrorec.data import InputError
from pyrorec.inference.empirical_bayes.conversions import Law, divided, log_moments
from pyrorec.inference.empirical_bayes.counts import Counts
from pyrorec.inference.empirical_bayes.source import Source, Uses
from pyrorec.models.distributions.prior import Prior, Scope


class Learned(ABC):
    """What a rule learned of a population, ready to meet any counts."""

    @abstractmethod
    def population(self) -> Law:
        """The law of an item drawn at random, batch shape (); a Delta where items do not differ."""

    @abstractmethod
    def items(self, counts: Counts) -> Law:
        """Each item's law given its own count, batch shape (items,)."""

    @abstractmethod
    def log_marginal(self, counts: Counts) -> np.ndarray:
        """log p(n_i | E_i) with popularity integrated out, float64 (items,); of the same measure in every rule."""

    def notes(self) -> tuple[str, ...]:
        """Sentences a user should read before believing the estimate."""
        return ()

    @property
    def telling(self) -> bool:
        """Whether the counts tell the population's law at all."""
        return True


@dataclass(frozen=True)
class Rule(ABC):
    """A way from counts to the prior of popularity."""

    name: ClassVar[str]

    @abstractmethod
    def learn(self, counts: Counts) -> Learned:
        """The population behind counts that all have exposure; InputError where the rule cannot serve them."""

    def fit(self, counts: Counts) -> Estimate:
        """Population and item priors; InputError for counts that say nothing, or that the rule cannot serve."""
        shown = counts.shown()
        learned = self.learn(shown)
        return Estimate(
            rule=self.name,
            population=Prior(learned.population(), Scope.POPULATION),
            items=Prior(learned.items(counts), Scope.ITEM),
            log_likelihood=float(learned.log_marginal(shown).sum()),
            source=counts.source,
            notes=learned.notes(),
            telling=learned.telling,
        )


@dataclass(frozen=True)
class Standardised:
    """Priors of zeta = (log z - location) / scale (maths 0), normal laws."""

    location: float
    scale: float
    population: Prior
    items: Prior


@dataclass(frozen=True)
class Rates:
    """Priors of z in units of the population's mean, exp(log_mean): the model's intercept takes up log_mean."""

    log_mean: float
    population: Prior
    items: Prior


@dataclass(frozen=True)
class Estimate:
    """The priors of one rule on the rate scale, z events per unit of exposure.

    population: for adjustment and for items nothing is known of. items: each item's posterior, to serve as its prior
    in the next period and never in this one (`check_not_fitted_twice`). log_likelihood: of all counts with popularity
    integrated out, comparable between rules. source: the cells counted, None if unknown. telling: whether the counts
    tell the population's law at all.
    """

    rule: str
    population: Prior
    items: Prior
    log_likelihood: float
    source: Source | None = None
    notes: tuple[str, ...] = ()
    telling: bool = True

    @property
    def uses(self) -> Uses | None:
        """Whether outcomes were counted or exposures only; None if the source is unknown."""
        return None if self.source is None else self.source.uses

    @property
    def degenerate(self) -> bool:
        """Whether the counts vary no more than chance makes them, so that all items are equally popular."""
        return isinstance(self.population.law, dist.Delta)

    def standardised(self) -> Standardised:
        """The priors on the standardised log scale, by the moments of log z (maths 3.8).

        Raises InputError for a degenerate estimate, which has no scale.
        """
        if self.degenerate:
            raise InputError("All items are equally popular as far as these counts tell: leave popularity out.")
        location, scale = (float(moment) for moment in log_moments(self.population.law))
        mean, sd = log_moments(self.items.law)
        standard = dist.Normal(torch.zeros((), dtype=mean.dtype), torch.ones((), dtype=mean.dtype))
        items = dist.Normal((mean - location) / scale, sd / scale)
        return Standardised(location, scale, Prior(standard, Scope.POPULATION), Prior(items, Scope.ITEM))

    def rate(self) -> Rates:
        """The priors of z over the population's mean, as models take it; a Beta becomes the nearest Gamma."""
        mean = float(self.population.law.mean)
        population, items = (divided(prior.law, mean) for prior in (self.population, self.items))
        return Rates(math.log(mean), Prior(population, Scope.POPULATION), Prior(items, Scope.ITEM))
