from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from torchmetrics.retrieval import (
    RetrievalHitRate,
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalRecall,
)

from pyrorec.evaluation import (
    evaluable_users,
    hit_matrix,
    per_user_ranking_metrics,
    positives,
    ranking_metrics,
    top_k,
)

# Four places; hits at ranks 1 and 3 of three test items, and at rank 4 of one.
TEST = csr_matrix(([1.0, 1.0, 1.0, 1.0], ([0, 0, 0, 1], [2, 4, 5, 0])), shape=(3, 6))
RANKED = np.array([[2, 0, 4, 1], [3, 2, 1, 0]])
USERS = np.array([0, 1])


def test_metrics_by_hand() -> None:
    metrics = per_user_ranking_metrics(RANKED, USERS, TEST, at=(2, 4))
    log2 = np.log2
    expected = pd.DataFrame(
        {
            "ndcg@2": [1 / (1 + 1 / log2(3)), 0],
            "recall@2": [1 / 3, 0],
            "precision@2": [1 / 2, 0],
            "map@2": [1 / 3, 0],
            "mrr@2": [1, 0],
            "hit_rate@2": [1, 0],
            "ndcg@4": [(1 + 1 / 2) / (1 + 1 / log2(3) + 1 / 2), 1 / log2(5)],
            "recall@4": [2 / 3, 1],
            "precision@4": [2 / 4, 1 / 4],
            "map@4": [(1 + 2 / 3) / 3, 1 / 4],
            "mrr@4": [1, 1 / 4],
            "hit_rate@4": [1, 1],
        },
        index=pd.Index([0, 1], name="user"),
    )
    pd.testing.assert_frame_equal(metrics, expected, check_dtype=False, rtol=1e-12)
    means = ranking_metrics(RANKED, USERS, TEST, at=(2, 4))
    assert means["recall@4"] == pytest.approx(5 / 6)
    assert list(means.index) == list(expected.columns)


def test_unfilled_places_are_no_hits_but_count_in_precision() -> None:
    # Item 5 is the last one: a -1 in the row below must not be read as it.
    test = csr_matrix(([1.0, 1.0], ([0, 1], [5, 1])), shape=(2, 6))
    lists = np.array([[5, -1], [1, -1]])
    np.testing.assert_array_equal(hit_matrix(lists, USERS, test), [[True, False], [True, False]])
    metrics = per_user_ranking_metrics(lists, USERS, test, at=(2,))
    assert metrics["precision@2"].tolist() == [0.5, 0.5]
    assert metrics["ndcg@2"].tolist() == [1, 1]


def test_users_without_test_positives_are_left_out() -> None:
    lists = np.array([[0, 1], [0, 1], [2, 4]])
    metrics = per_user_ranking_metrics(lists, np.array([2, 1, 0]), TEST, at=(2,))
    assert metrics.index.tolist() == [1, 0]
    assert metrics["recall@2"].tolist() == [1, 2 / 3]


def test_stored_zeros_and_repeated_cells_are_judged_once() -> None:
    cells = csr_matrix(([1.0, 1.0, 0.0, 4.0], [0, 0, 1, 2], [0, 3, 4]), shape=(2, 3))
    np.testing.assert_array_equal(positives(cells).toarray(), [[1, 0, 0], [0, 0, 1]])
    assert cells.nnz == 4, "the caller's matrix was changed"
    train = csr_matrix(([1.0, 0.0], ([0, 1], [2, 2])), shape=(2, 3))
    assert evaluable_users(train, cells).tolist() == [0, 1]
    assert evaluable_users(train, train).tolist() == [0]


def test_lengths_beyond_the_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="the lists hold 4 items"):
        ranking_metrics(RANKED, USERS, TEST, at=(5,))


@pytest.mark.parametrize("k", [3, 10, 40])
def test_agrees_with_torchmetrics(k: int) -> None:
    rng = np.random.default_rng(k)
    n_users, n_items = 25, 40
    scores = rng.permutation(n_users * n_items).reshape(n_users, n_items).astype(np.float32)
    test = csr_matrix((rng.random((n_users, n_items)) < 0.15).astype(float))
    users, lists = top_k([(np.arange(n_users), scores)], csr_matrix((n_users, n_items)), np.ones(n_items, bool), k)
    ours = ranking_metrics(lists, users, test, at=(k,))

    preds = torch.from_numpy(scores).flatten()
    target = torch.from_numpy(test.toarray() > 0).flatten()
    indexes = torch.arange(n_users).repeat_interleave(n_items)
    theirs = {
        "ndcg": RetrievalNormalizedDCG,
        "recall": RetrievalRecall,
        "precision": RetrievalPrecision,
        "mrr": RetrievalMRR,
        "hit_rate": RetrievalHitRate,
    }
    # torchmetrics divides the average precision by the hits among the k; the two agree on full lists.
    if k == n_items:
        theirs["map"] = RetrievalMAP
    for name, metric in theirs.items():
        value = metric(top_k=k, empty_target_action="skip")(preds, target, indexes=indexes)
        assert ours[f"{name}@{k}"] == pytest.approx(value.item(), abs=1e-6), name
