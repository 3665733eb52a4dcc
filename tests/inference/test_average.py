"""Several scorers as one."""

from __future__ import annotations

import numpy as np

from pyrorec.inference.average import average, standardised
from pyrorec.inference.evaluate import Scorer


def scorer(table: np.ndarray) -> Scorer:
    return Scorer("one", lambda users: table[users], lambda user, item: table[user, item], probability=True)


def test_scores_count_alike_whatever_their_scale() -> None:
    """A user of equal scores says nothing; pairs are read off the same table."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(4, 6)), 1000 + 50 * rng.normal(size=(4, 6))
    one[2] = 3.0
    both = average("both", [scorer(one), scorer(other)])
    wanted = np.array([[(x - x.mean()) / x.std() if x.std() else 0 * x for x in table] for table in (one, other)])
    np.testing.assert_allclose(both.scores(np.arange(4)), wanted.mean(0), atol=1e-12)
    np.testing.assert_allclose(
        both.pairs(np.array([3, 0, 3]), np.array([1, 2, 5])), wanted.mean(0)[[3, 0, 3], [1, 2, 5]]
    )
    assert (both.name, both.probability) == ("both", False)
    assert np.abs(standardised(other).std(1) - 1).max() < 1e-12
