"""Expected log-likelihood of rows under a normal linear predictor: the other side integrated out (maths 6.4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrorec.models.families import Family
from pyrorec.models.mass import ExpMass, Mass, SquareMass
from pyrorec.models.predictors import UnfitPair
from pyrorec.models.rows.decode import decode_dense, with_offsets
from pyrorec.models.rows.predictor_moments import Moments, PredictorMoments
from pyrorec.models.rows.sparse import SparseRows


class NormalPredictor(PredictorMoments):
    """eta of every cell, normal given its row."""

    @classmethod
    def of(cls, factors: Tensor, loadings: Moments, row: Tensor, column: Moments | None) -> NormalPredictor:
        """Of drawn factors (rows, K), normal loadings (columns, K), an offset per row and a normal one per column."""
        mean, variance = loadings
        column_mean, column_variance = column or (None, None)
        left, right = with_offsets(factors, mean, row, column_mean)
        left_square, right_variance = with_offsets(factors.square(), variance, None, column_variance)
        return cls(left, right, left_square, right_variance)

    def missing_mass(self, mass: type[Mass], rows: SparseRows) -> Tensor:
        """Sum of E u(eta) over the columns not stored in each row, (rows,). Raises UnfitPair where u has no formula."""
        if mass not in EXPECTED_MASS:
            raise UnfitPair(
                "the other side cannot be integrated out of missing cells that count as zeros under this family: take "
                "objective analytic (or jaakkola-jordan for clicks under a logit), family poisson or gaussian, or "
                "missing unobserved"
            )
        return EXPECTED_MASS[mass](self, rows)


def exponential(eta: NormalPredictor, rows: SparseRows) -> Tensor:
    """Sum of exp(m + v / 2): one product, of factors and loadings twice as wide."""
    left = torch.cat([eta.left, 0.5 * eta.left_square], -1)
    right = torch.cat([eta.right, eta.right_variance], -1)
    return decode_dense(left, right, rows, ExpMass)[0]


def square(eta: NormalPredictor, rows: SparseRows) -> Tensor:
    """Sum of m^2 + v; the variances are summed over all columns and lose those of the stored ones."""
    means = decode_dense(eta.left, eta.right, rows, SquareMass)[0]
    _, variance = eta.stored(rows)
    return means + eta.left_square @ eta.right_variance.sum(0) - rows.sum_by_row(variance)


EXPECTED_MASS: dict[type[Mass], Callable[[NormalPredictor, SparseRows], Tensor]] = {
    ExpMass: exponential,
    SquareMass: square,
}


def expected_log_prob(family: Family, missing_weight: float, eta: NormalPredictor, rows: SparseRows) -> Tensor:
    """E log p(row) over the other side given the row's own factors, (rows,); cells are independent given both."""
    mean, variance = eta.stored(rows)
    stored = rows.sum_by_row(family.expected_log_prob(rows.value, rows.trials, mean, variance))
    if not missing_weight:
        return stored
    mass = eta.missing_mass(family.mass, rows)
    cells = (rows.columns - rows.start.diff()).to(mass.dtype)
    return stored + missing_weight * family.zeros(mass, cells)
