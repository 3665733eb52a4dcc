"""Records from (users, items) matrices, dense or sparse."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from pyrorec.data.entries import Entries
from pyrorec.data.errors import InputError


def entries_of_array(array: np.ndarray) -> Entries:
    """Records of a dense (users, items) array in row order.

    Where the array has NaN, NaN are the missing cells and zeros are explicit; else zeros are the missing
    cells. Raises InputError for other than two dimensions of real numbers, infinite values, and empty rows or
    columns.
    """
    name = "the array"
    if array.ndim != 2:
        raise InputError(f"{name}: has {array.ndim} dimensions; give a matrix of shape (users, items).")
    _refuse_unreal(array.dtype, name)
    absent = np.isnan(array)
    user, item = np.nonzero(~absent if absent.any() else array)
    return _entries(user, item, array[user, item], array.shape, name)


def entries_of_sparse(matrix: sparse.sparray) -> Entries:
    """Records of a sparse (users, items) matrix in stored order: its stored entries, explicit zeros included.

    An entry stored twice counts as two records. Raises InputError as `entries_of_array`, and for NaN.
    """
    name = "the sparse matrix"
    if matrix.ndim != 2:
        raise InputError(f"{name}: has {matrix.ndim} dimensions; give a matrix of shape (users, items).")
    _refuse_unreal(matrix.dtype, name)
    stored = matrix.tocoo()
    return _entries(stored.row, stored.col, stored.data, matrix.shape, name)


def _refuse_unreal(dtype: np.dtype, name: str) -> None:
    if dtype.kind not in "biuf":
        raise InputError(f"{name}: holds {dtype}; give real numbers.")


def _entries(user: np.ndarray, item: np.ndarray, value: np.ndarray, shape: tuple[int, ...], name: str) -> Entries:
    value = value.astype(np.float64)
    if not np.isfinite(value).all():
        where = int(np.argmin(np.isfinite(value)))
        raise InputError(f"{name}: {value[where]} in row {user[where]}, column {item[where]}; give finite numbers.")
    _refuse_empty(user, shape[0], f"{name}: row", "that user touched nothing")
    _refuse_empty(item, shape[1], f"{name}: column", "nobody touched that item")
    trials = np.broadcast_to(np.float64(1.0), value.shape)
    return Entries(user=user.astype(np.int64), item=item.astype(np.int64), value=value, trials=trials)


def _refuse_empty(codes: np.ndarray, size: int, axis: str, meaning: str) -> None:
    count = np.bincount(codes, minlength=size)
    if not count.all():
        raise InputError(f"{axis} {int(np.argmin(count))} holds no interaction: {meaning}; drop it.")
