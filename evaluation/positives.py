"""The positive cells of a log, the one meaning of "relevant" and "popular" in this room."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix


def positives(matrix: csr_matrix) -> csr_matrix:
    """Return the cells above zero as a canonical CSR of float32 ones, shape unchanged.

    Repeated cells are added first; a stored zero (seen and not clicked) is not a positive.
    """
    cells = csr_matrix(matrix, dtype=np.float64, copy=True)
    cells.sum_duplicates()
    cells.data = (cells.data > 0).astype(np.float32)
    cells.eliminate_zeros()
    return cells


def item_counts(train: csr_matrix) -> npt.NDArray[np.int64]:
    """Return for every item the number of users with a positive train cell, shape (items,)."""
    return np.bincount(positives(train).indices, minlength=train.shape[1]).astype(np.int64)
