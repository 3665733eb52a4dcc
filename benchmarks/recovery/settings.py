"""Sizes of the world, and how it is fitted."""

from __future__ import annotations

import pyrorec as pr
from pyrorec.inference.objective import Expected

USERS, ITEMS, SHAPE = 40, 200, 1.5
TRAINING = pr.Training(objective=Expected(), epochs=100, learning_rate=0.05, validation_fraction=0.0, batch_size=2_000)
