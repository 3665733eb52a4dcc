"""The best population given posteriors: the closed step for priors that are learned inside an ELBO."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from pyrorec.data import InputError
from pyrorec.models.distributions.gamma import match_gamma


def gamma_m_step(means: Tensor, mean_logs: Tensor) -> dist.Gamma:
    """The Gamma that maximises sum_i E_qi log p(z_i), from E z_i and E log z_i (items,) of any laws q (maths 3.6).

    Its E z and E log z are the averages of the items'. Iterated with exact posteriors this is the EM algorithm of
    maths 3.1. Raises InputError for empty, unequal or impossible moments.
    """
    _refuse_unequal(means, mean_logs)
    if not bool((means > 0).all()) or not bool((mean_logs <= means.log() + 1e-12).all()):
        raise InputError("Means must be above zero and mean logs no larger than the logs of the means.")
    return match_gamma(means.mean(), mean_logs.mean())


def lognormal_m_step(locations: Tensor, sds: Tensor) -> dist.LogNormal:
    """The LogNormal that maximises sum_i E_qi log p(z_i), from mean and sd of log z_i (items,) (maths 3.6).

    Its log variance is that within items plus that between them. Raises InputError for empty or unequal moments, and
    where nothing varies.
    """
    _refuse_unequal(locations, sds)
    location = locations.mean()
    variance = (sds**2 + (locations - location) ** 2).mean()
    if not bool(variance > 0):
        raise InputError("Popularity varies neither within nor between items: there is no lognormal to learn.")
    return dist.LogNormal(location, variance.sqrt())


def _refuse_unequal(first: Tensor, second: Tensor) -> None:
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise InputError(f"Give two moments an item, not shapes {tuple(first.shape)} and {tuple(second.shape)}.")
