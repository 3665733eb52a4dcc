"""Logistic baselines on Coat: trained on self-selected ratings, judged on random ones; a click is a 4 or a 5."""

from __future__ import annotations

from pathlib import Path

import pytest

import pyrorec as pr
from pyrorec.baselines import IpsMF, LogisticMF, MixedLogistic, Train
from pyrorec.evaluation import (
    auc,
    expected_calibration_error,
    log_loss,
    ndcg_within_users,
    shifted_log_loss,
    within_user_auc,
)

REFERENCE = {
    "logistic MF": {"auc": 0.759, "uauc": 0.667, "ndcg@5": 0.479, "ll": 0.427, "ece": 0.084},
    "IPS-MF": {"auc": 0.758, "uauc": 0.664, "ndcg@5": 0.483, "ll": 0.408, "ece": 0.037},
    "mixed logistic": {"auc": 0.760, "uauc": 0.665, "ndcg@5": 0.483, "ll": 0.433, "ece": 0.096},
}


@pytest.mark.parametrize(
    "baseline",
    [LogisticMF(factors=0, folds=3), IpsMF(factors=0, folds=3), MixedLogistic()],
    ids=lambda baseline: baseline.name,
)
def test_reference_figures(baseline: LogisticMF | MixedLogistic, shared: Path) -> None:
    path = shared / "data" / "coat" / "interactions.parquet"
    if not path.exists():
        pytest.skip("needs the Coat log")
    train, test = pr.split_by_exposure(pr.read_interactions(path))
    assert len(test) == 4274
    cells = Train(test, threshold=4.0).clicks
    p = baseline.fit(Train(train, threshold=4.0)).probabilities(cells.user, cells.item)
    outcome = (cells.value, cells.trials)
    found = {
        "auc": auc(p, *outcome),
        "uauc": within_user_auc(cells.user, p, *outcome),
        "ndcg@5": ndcg_within_users(cells.user, p, cells.value, 5),
        "ll": log_loss(p, *outcome),
        "ece": expected_calibration_error(p, *outcome),
    }
    assert found == pytest.approx(REFERENCE[baseline.name], abs=0.0055)
    assert shifted_log_loss(p, *outcome) < 0.405
