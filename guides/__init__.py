"""Guides: how q is parameterised."""

from pyrorec.guides.bilateral import BilateralGuide, DeltaGuide
from pyrorec.guides.encoder import RowPosterior
from pyrorec.guides.encoders import RowEncoder, RowEncoding, SetEncoding
from pyrorec.guides.posterior import SidePosterior

__all__ = ["BilateralGuide", "DeltaGuide", "RowEncoder", "RowEncoding", "RowPosterior", "SetEncoding", "SidePosterior"]
