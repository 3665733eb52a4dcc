"""Rows of the log as distributions, and which of them a choice of predictor, popularity and family calls for."""

from __future__ import annotations

from pyrorec.models.distributions import Gamma, PopularityDistribution
from pyrorec.models.families import Cloglog, Dirichlet, Family, Multinomial, Poisson
from pyrorec.models.predictors import LogAdditive, Predictor
from pyrorec.models.rows.base import RowDistribution
from pyrorec.models.rows.coupled import CoupledRows
from pyrorec.models.rows.dirichlet import DirichletRows
from pyrorec.models.rows.frailty import FrailtyRows
from pyrorec.models.rows.gamma_cloglog import GammaCloglogRows
from pyrorec.models.rows.gamma_poisson import GammaPoissonRows
from pyrorec.models.rows.given_total import GIVEN_TOTAL
from pyrorec.models.rows.independent import IndependentRows
from pyrorec.models.rows.multinomial import MultinomialRows
from pyrorec.models.rows.product import ProductRows
from pyrorec.models.rows.sparse import SparseRows

INTEGRATED: dict[tuple[type[PopularityDistribution], type[Predictor], type[Family]], type[FrailtyRows]] = {
    (Gamma, LogAdditive, Poisson): GammaPoissonRows,
    (Gamma, LogAdditive, Cloglog): GammaCloglogRows,
}
"""Combinations whose row frailty is integrated out."""

COUPLED: dict[type[Family], type[CoupledRows]] = {Multinomial: MultinomialRows, Dirichlet: DirichletRows}
"""The law of a user's row for families in which its cells are one draw."""

__all__ = [
    "COUPLED",
    "GIVEN_TOTAL",
    "INTEGRATED",
    "CoupledRows",
    "DirichletRows",
    "FrailtyRows",
    "GammaCloglogRows",
    "GammaPoissonRows",
    "IndependentRows",
    "MultinomialRows",
    "ProductRows",
    "RowDistribution",
    "SparseRows",
]
