"""Rows of the log as distributions, and which of them a choice of predictor, popularity and family calls for."""

from __future__ import annotations

from pyrorec.models.distributions import Gamma, PopularityDistribution
from pyrorec.models.families import Cloglog, Family, Poisson
from pyrorec.models.predictors import LogAdditive, Predictor
from pyrorec.models.rows.base import RowDistribution
from pyrorec.models.rows.frailty import FrailtyRows
from pyrorec.models.rows.gamma_cloglog import GammaCloglogRows
from pyrorec.models.rows.gamma_poisson import GammaPoissonRows
from pyrorec.models.rows.independent import IndependentRows
from pyrorec.models.rows.sparse import SparseRows

INTEGRATED: dict[tuple[type[PopularityDistribution], type[Predictor], type[Family]], type[FrailtyRows]] = {
    (Gamma, LogAdditive, Poisson): GammaPoissonRows,
    (Gamma, LogAdditive, Cloglog): GammaCloglogRows,
}
"""Combinations whose row frailty is integrated out."""

__all__ = [
    "INTEGRATED",
    "FrailtyRows",
    "GammaCloglogRows",
    "GammaPoissonRows",
    "IndependentRows",
    "RowDistribution",
    "SparseRows",
]
