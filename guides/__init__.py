"""Guides: how q is parameterised."""

from pyrorec.guides.bilateral import BilateralGuide, DeltaGuide
from pyrorec.guides.encoder import RowEncoder, RowPosterior
from pyrorec.guides.posterior import SidePosterior

__all__ = ["BilateralGuide", "DeltaGuide", "RowEncoder", "RowPosterior", "SidePosterior"]
