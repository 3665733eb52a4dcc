"""What the likelihood leaves to the priors, set where the bound is highest: popularities' level, and what ids explain.

As in `pyrorec.guides.anchor`: multiplying every z_i by c and lowering the intercept by log c changes no prediction, and
shifting and scaling every zeta_i none if intercept and gamma make up for it. Gradient steps go along such an orbit so
slowly that a learned sd of log z of .8 came out as 1.2, the popularities' mean having been left at .4 in place of 1.
Effects of ids and weights of their features have such an orbit too: forty users' effects kept a fifth of a slope.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from pyrorec.guides.anchor import best_shift, make_up
from pyrorec.models.component import Parts
from pyrorec.models.distributions import Scale
from pyrorec.models.inputs import Inputs
from pyrorec.models.popularity import Popularity


class Movable(Protocol):
    """What holds location and log spread of every group's popularity, and can move and stretch them all together."""

    def __call__(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Location and log spread of some groups."""

    def move(self, shift: Tensor) -> None:
        """Adds to every location."""

    def stretch(self, sd: Tensor) -> None:
        """Divides every location and spread."""


@torch.no_grad()
def anchor_popularity(model: Popularity, q: Movable) -> None:
    """Moves every group's popularity, and what makes up for it, to the best point of their orbit.

    Nothing moves where items have priors of their own. Logarithms: the aggregated posterior gets mean 0 and variance 1
    (maths 2.2, 3.6), and intercept and gamma make up for it. Rates: by `best_shift`, and the intercept makes up for it,
    or the link's own parameter where popularity multiplies a match.
    """
    if model.item_law is not None:
        return
    assert model.spec.posterior is not None
    law: Any = model.spec.posterior.law(*q(torch.arange(model.groups, device=model.level.intercept.device)))
    intercept, predictor = model.level.intercept, model.learned("predictor")
    if model.spec.predictor.scale is Scale.LOG:
        log_gamma = predictor.log_values["popularity_effect"]
        mean = law.mean.mean()
        sd = (law.variance + (law.mean - mean).square()).mean().clamp_min(1e-12).sqrt()
        intercept.add_(log_gamma.exp() * mean)
        log_gamma.add_(sd.log())
        q.move(-mean)
        q.stretch(sd)
        return
    shift = best_shift(model.population(), law).to(intercept)
    q.move(shift)
    make_up(predictor, intercept, shift)


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
