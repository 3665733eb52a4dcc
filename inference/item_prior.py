"""The prior of each item's popularity for a fit: learned, or by empirical Bayes from other data than those fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch

import pyro.distributions as dist
import torch

from pyrorec.data import InputError, Interactions, Unobserved, split_by_time
from pyrorec.inference.empirical_bayes import (
    Estimate,
    GammaPoissonML,
    PoissonLogNormal,
    Rule,
    check_not_fitted_twice,
    counts_of,
    exposure_counts,
)
from pyrorec.models.distributions import Gamma, LogNormal, PopularityDistribution, Prior, Scale
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.prior_source import EarlierPeriods, ExposureCounts, LearnedPopulation, PriorSource


@dataclass(frozen=True)
class Anchored:
    """A model with its population's law set, the log to be fitted, and each item's prior (None: the population's)."""

    spec: PopularityModel
    log: Interactions
    items: Prior | None


def anchored(spec: PopularityModel, log: Interactions) -> Anchored:
    """What the model's prior source makes of a log. Raises InputError where it cannot serve."""
    if spec.popularity is None:
        return Anchored(spec, log, None)
    estimate, fitted = estimated(spec.source, log, rule_for(spec.popularity))
    if estimate is None:
        return Anchored(spec, fitted, None)
    check_not_fitted_twice(estimate, fitted)
    if spec.popularity.scale is Scale.LOG:
        return Anchored(spec, fitted, estimate.standardised().items)
    rates = estimate.rate()
    return Anchored(replace(spec, popularity=distribution(rates.population.law)), fitted, rates.items)


@singledispatch
def estimated(source: PriorSource, log: Interactions, rule: Rule | None) -> tuple[Estimate | None, Interactions]:
    """The estimate from a source (None: learned with the rest), and the part of the log left to be fitted."""
    raise InputError(f"There is no way to draw a prior from {source.name}.")


@estimated.register
def _(source: LearnedPopulation, log: Interactions, rule: Rule | None) -> tuple[Estimate | None, Interactions]:
    return None, log


@estimated.register
def _(source: ExposureCounts, log: Interactions, rule: Rule | None) -> tuple[Estimate | None, Interactions]:
    if not isinstance(log.missing, Unobserved):
        raise InputError(
            "Exposure counts may be the prior only where outcomes are modelled given exposure: use --missing "
            "unobserved, or take the prior from earlier periods (--prior-source earlier), or learn it (learned)."
        )
    return needed(rule).fit(exposure_counts(log)), log


@estimated.register
def _(source: EarlierPeriods, log: Interactions, rule: Rule | None) -> tuple[Estimate | None, Interactions]:
    earlier, later = split_by_time(log, test_fraction=1 - source.share)
    return needed(rule).fit(counts_of(earlier)), later


def needed(rule: Rule | None) -> Rule:
    """The rule, if there is one for the popularity distribution. Raises InputError otherwise."""
    if rule is None:
        raise InputError(
            "There is no empirical Bayes rule for this popularity distribution: use gamma, lognormal or normal, "
            "or learn the population (--prior-source learned)."
        )
    return rule


def rule_for(popularity: PopularityDistribution) -> Rule | None:
    """The rule whose population is of the wanted kind; log-scale popularity takes moments of a Gamma's logarithm."""
    if isinstance(popularity, LogNormal):
        return PoissonLogNormal()
    return GammaPoissonML() if isinstance(popularity, Gamma) or popularity.scale is Scale.LOG else None


def distribution(law: dist.TorchDistribution) -> PopularityDistribution:
    """A population law of mean one as a popularity distribution. Raises InputError for one without spread."""
    if isinstance(law, dist.Gamma):
        return Gamma(shape=float(law.concentration))
    if isinstance(law, dist.LogNormal):
        return LogNormal(sd=float(torch.as_tensor(law.scale)))
    raise InputError("All items are equally popular as far as these counts tell: leave popularity out.")
