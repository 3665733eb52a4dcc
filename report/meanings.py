"""What each metric of `evaluate` means, in one line."""

from __future__ import annotations

MEANINGS = {
    "ndcg": "hits in the list, early ones counting more, relative to the best possible list; higher is better",
    "recall": "share of the user's test items that the list holds; higher is better",
    "precision": "share of the list that is among the user's test items; higher is better",
    "map": "mean precision at the ranks of the hits, per test item; higher is better",
    "mrr": "one over the rank of the first hit; higher is better",
    "hit_rate": "share of users with at least one hit; higher is better",
    "arp": "mean number of train users of a recommended item; higher is more popular",
    "aplt": "share of the list outside the most popular fifth of items; higher is less popular",
    "gini": "how unequally items are recommended: 0 all alike, near 1 a few only",
    "item_coverage": "share of all items recommended to anybody; higher is more varied",
    "popularity_lift": "popularity of the list over that of the user's own train items, minus one; 0 keeps their taste",
    "log_loss": "mean surprise of the test outcomes, in nats; lower is better",
    "shifted_log_loss": "log-loss once the base rate is set right; lower is better",
    "brier": "mean squared distance of probability and outcome; lower is better",
    "auc": "chance that a random click is scored above a random non-click; higher is better",
    "within_user_auc": "the same within a user, mean over users; higher is better",
    "expected_calibration_error": "mean distance of probability and click rate over ten groups; lower is better",
    "rmse": "root of the mean squared error, on the scale of the values; lower is better",
    "mae": "mean absolute error, on the scale of the values; lower is better",
    "poisson_deviance": "how far predicted rates are from the counts; lower is better",
}


def meaning(column: object) -> str:
    """The line for a column such as "ndcg@10"; empty for a metric unknown here."""
    name, _, length = str(column).partition("@")
    line = MEANINGS.get(name, "")
    return f"{line} (first {length} places)" if line and length else line
