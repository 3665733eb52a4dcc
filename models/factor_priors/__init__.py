"""Priors of the factors, one per file."""

import sys

from pyrorec.models.factor_priors.base import FactorPrior, RowPrior
from pyrorec.models.factor_priors.cap import Cap
from pyrorec.models.factor_priors.learned_scale import LearnedScale
from pyrorec.models.factor_priors.standard import Standard
from pyrorec.models.registry import discover

discover(sys.modules[__name__])

__all__ = ["Cap", "FactorPrior", "LearnedScale", "RowPrior", "Standard"]
