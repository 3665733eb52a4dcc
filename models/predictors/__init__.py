"""Predictors, one per file."""

import sys

from pyrorec.models.predictors.additive import Additive
from pyrorec.models.predictors.base import Offset, Predictor, UnfitPair
from pyrorec.models.predictors.log_additive import LogAdditive
from pyrorec.models.predictors.odds import Odds
from pyrorec.models.predictors.plain import Plain
from pyrorec.models.predictors.product import Product
from pyrorec.models.predictors.product_ratio import ProductRatio
from pyrorec.models.predictors.product_saturation import ProductSaturation
from pyrorec.models.predictors.product_tanh import ProductTanh
from pyrorec.models.registry import discover

discover(sys.modules[__name__])

__all__ = [
    "Additive", "LogAdditive", "Odds", "Offset", "Plain", "Predictor", "Product", "ProductRatio", "ProductSaturation",
    "ProductTanh", "UnfitPair",
]  # fmt: skip
