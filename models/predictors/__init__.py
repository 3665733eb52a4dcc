"""Predictors, one per file."""

import sys

from pyrorec.models.predictors.additive import Additive
from pyrorec.models.predictors.base import Predictor
from pyrorec.models.predictors.log_additive import LogAdditive
from pyrorec.models.predictors.plain import Plain
from pyrorec.models.registry import discover

discover(sys.modules[__name__])

__all__ = ["Additive", "LogAdditive", "Plain", "Predictor"]
