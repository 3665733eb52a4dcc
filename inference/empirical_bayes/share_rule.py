"""Popularity as a share of all interactions, put where it belongs in a lognormal prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyro.distributions as dist
import torch
from scipy.special import polygamma

from pyrorec.data import InputError
from pyrorec.inference.empirical_bayes.base import Rule
from pyrorec.inference.empirical_bayes.counts import Counts
from pyrorec.inference.empirical_bayes.gamma_poisson_ml import GammaPoissonML
from pyrorec.inference.empirical_bayes.lognormal_population import LogNormalPopulation
from pyrorec.inference.empirical_bayes.m_step import lognormal_m_step
from pyrorec.inference.empirical_bayes.negative_binomial import GammaPopulation


@dataclass(frozen=True)
class ShareRule(Rule):
    """Item priors LogNormal(log share_i - s0^2 / 2, s0), one s0 for all items (maths 1.3, B12).

    The source note put the share itself where the mean of log z belongs. Then E z = exp(share + s0^2 / 2) is nearly
    the same for all: an item with 10,000 times the share of another had 1.108 times its median. Here the mean of z is
    the share. Shares are those of Gamma-Poisson posterior means, because log 0 is no location, and are written in
    events per unit of exposure like the other rules' laws; with equal exposures, share times total over exposure.

    s0^2 is the mean over items of the posterior variance of log z. One s0 for all is too narrow for items with few
    events and too wide for those with many, so the other rules are better; this one is for comparing with the note.
    """

    name: ClassVar[str] = "share"

    def learn(self, counts: Counts) -> SharePopulation:
        smooth = GammaPoissonML().learn(counts)
        if np.isinf(smooth.shape):
            raise InputError("Shares differ no more than by chance, so smoothing makes them equal: use GammaPoissonML.")
        sd = float(np.sqrt(polygamma(1, smooth.shape + counts.n).mean()))
        between = lognormal_m_step(*_location_and_sd(smooth, sd, counts))
        return SharePopulation(float(between.loc), float(between.scale), smooth, sd)


@dataclass(frozen=True)
class SharePopulation(LogNormalPopulation):
    """The lognormal of the items' aggregated laws; smooth: what shares are shrunk by; item_sd: s0."""

    smooth: GammaPopulation
    item_sd: float

    def items(self, counts: Counts) -> dist.LogNormal:
        return dist.LogNormal(*_location_and_sd(self.smooth, self.item_sd, counts))


def share_location(share: torch.Tensor, sd: float) -> torch.Tensor:
    """The mean of log z at which a lognormal of log-sd `sd` has mean `share`; any shape, shares above zero."""
    return share.log() - sd**2 / 2


def _location_and_sd(smooth: GammaPopulation, sd: float, counts: Counts) -> tuple[torch.Tensor, torch.Tensor]:
    location = share_location(smooth.items(counts).mean, sd)
    return location, torch.full_like(location, sd)
