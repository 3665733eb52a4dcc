"""Anchoring: the level of effects, which the likelihood leaves to the prior, set where the bound is highest.

Multiplying every z_i by c and lowering the intercept by log c changes no rate; shifting and scaling every zeta_i
changes no linear predictor if the intercept and gamma make up for it. Along such an orbit only the prior speaks, and
its optimum is known. Gradient steps find it slowly: after a hundred epochs of Adam the mean popularity of a
simulated log was still a fifth too low, and with it every level that an intervention puts in place of z.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyrorec.guides.encoder import NormalHead
from pyrorec.guides.posterior import SidePosterior
from pyrorec.models.bilateral import Bilateral
from pyrorec.models.distributions import Scale
from pyrorec.models.side import Side


@torch.no_grad()
def anchor(model: Bilateral, side: Side, kept: SidePosterior, head: NormalHead | None) -> None:
    """Moves a side's effects to the best point of their orbit; `head` is the encoder's, where it has one.

    Rates: mean of E z is 1, since the bound along the orbit is -I a (log c + mean E z / c). Logarithms: the
    aggregated posterior has mean 0 and variance 1, where sum KL(q(zeta_i) || N(0, 1)) is least (maths 2.2, 3.6).
    """
    if kept.scale is Scale.RATE:
        centre = (kept.first / kept.second).mean()
        kept.second.mul_(centre)
        model.level.intercept.add_(centre.log())
    elif kept.scale is Scale.LOG:
        mean, sd = aggregated_moments(kept)
        model.level.intercept.add_(side.offset(mean))
        side.predictor.log_values["popularity_effect"].add_(sd.log())
        kept.first.sub_(mean).div_(sd)
        kept.second.div_(sd)
        if head is not None:
            head.standardise(mean, sd)


def aggregated_moments(kept: SidePosterior) -> tuple[Tensor, Tensor]:
    """Mean and sd of a row's effect drawn from the average of all rows' posteriors."""
    mean = kept.first.mean()
    return mean, (kept.second.square() + (kept.first - mean).square()).mean().clamp_min(1e-12).sqrt()
