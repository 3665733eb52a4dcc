"""Families with their links, one per file: exponential families, and laws that are none and say so."""

import sys

from pyrorec.models.families.base import Family, Outcome
from pyrorec.models.families.bernoulli import Bernoulli
from pyrorec.models.families.beta import Beta
from pyrorec.models.families.binomial import Binomial
from pyrorec.models.families.cloglog import Cloglog
from pyrorec.models.families.dirichlet import Dirichlet
from pyrorec.models.families.exponential import ExponentialResponse
from pyrorec.models.families.exponential_family import ExponentialFamily
from pyrorec.models.families.gamma import GammaResponse
from pyrorec.models.families.gaussian import Gaussian
from pyrorec.models.families.gaussian_known import GaussianKnown
from pyrorec.models.families.gaussian_per_item import GaussianPerItem
from pyrorec.models.families.hurdle_gamma import HurdleGamma
from pyrorec.models.families.multinomial import Multinomial
from pyrorec.models.families.negative_binomial import NegativeBinomial
from pyrorec.models.families.ordinal import Ordinal
from pyrorec.models.families.poisson import Poisson
from pyrorec.models.families.probit import Probit
from pyrorec.models.families.sums import Sums
from pyrorec.models.registry import discover

discover(sys.modules[__name__])

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Cloglog",
    "Dirichlet",
    "ExponentialFamily",
    "ExponentialResponse",
    "Family",
    "GammaResponse",
    "Gaussian",
    "GaussianKnown",
    "GaussianPerItem",
    "HurdleGamma",
    "Multinomial",
    "NegativeBinomial",
    "Ordinal",
    "Outcome",
    "Poisson",
    "Probit",
    "Sums",
]
