"""What the likelihood leaves to the priors, set where the bound is highest: popularities' level, and what ids explain.

As in `pyrorec.guides.anchor`: multiplying every z_i by c and lowering the intercept by log c changes no prediction, and
shifting and scaling every zeta_i none if intercept and gamma make up for it. Gradient steps go along such an orbit so
slowly that a learned sd of log z of .8 came out as 1.2, the popularities' mean having been left at .4 in place of 1.
Effects of ids and weights of their features have such an orbit too: forty users' effects kept a fifth of a slope.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.component import Parts
from pyrorec.models.distributions import Scale
from pyrorec.models.inputs import Inputs
from pyrorec.models.moments import log_mean_power, mean_log
from pyrorec.models.popularity import Popularity
from pyrorec.models.predictors import Additive, LogAdditive, Odds
from pyrorec.models.sharing import PerInteraction


def anchors(model: Popularity) -> bool:
    """Whether a model has such an orbit: a learned population, and effects that the level can make up for."""
    spec = model.spec
    free = not (spec.amortised or spec.affinity_first or isinstance(spec.sharing, PerInteraction))
    return free and model.item_law is None and isinstance(spec.predictor, Additive | LogAdditive | Odds)


@torch.no_grad()
def anchor_popularity(model: Popularity, location: Tensor, log_spread: Tensor) -> None:
    """Moves every group's location and log spread, the intercept and gamma to the best point of their orbit.

    Logarithms: the aggregated posterior gets mean 0 and variance 1 (maths 2.2, 3.6). Rates: by `best_shift`.
    """
    assert model.spec.posterior is not None
    law: Any = model.spec.posterior.law(location, log_spread)
    intercept = model.level.intercept
    if model.spec.predictor.scale is Scale.LOG:
        log_gamma: Tensor = model.parts["predictor"].log_values["popularity_effect"]  # type: ignore[index]
        mean = law.mean.mean()
        sd = (law.variance + (law.mean - mean).square()).mean().clamp_min(1e-12).sqrt()
        intercept.add_(log_gamma.exp() * mean)
        log_gamma.add_(sd.log())
        location.sub_(mean).div_(sd)
        log_spread.sub_(sd.log())
    else:
        shift = best_shift(model.population(), law).to(location)
        location.add_(shift)
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


@best_shift.register(dist.LogNormal)
def _(population: dist.LogNormal, law: Any) -> Tensor:
    """The mean of E log z becomes the population's."""
    wanted: Tensor = population.loc - mean_log(law).mean()
    return wanted


@torch.no_grad()
def anchor_effects(intercept: Tensor, side: Inputs, weights: Parts) -> None:
    """Moves from the ids' effects to intercept and features' weights what these can explain.

    Effects lose [1, x] delta and the others gain delta, which changes no prediction; delta is the ridge regression that
    makes the squares of effects and weights, over their prior variances, least.
    """
    effect_site, weights_site = f"{side.name}_effect", f"{side.name}_weights"
    if effect_site not in side.shapes:
        return
    effect: Any = weights[effect_site].mean
    x = torch.cat([torch.ones(side.size, 1), side.features.cpu()], 1).double()
    penalty, pull = torch.full((x.shape[1],), 1e-9).double(), torch.zeros(x.shape[1]).double()
    if weights_site in side.shapes:
        ratio = (2 * (side.log_scale[effect_site] - side.log_scale[weights_site])).exp().double().cpu()
        penalty[1:] += ratio
        pull[1:] = ratio * weights[weights_site].mean.double().cpu()
    delta = torch.linalg.solve(x.T @ x + penalty.diag(), x.T @ effect.double().cpu() - pull)
    effect.sub_((x @ delta).to(effect))
    intercept.add_(delta[0].to(intercept))
    if weights_site in side.shapes:
        weights[weights_site].mean.add_(delta[1:].to(effect))  # type: ignore[operator]
