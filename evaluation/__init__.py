"""Ranking, calibration, popularity bias and off-policy estimates: arrays in, numbers out."""

from pyrorec.evaluation.calibration import (
    CALIBRATION_METRICS,
    best_intercept_shift,
    brier,
    calibration_metrics,
    expected_calibration_error,
    log_loss,
    reliability_table,
    shifted_log_loss,
)
from pyrorec.evaluation.discrimination import auc, within_user_auc
from pyrorec.evaluation.intervals import Bootstrap, Linearised
from pyrorec.evaluation.off_policy import Estimate, doubly_robust, ips, snips
from pyrorec.evaluation.overlap import Decisions, Limits, NoOverlap, effective_size, overlap
from pyrorec.evaluation.own_rows import ndcg_within_users
from pyrorec.evaluation.popularity_bias import (
    average_long_tail_share,
    average_recommendation_popularity,
    gini,
    item_coverage,
    long_tail,
    popularity_bias_metrics,
    popularity_lift,
)
from pyrorec.evaluation.positives import item_counts, positives
from pyrorec.evaluation.prediction_error import mae, poisson_deviance, rmse
from pyrorec.evaluation.ranking import (
    RANKING_METRICS,
    average_precision,
    evaluable_users,
    hit_matrix,
    hit_rate,
    ndcg,
    per_user_ranking_metrics,
    precision,
    ranking_metrics,
    recall,
    reciprocal_rank,
)
from pyrorec.evaluation.top_k import score_chunks, top_k
from pyrorec.evaluation.uncertainty import errors_by_width

__all__ = [
    "CALIBRATION_METRICS",
    "RANKING_METRICS",
    "Bootstrap",
    "Decisions",
    "Estimate",
    "Limits",
    "Linearised",
    "NoOverlap",
    "auc",
    "average_long_tail_share",
    "average_precision",
    "average_recommendation_popularity",
    "best_intercept_shift",
    "brier",
    "calibration_metrics",
    "doubly_robust",
    "effective_size",
    "errors_by_width",
    "evaluable_users",
    "expected_calibration_error",
    "gini",
    "hit_matrix",
    "hit_rate",
    "ips",
    "item_counts",
    "item_coverage",
    "log_loss",
    "long_tail",
    "mae",
    "ndcg",
    "ndcg_within_users",
    "overlap",
    "per_user_ranking_metrics",
    "poisson_deviance",
    "popularity_bias_metrics",
    "popularity_lift",
    "positives",
    "precision",
    "ranking_metrics",
    "recall",
    "reciprocal_rank",
    "reliability_table",
    "rmse",
    "score_chunks",
    "shifted_log_loss",
    "snips",
    "top_k",
    "within_user_auc",
]
