from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from pyrorec.baselines import Popularity


def test_scores_are_numbers_of_users_not_sums_of_values() -> None:
    # User 0 has item 0 twice, user 1 a stored zero for item 1.
    train = csr_matrix(([1.0, 1.0, 5.0, 0.0, 2.0], [0, 0, 2, 1, 2], [0, 3, 5]), shape=(2, 4))
    scores = Popularity().fit(train).scores(np.array([1, 0, 1]))
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [[1, 0, 2, 0]] * 3)
