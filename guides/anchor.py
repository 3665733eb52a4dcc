"""Anchoring: the level of effects, which the likelihood leaves to the prior, set where the bound is highest.

Multiplying every z_i by c and lowering the intercept by log c changes no rate; shifting and scaling every zeta_i
changes no linear predictor if the intercept and gamma make up for it; and where popularity multiplies a match, the
link's own parameter makes up for the units of z. Along such an orbit only the prior speaks, and
its optimum is known. Gradient steps find it slowly: after a hundred epochs of Adam the mean popularity of a
simulated log was still a fifth too low, and with it every level that an intervention puts in place of z.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.guides.effect import population_numbers
from pyrorec.guides.encoder import NormalHead
from pyrorec.guides.posterior import SidePosterior
from pyrorec.models.bilateral import Bilateral
from pyrorec.models.component import Learned
from pyrorec.models.distributions import LogNormal, Scale
from pyrorec.models.laws import scaled
from pyrorec.models.moments import log_mean_power, mean_log, variance_log
from pyrorec.models.predictors import Product
from pyrorec.models.quadrature import mean_ratio_power
from pyrorec.models.side import Side


@torch.no_grad()
def anchor(model: Bilateral, side: Side, kept: SidePosterior, head: NormalHead | None) -> None:
    """Moves a side's effects to the best point of their orbit; `head` is the encoder's, where it has one.

    Rates: by `match_spread` and `best_shift`. Logarithms: the aggregated posterior has mean 0 and variance 1, where
    sum KL(q(zeta_i) || N(0, 1)) is least (maths 2.2, 3.6). Nothing moves where rows have priors of their own, which pin
    the effects.
    """
    if kept.family is None or side.own_law is not None:
        return
    if kept.family.scale is Scale.LOG:
        anchor_logarithms(model, side, kept, head)
    elif not isinstance(kept.effect, dist.Delta):  # points have no divergence
        anchor_rates(model, side, kept, head)


def anchor_rates(model: Bilateral, side: Side, kept: SidePosterior, head: NormalHead | None) -> None:
    """Multiplies a side's effects by one number; what `make_up` names makes up for it."""
    law: Any = kept.effect
    before = population_numbers(side, kept.family)  # type: ignore[arg-type]
    match_spread(side, law)
    shift = best_shift(side.population(), law).to(model.level.intercept)
    kept.set_effect(scaled(law, shift.exp()))
    make_up(side.predictor, model.level.intercept, shift)
    if head is not None:  # speaks in units of the population, whose law may have changed
        after = population_numbers(side, kept.family)  # type: ignore[arg-type]
        head.standardise((after[0] - before[0] - shift) * (-before[1]).exp(), (after[1] - before[1]).exp())


def match_spread(side: Side, law: Any) -> None:
    """A LogNormal population's sd becomes that of log z in the aggregated posterior: its best value given q (maths
    3.6)."""
    if side.effect is not None and isinstance(side.effect.start, LogNormal):
        mean = mean_log(law)
        variance = (variance_log(law) + (mean - mean.mean()).square()).mean()
        side.effect.log_values["sd"].copy_(0.5 * variance.clamp_min(1e-12).log())


def anchor_logarithms(model: Bilateral, side: Side, kept: SidePosterior, head: NormalHead | None) -> None:
    """Standardises a side's effects; intercept and gamma make up for it."""
    mean, sd = aggregated_moments(kept)
    model.level.intercept.add_(side.offset(mean))  # type: ignore[arg-type]
    side.predictor.log_values["popularity_effect"].add_(sd.log())
    kept.first.sub_(mean).div_(sd)
    kept.second.div_(sd)
    if head is not None:
        head.standardise(mean, sd)


def aggregated_moments(kept: SidePosterior) -> tuple[Tensor, Tensor]:
    """Mean and sd of a row's effect drawn from the average of all rows' posteriors."""
    mean = kept.first.mean()
    return mean, (kept.second.square() + (kept.first - mean).square()).mean().clamp_min(1e-12).sqrt()


def make_up(predictor: Learned[Any], intercept: Tensor, shift: Tensor) -> None:
    """Undoes what adding `shift` to every log z changes: by the intercept, or by the parameter of a product's link."""
    kind = predictor.start
    if isinstance(kind, Product):
        predictor.log_values[kind.learned[0]].add_(shift if kind.grows_with_popularity else -shift)
    else:
        intercept.sub_(shift)


@singledispatch
def best_shift(population: Any, law: Any) -> Tensor:
    """What to add to every log z so that sum KL(q_i || p) is least; 0 for a population that has no such step here."""
    return torch.zeros(())


@best_shift.register(dist.Gamma)
@best_shift.register(dist.Exponential)
def _(population: Any, law: Any) -> Tensor:
    """The mean of E z becomes the population's: a (log c - c mean E z / m) is largest at c = m / mean E z."""
    wanted: Tensor = population.mean.log() - log_mean_power(law, 1.0).exp().mean().log()
    return wanted


@best_shift.register(dist.Weibull)
def _(population: dist.Weibull, law: Any) -> Tensor:
    """The mean of E (z / scale)^k becomes 1, the population's: k log c - c^k mean E (z / scale)^k is largest there."""
    wanted: Tensor = -mean_ratio_power(law, population).mean().log() / population.concentration
    return wanted


@best_shift.register(dist.LogNormal)
def _(population: dist.LogNormal, law: Any) -> Tensor:
    """The mean of E log z becomes the population's."""
    wanted: Tensor = population.loc - mean_log(law).mean()
    return wanted
