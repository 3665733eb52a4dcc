"""Covariances of a row's factors in q, one per file."""

import sys

from pyrorec.guides.covariances.diagonal import Diagonal
from pyrorec.guides.covariances.full import Full
from pyrorec.guides.covariances.low_rank import LowRank
from pyrorec.models.encoding import Covariance
from pyrorec.models.registry import discover

discover(sys.modules[__name__])

__all__ = ["Covariance", "Diagonal", "Full", "LowRank"]
