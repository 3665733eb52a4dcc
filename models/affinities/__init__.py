"""Affinities: what user and item have to do with each other, popularity apart."""

import sys

from pyrorec.models.affinities.base import Affinity
from pyrorec.models.affinities.dot import Dot, dot_mean, dot_variance, log_mean_exp_factors
from pyrorec.models.affinities.factorisation_machine import FactorisationMachine, factorisation_machine, pairwise_sum
from pyrorec.models.affinities.featured_dot import FeaturedDot
from pyrorec.models.affinities.linear import Linear
from pyrorec.models.registry import discover

discover(sys.modules[__name__])

__all__ = [
    "Affinity", "Dot", "FactorisationMachine", "FeaturedDot", "Linear", "dot_mean", "dot_variance",
    "factorisation_machine", "log_mean_exp_factors", "pairwise_sum",
]  # fmt: skip
