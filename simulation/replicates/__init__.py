"""Many replicates of one small model at once, on a leading axis: the engine of simulation studies."""

from __future__ import annotations

from pyrorec.simulation.replicates.design import Design
from pyrorec.simulation.replicates.fit import fit_replicates
from pyrorec.simulation.replicates.guides import MeanField
from pyrorec.simulation.replicates.measures import measures
from pyrorec.simulation.replicates.model import Replicates, SmallModel

__all__ = ["Design", "MeanField", "Replicates", "SmallModel", "fit_replicates", "measures"]
