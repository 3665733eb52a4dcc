"""EASE: the linear item-item model with zero diagonal, in closed form (Steck, 2019, arXiv:1905.03375)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.linalg import get_lapack_funcs
from scipy.sparse import csr_matrix

from pyrorec.baselines.base import Baseline, ItemScores, Scorer, Unfit, Users
from pyrorec.baselines.train import Train

DOUBLE_PRECISION_UP_TO = 10_000
BLOCK = 1024


class TooManyItems(Unfit):
    """More items than the dense item-item matrix is allowed; the message is the line to print instead."""


@dataclass(frozen=True)
class EaseScorer(Scorer):
    """The m `items` with a positive, the users' `profiles` (users, m) of ones on them, `weights` (m, m)."""

    profiles: csr_matrix
    items: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    n_items: int

    def scores(self, users: Users) -> ItemScores:
        scores = np.zeros((len(users), self.n_items), dtype=np.float32)
        scores[:, self.items] = self.profiles[users] @ self.weights
        return scores


@dataclass(frozen=True)
class Ease(Baseline):
    """x_u B with B = I - P diag(1 / diag P), P = (X'X + penalty I)^-1, which solves

    min ||X - X B||^2 + penalty ||B||^2 subject to diag B = 0, for binary X.

    Items without a positive have zero weights and are left out of the inversion; they score 0, which is not
    a low score, so leave them out of the ranking. The inversion runs in place in one m x m matrix for m
    items, in double precision up to 10,000 items (at most .8 GB) and in single precision above (1.6 GB for
    20,000); the weights are kept in single precision. `fit` raises TooManyItems above `max_items` items with
    a positive.
    """

    name: ClassVar[str] = "EASE"

    penalty: float = 400.0
    max_items: int = 20_000

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise ValueError(f"The penalty of EASE is {self.penalty}; it must be positive (400 is a good start).")

    def fit(self, train: Train) -> EaseScorer:
        cells = train.positives
        items = np.unique(cells.indices).astype(np.int64)
        if len(items) > self.max_items:
            raise TooManyItems(
                f"EASE skipped: {len(items):,} items, and its dense item-item matrix "
                f"is inverted for {self.max_items:,} at most."
            )
        profiles = cells[:, items]
        return EaseScorer(profiles, items, _weights(_gram(profiles), self.penalty), cells.shape[1])


def _gram(cells: csr_matrix) -> npt.NDArray[np.floating]:
    """Return X'X dense, a block of rows at a time because its sparse form would be larger than the result."""
    m = cells.shape[1]
    gram = np.empty((m, m), dtype=np.float64 if m <= DOUBLE_PRECISION_UP_TO else np.float32)
    by_item = cells.T.tocsr()
    for start in range(0, m, BLOCK):
        gram[start : start + BLOCK] = (by_item[start : start + BLOCK] @ cells).toarray()
    return gram


def _weights(gram: npt.NDArray[np.floating], penalty: float) -> npt.NDArray[np.float32]:
    """Return the zero-diagonal weights; `gram` is overwritten."""
    gram[np.diag_indices_from(gram)] += penalty
    inverse = _invert_in_place(gram)
    # Dividing column j by -P_jj leaves -1 on the diagonal of B - I, hence 0 on that of B.
    inverse /= -inverse.diagonal().copy()
    np.fill_diagonal(inverse, 0)
    return inverse.astype(np.float32, copy=False)


def _invert_in_place(matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Invert a symmetric positive definite matrix through its Cholesky factor, in the memory it stands in."""
    if not len(matrix):
        return matrix
    factorise, invert = get_lapack_funcs(("potrf", "potri"), (matrix,))
    # LAPACK works on columns: the transposed view of a symmetric matrix spares the copy.
    factor, failed = factorise(matrix.T, lower=True, overwrite_a=True, clean=False)
    if failed:
        raise np.linalg.LinAlgError("EASE: X'X + penalty I is not positive definite; raise the penalty.")
    inverse, _ = invert(factor, lower=True, overwrite_c=True)
    return _mirror_lower(inverse)


def _mirror_lower(matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Copy the lower triangle over the upper one, block by block, in place."""
    for start in range(0, len(matrix), BLOCK):
        stop = start + BLOCK
        corner = np.tril(matrix[start:stop, start:stop])
        matrix[start:stop, start:stop] = corner + np.tril(corner, -1).T
        matrix[start:stop, stop:] = matrix[stop:, start:stop].T
    return matrix
