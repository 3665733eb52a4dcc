"""Popularity distributions, one per file."""

import sys

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.distributions.gamma import Gamma
from pyrorec.models.distributions.normal import Normal
from pyrorec.models.registry import discover

discover(sys.modules[__name__])

__all__ = ["Gamma", "Normal", "PopularityDistribution", "Scale"]
