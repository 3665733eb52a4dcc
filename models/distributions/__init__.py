"""Popularity distributions, one per file."""

import sys

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.distributions.exponential import Exponential
from pyrorec.models.distributions.gamma import Gamma
from pyrorec.models.distributions.inverse_gaussian import InverseGaussian
from pyrorec.models.distributions.lognormal import LogNormal
from pyrorec.models.distributions.normal import Normal
from pyrorec.models.distributions.prior import Prior, Scope, WrongScope
from pyrorec.models.distributions.weibull import Weibull
from pyrorec.models.registry import discover

discover(sys.modules[__name__])

__all__ = [
    "Exponential",
    "Gamma",
    "InverseGaussian",
    "LogNormal",
    "Normal",
    "PopularityDistribution",
    "Prior",
    "Scale",
    "Scope",
    "Weibull",
    "WrongScope",
]
