"""Exponential families with their links, one per file."""

import sys

from pyrorec.models.families.base import Family, Outcome
from pyrorec.models.families.bernoulli import Bernoulli
from pyrorec.models.families.cloglog import Cloglog
from pyrorec.models.families.gaussian import Gaussian
from pyrorec.models.families.poisson import Poisson
from pyrorec.models.families.probit import Probit
from pyrorec.models.registry import discover

discover(sys.modules[__name__])

__all__ = ["Bernoulli", "Cloglog", "Family", "Gaussian", "Outcome", "Poisson", "Probit"]
