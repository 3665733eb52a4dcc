"""Batches of rows, reproducible from (seed, epoch) alone."""

from __future__ import annotations

import math

import numpy as np


def epoch_batches(n_rows: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The rows 0..n_rows-1, shuffled, in batches of at most batch_size whose sizes differ by one at most.

    int64 arrays. The order depends on (seed, epoch) only, so a resumed run sees the batches it would have
    seen. Raises ValueError for a size below 1.
    """
    if n_rows < 1 or batch_size < 1:
        raise ValueError(f"Batches need at least one row and size 1, not {n_rows} rows of size {batch_size}.")
    rows = np.random.default_rng([seed, epoch]).permutation(n_rows)
    return np.array_split(rows, math.ceil(n_rows / batch_size))
