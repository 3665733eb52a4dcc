"""Interventions: questions asked of a posterior about popularity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import pyro.distributions as dist
import torch

from pyrorec.data import InputError
from pyrorec.inference.posterior import Posterior
from pyrorec.models.distributions import InverseGaussian, Scale
from pyrorec.models.laws import resembling
from pyrorec.models.predictors import Offset

LARGEST_WEIGHT = 5.0
"""Beyond this power the moments of z^weight leave single precision."""


@dataclass(frozen=True)
class PopularityLaw:
    """The law of popularity that an intervention puts in place of the item's own.

    `law` has batch shape () or (items,), None where the model holds no popularity. `uncertain` says that its
    spread is our ignorance of a fixed quantity (and so belongs in an interval), not a population averaged over.
    Where `law` stands for the power z^`weight` of a Gamma variable by its moments, `root` is the law of z.
    `kept_share` of the item's own offset, whose law is `kept`, stays in place beside it.
    """

    law: dist.TorchDistribution | None
    uncertain: bool
    root: dist.TorchDistribution | None = None
    weight: float = 1.0
    kept: dist.TorchDistribution | None = None
    kept_share: float = 0.0


class Intervention(ABC):
    """What becomes of popularity when we ask for a score (maths 1.4)."""

    @abstractmethod
    def popularity(self, posterior: Posterior) -> PopularityLaw:
        """The law of every item's popularity under this intervention."""


@dataclass(frozen=True)
class Observe(Intervention):
    """Leave popularity as it is: each item's own q(z_i). What the next logged event will look like."""

    def popularity(self, posterior: Posterior) -> PopularityLaw:
        return PopularityLaw(posterior.popularity, uncertain=True)


@dataclass(frozen=True)
class Deconfound(Intervention):
    """Back-door adjustment, P(y | do(u, i)): integrate popularity over the one population law p(z).

    `quality_share` is the part of what popularity adds that is taken for the item's quality and stays: 0 takes none,
    1 all, which is Observe. No biased log identifies it (maths 2.3, 10): it is a sensitivity parameter to be stated,
    not estimated. It needs a predictor that adds popularity as an offset. On the rate scale z_i^share times the
    population's z^(1 - share) is one law (exact for lognormals, else a Gamma with its mean and variance), and intervals
    leave out how uncertain the share's own z_i is.
    """

    quality_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.quality_share <= 1:
            raise InputError(f"A quality share lies between 0 and 1, not {self.quality_share}.")

    def popularity(self, posterior: Posterior) -> PopularityLaw:
        population = needs_popularity(posterior, "Deconfound").population
        if not self.quality_share:
            return PopularityLaw(population, uncertain=False)
        if not isinstance(posterior.item_effect.predictor, Offset):
            raise InputError(
                f"Predictor {posterior.item_effect.predictor.name} has no offset that quality could be a share of: "
                "use quality share 0."
            )
        own = posterior.popularity
        if self.quality_share == 1:
            return PopularityLaw(own, uncertain=True)
        rest = power(population, 1 - self.quality_share, scale_of(posterior))
        if scale_of(posterior) is Scale.LOG:
            return PopularityLaw(rest, uncertain=False, kept=own, kept_share=self.quality_share)
        return PopularityLaw(multiplied(power(own, self.quality_share, Scale.RATE), rest), uncertain=False)


@dataclass(frozen=True, eq=False)
class SetPopularity(Intervention):
    """Put a value, or one value per item, in place of popularity (PDA's adjusting).

    `value` is on the model's own scale (rate z > 0 with mean one, or standardised log zeta): a number, a
    mapping or Series from item id to number (items left out get `otherwise`, by default the
    average item's), or an array in the order of
    the run's items. Raises InputError for a rate that is not above zero or for an item the run does not know.
    """

    value: float | Mapping[Any, float] | pd.Series | np.ndarray
    otherwise: float | None = None

    def popularity(self, posterior: Posterior) -> PopularityLaw:
        needs_popularity(posterior, "SetPopularity")
        value = torch.as_tensor(self._values(posterior), dtype=posterior.intercept.dtype)
        if not bool(torch.isfinite(value).all()):
            raise InputError("SetPopularity needs finite values; a missing or infinite one was given.")
        if scale_of(posterior) is Scale.RATE and bool((value <= 0).any()):
            raise InputError("SetPopularity needs rates above zero; this model's popularity is a rate with mean one.")
        return PopularityLaw(dist.Delta(value.to(posterior.intercept.device)), uncertain=False)

    def _values(self, posterior: Posterior) -> np.ndarray | float:
        if isinstance(self.value, Real):
            return float(self.value)
        if isinstance(self.value, np.ndarray):
            if self.value.shape != (posterior.known_items,):
                raise InputError(
                    f"SetPopularity was given {self.value.shape} values for {posterior.known_items} items; "
                    "give one per item in the run's order, or a mapping from item id."
                )
            unknown = len(posterior.items) - posterior.known_items
            return np.append(self.value, np.full(unknown, self._neutral(posterior)))
        given = pd.Series(dict(self.value), dtype=float)  # type: ignore[arg-type]
        if given.isna().any():
            raise InputError(
                f"SetPopularity has no value for item {given.index[given.isna()][0]!r}; leave it out instead."
            )
        unknown = given.index.difference(posterior.items)
        if len(unknown):
            raise InputError(f"SetPopularity names item {unknown[0]!r}, which the run does not know.")
        filled = given.reindex(posterior.items).fillna(self._neutral(posterior))
        return filled.to_numpy(dtype=float, copy=True)

    def _neutral(self, posterior: Posterior) -> float:
        """The popularity of items that were given none."""
        return average_popularity(posterior) if self.otherwise is None else self.otherwise


