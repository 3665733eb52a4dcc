"""Encoders, one per file."""

import sys

from pyrorec.guides.encoders.base import Encoder, Setting
from pyrorec.guides.encoders.row import RowEncoder, RowEncoding
from pyrorec.guides.encoders.set import SetEncoder, SetEncoding
from pyrorec.models.encoding import Encoding
from pyrorec.models.registry import discover

discover(sys.modules[__name__])

__all__ = ["Encoder", "Encoding", "RowEncoder", "RowEncoding", "SetEncoder", "SetEncoding", "Setting"]
