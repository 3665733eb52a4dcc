from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix

from pyrorec.evaluation import score_chunks, top_k

NOTHING_SEEN = csr_matrix((2, 5))
ALL_ALLOWED = np.ones(5, dtype=bool)


def ranked(scores: np.ndarray, k: int, seen: csr_matrix = NOTHING_SEEN, allowed: np.ndarray = ALL_ALLOWED) -> list:
    users = np.arange(len(scores))
    return top_k([(users, scores)], seen, allowed, k)[1].tolist()


def test_orders_by_decreasing_score_and_breaks_ties_by_item_code() -> None:
    scores = np.array([[1, 3, 2, 3, 3], [0, 0, 0, 0, 0]], dtype=np.float32)
    assert ranked(scores, 2) == [[1, 3], [0, 1]]
    assert ranked(scores, 4) == [[1, 3, 4, 2], [0, 1, 2, 3]]


def test_leaves_out_seen_and_forbidden_items_and_pads_short_lists() -> None:
    scores = np.array([[5, 4, 3, 2, 1], [1, 2, 3, 4, 5]], dtype=np.float32)
    # The stored zero of user 0 at item 1 is seen (shown and not clicked).
    seen = csr_matrix(([1.0, 0.0, 1.0], ([0, 0, 1], [0, 1, 4])), shape=(2, 5))
    allowed = np.array([True, True, True, False, True])
    assert ranked(scores, 3, seen, allowed) == [[2, 4, -1], [2, 1, 0]]
    assert ranked(scores, 3, csr_array(seen), allowed) == [[2, 4, -1], [2, 1, 0]]
    assert ranked(scores, 7) == [[0, 1, 2, 3, 4, -1, -1], [4, 3, 2, 1, 0, -1, -1]]


def test_minus_infinity_is_never_recommended_and_input_is_left_alone() -> None:
    scores = np.array([[1, -np.inf, -2, -np.inf, np.inf]])
    before = scores.copy()
    seen = csr_matrix(([1.0], ([0], [0])), shape=(1, 5))
    assert ranked(scores, 3, seen) == [[4, 2, -1]]
    np.testing.assert_array_equal(scores, before)


def test_agrees_with_a_full_sort_whatever_the_chunks() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, (37, 60)).astype(np.float32)
    seen = csr_matrix(rng.random((37, 60)) < 0.3)
    allowed = rng.random(60) < 0.9
    asked = rng.permutation(37)[:30]
    users, lists = top_k(score_chunks(lambda u: scores[u], asked, rows=7), seen, allowed, 8)
    np.testing.assert_array_equal(users, asked)
    for user, items in zip(users, lists, strict=True):
        candidates = [i for i in range(60) if allowed[i] and not seen[user, i]]
        assert items.tolist() == sorted(candidates, key=lambda i: (-scores[user, i], i))[:8]


def test_double_precision_scores_keep_their_order() -> None:
    scores = np.array([[1.0, 1.0 + 1e-12, 0, 0, 0]])
    assert ranked(scores, 2, NOTHING_SEEN[:1]) == [[1, 0]]


def test_no_users_give_no_lists() -> None:
    users, lists = top_k([], NOTHING_SEEN, ALL_ALLOWED, 3)
    assert users.shape == (0,)
    assert lists.shape == (0, 3)


@pytest.mark.parametrize(
    ("scores", "allowed", "k", "message"),
    [
        (np.zeros((2, 5)), ALL_ALLOWED, 0, "at least one"),
        (np.zeros((2, 4)), ALL_ALLOWED, 1, "one column for each of 5 items"),
        (np.zeros((2, 5)), ALL_ALLOWED[:4], 1, "each of the 5 items"),
        (np.array([[0, 0, 0, 0, 0], [0, 0, np.nan, 0, 0]]), ALL_ALLOWED, 1, "user code 1 hold NaN"),
    ],
)
def test_refuses_what_cannot_be_ranked(scores: np.ndarray, allowed: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        top_k([(np.arange(2), scores)], NOTHING_SEEN, allowed, k)