@dataclass(frozen=True)
class Temper(Intervention):
    """Let popularity count with a power: z^weight, or weight x zeta on the log scale.

    1 is Observe; 0 ranks as Deconfound. Popularity is partly quality: the weight is tuned on validation data
    and is not a causal quantity. z^weight of a Gamma is replaced by the Gamma of its first two moments.
    """

    weight: float

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= LARGEST_WEIGHT:
            raise InputError(f"Temper needs a weight from 0 to {LARGEST_WEIGHT:g}, not {self.weight}.")

    def popularity(self, posterior: Posterior) -> PopularityLaw:
        law = needs_popularity(posterior, "Temper").popularity
        tempered = power(law, self.weight, scale_of(posterior))
        return PopularityLaw(tempered, uncertain=True, root=law, weight=self.weight)


def scale_of(posterior: Posterior) -> Scale | None:
    """The scale of the model's popularity."""
    return posterior.item_effect.predictor.scale


def average_popularity(posterior: Posterior) -> float:
    """Popularity of the average item: 1 on the rate scale, whose population mean is one, 0 on the log scale."""
    return 1.0 if scale_of(posterior) is Scale.RATE else 0.0


def power(law: dist.TorchDistribution | None, weight: float, scale: Scale | None) -> dist.TorchDistribution:
    """The law of z^weight (a Gamma by two moments, any other exactly), or of weight x zeta on the log scale."""
    if isinstance(law, dist.Delta):
        return dist.Delta(law.v**weight if scale is Scale.RATE else weight * law.v)
    if isinstance(law, dist.Exponential):
        law = dist.Weibull(1 / law.rate, torch.ones_like(law.rate))
    if isinstance(law, dist.Normal | dist.LogNormal):
        return type(law)(weight * law.loc, (weight * law.scale).clamp_min(1e-9))
    if isinstance(law, dist.Weibull):
        return dist.Weibull(law.scale**weight, law.concentration / max(weight, 1e-9))
    if isinstance(law, InverseGaussian):
        law = resembling(dist.Gamma, law)
    assert isinstance(law, dist.Gamma)
    return gamma_power(law, weight)


def multiplied(first: dist.TorchDistribution, second: dist.TorchDistribution) -> dist.TorchDistribution:
    """The law of a product of independent rates: exact for lognormals, else the Gamma with its mean and variance."""
    if isinstance(first, dist.LogNormal) and isinstance(second, dist.LogNormal):
        return dist.LogNormal(first.loc + second.loc, torch.sqrt(first.scale**2 + second.scale**2))
    mean = first.mean * second.mean
    square = (first.variance + first.mean**2) * (second.variance + second.mean**2)
    shape = 1 / (square / mean**2 - 1).clamp_min(1e-9)
    return dist.Gamma(shape, shape / mean)


def gamma_power(law: dist.Gamma, weight: float) -> dist.Gamma:
    """The Gamma with the first two moments of z^weight."""
    a = law.concentration.double()
    log_first = torch.lgamma(a + weight) - torch.lgamma(a)
    log_second = torch.lgamma(a + 2 * weight) - torch.lgamma(a)
    squared_cv = torch.expm1(log_second - 2 * log_first).clamp_min(1e-9)
    shape = 1 / squared_cv
    mean = torch.exp(log_first - weight * law.rate.double().log())
    dtype = law.concentration.dtype
    return dist.Gamma(shape.to(dtype), (shape / mean).to(dtype))


def needs_popularity(posterior: Posterior, question: str) -> Posterior:
    """The posterior, if it holds popularity; InputError otherwise."""
    if posterior.popularity is None:
        raise InputError(
            f"{question} needs a model with popularity, and predictor plain has none: fit with predictor "
            "log-additive or additive, or ask with Observe."
        )
    return posterior
