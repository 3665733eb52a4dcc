"""q of a drawn effect: what an encoder reads off a row, met with the row's own prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.posterior_families import PosteriorFamily
from pyrorec.models.side import Side


def effect_law(side: Side, read: dist.Normal, ids: Tensor, silent: Tensor | None) -> dist.TorchDistribution:
    """q of the effect of some rows, batch shape (rows,), in the side's posterior family.

    `read` is the encoder's answer in units of the population: N(m, s) stands for location L + S m and spread S s, with
    L and S those of the population's law, so that N(0, 1) is the prior and s at most 1 (log-concave likelihoods never
    widen a prior). It is the product of N(0, 1) and what the row says; a row with a prior of its own has that in place
    of N(0, 1): precisions 1 / s^2 - 1 + 1 / s_i^2 add, and so do means times precisions. `silent` (rows,) are rows that
    say nothing, whose q is the prior.
    """
    family = side.posterior
    assert family is not None
    location, log_spread = population_numbers(side, family)
    precision, pull = read.scale.reciprocal().square(), read.loc / read.scale.square()
    if silent is not None:
        precision, pull = torch.where(silent, 1.0, precision), torch.where(silent, 0.0, pull)
    if side.own_law is not None:
        own_location, own_log_spread = family.numbers(side.effect_prior(ids))
        own = (2 * (log_spread - own_log_spread)).exp()
        precision = precision - 1 + own
        pull = pull + own * (own_location - location) * (-log_spread).exp()
    return family.law(location + log_spread.exp() * pull / precision, log_spread - 0.5 * precision.log())


def population_numbers(side: Side, family: PosteriorFamily) -> tuple[Tensor, Tensor]:
    """Location and log spread of the population's law, or of the member of q's family that resembles it."""
    return family.numbers(side.population())
