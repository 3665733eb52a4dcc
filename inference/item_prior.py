"""The prior of each item's popularity for a fit: learned, or by empirical Bayes from other data than those fitted."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Generic, TypeVar

import pyro.distributions as dist
import torch

from pyrorec.data import InputError, Interactions, Unobserved, split_by_time
from pyrorec.inference.empirical_bayes import (
    BetaBinomial,
    Counts,
    Estimate,
    GammaPoissonML,
    GammaPoissonMoments,
    GammaPoissonTruncated,
    InformativeExposure,
    NoMaximum,
    NormalLogCounts,
    PoissonLogNormal,
    Rule,
    ShareRule,
    check_not_fitted_twice,
    choose_rule,
    counts_of,
    exposure_counts,
)
from pyrorec.inference.records import refuse_merged
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.distributions import Gamma, LogNormal, PopularityDistribution, Prior, Scale
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.prior_source import EarlierPeriods, ExposureCounts, LearnedPopulation, PriorSource

logger = logging.getLogger("pyrorec")
Spec = TypeVar("Spec", BilateralModel, PopularityModel)
SMALLEST_SHAPE = 0.6
"""Of a Gamma population whose log is taken as normal: below, click rates under Deconfound are off by a quarter."""
WIDEST = 10.0
"""sd of log z of a population; beyond, the rule has found no law but the absence of one."""


@dataclass(frozen=True)
class Anchored(Generic[Spec]):
    """A model with its population's law set, the log to be fitted, and each item's prior (None: the population's)."""

    spec: Spec
    log: Interactions
    items: Prior | None


def anchored(spec: Spec, log: Interactions) -> Anchored[Spec]:
    """What the model's prior source makes of a log. Raises InputError where it cannot serve."""
    if spec.popularity is None or isinstance(spec.source, LearnedPopulation):
        return Anchored(spec, log, None)
    counts, fitted, rule = counted(spec.source, log)
    estimate: Estimate = estimated(spec.popularity, rule, counts)
    check_not_fitted_twice(estimate, fitted)
    logger.info(" ".join([f"popularity prior by rule {estimate.rule}.", *estimate.notes]))
    if estimate.degenerate:
        raise InputError(
            "All items are equally popular as far as these counts tell: learn the population instead "
            "(--prior-source learned), or leave popularity out (--predictor plain)."
        )
    if spec.popularity.scale is Scale.LOG:
        standard = estimate.standardised()
        if standard.scale > WIDEST:
            raise InputError(
                f"Rule {estimate.rule} finds an sd of {standard.scale:.3g} in log-popularity, so these counts tell it "
                "nothing: use --prior-rule poisson-lognormal, or learn the population (--prior-source learned)."
            )
        return Anchored(spec, fitted, standard.items)
    rates = estimate.rate()
    population = distribution(rates.population.law)
    if type(population) is not type(spec.popularity):
        raise InputError(
            f"Rule {estimate.rule} describes a {population.name} population, not a {spec.popularity.name} one: use "
            f"--prior {population.name}, or another rule."
        )
    return Anchored(replace(spec, popularity=population), fitted, rates.items)


@singledispatch
def counted(source: PriorSource, log: Interactions) -> tuple[Counts, Interactions, str]:
    """The counts of a source, the part of the log left to be fitted, and the rule asked for."""
    raise InputError(f"There is no way to draw a prior from {source.name}.")


@counted.register
def _(source: ExposureCounts, log: Interactions) -> tuple[Counts, Interactions, str]:
    if not isinstance(log.missing, Unobserved):
        raise InputError(
            "Exposure counts may be the prior only where outcomes are modelled given exposure: use --missing "
            "unobserved, or take the prior from earlier periods (--prior-source earlier), or learn it (learned)."
        )
    return exposure_counts(log), log, source.rule


@counted.register
def _(source: EarlierPeriods, log: Interactions) -> tuple[Counts, Interactions, str]:
    if log.timestamp is not None:
        refuse_merged(log, "A prior from earlier periods")
    earlier, later = split_by_time(log, test_fraction=1 - source.share)
    return counts_of(earlier), later, source.rule


RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        GammaPoissonMoments, GammaPoissonML, GammaPoissonTruncated, PoissonLogNormal, NormalLogCounts, BetaBinomial,
        InformativeExposure, ShareRule,
    )
}  # fmt: skip


def estimated(popularity: PopularityDistribution, rule: str, counts: Counts) -> Estimate:
    """The estimate by a rule of this name, or by the one for the popularity distribution.

    That is Poisson-lognormal for lognormal popularity; for Gamma popularity Gamma-Poisson, zero-truncated where every
    item has an event, as in a catalogue that was read off the log itself (maths 3.1), and where the counts tell the
    shape; on the log scale, which takes any law, see `log_scale_estimate`. Raises InputError for a name that is no
    rule, and for an exponential population, for which there is none.
    """
    if rule != "auto":
        if rule not in RULES:
            raise InputError(f"There is no rule '{rule}' of empirical Bayes; there are: {'; '.join(RULES)}.")
        return RULES[rule]().fit(counts)
    if isinstance(popularity, LogNormal):
        return PoissonLogNormal().fit(counts)
    if popularity.scale is Scale.LOG:
        return log_scale_estimate(counts)
    if not isinstance(popularity, Gamma):
        raise InputError(
            "There is no empirical Bayes rule for this popularity distribution: use gamma, lognormal or normal, "
            "or learn the population (--prior-source learned)."
        )
    return truncated(counts) or GammaPoissonML().fit(counts)


def log_scale_estimate(counts: Counts) -> Estimate:
    """The estimate by the rule that `choose_rule` finds best, or Poisson-lognormal where that rule is of no use here.

    On the log scale a population is N(0, 1): exact for a lognormal, a match of two moments for a Gamma, which serves
    down to a shape of about one half. Below, log z has so long a left tail that the match would put items on the right
    that do not exist; and zero-truncated counts with heavy tails may tell no shape at all.
    """
    rule = choose_rule(counts).rule
    found = truncated(counts) if isinstance(rule, GammaPoissonTruncated) else rule.fit(counts)
    if found is None or float(getattr(found.population.law, "concentration", math.inf)) < SMALLEST_SHAPE:
        return PoissonLogNormal().fit(counts)
    return found


def truncated(counts: Counts) -> Estimate | None:
    """Zero-truncated Gamma-Poisson; None where some item has no event, or the counts do not tell the shape."""
    if not bool((counts.n > 0).all()):
        return None
    with suppress(NoMaximum):
        found = GammaPoissonTruncated().fit(counts)
        return found if found.telling else None
    return None


def distribution(law: dist.TorchDistribution) -> PopularityDistribution:
    """A population law of mean one as a popularity distribution. Raises InputError for any other kind."""
    if isinstance(law, dist.Gamma):
        return Gamma(shape=float(law.concentration))
    if isinstance(law, dist.LogNormal):
        return LogNormal(sd=float(torch.as_tensor(law.scale)))
    raise InputError(f"A {type(law).__name__} population cannot be the prior of a fit.")
