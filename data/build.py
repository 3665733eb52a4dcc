"""From the records of a source to Interactions: duplicates aggregated, defaults chosen, poor logs refused."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pyrorec.data.checks import shown
from pyrorec.data.duplicates import Apart, Duplicates, Trials, aggregate, choose_rule
from pyrorec.data.entries import Entries, columns_of
from pyrorec.data.errors import InputError
from pyrorec.data.features import FeatureEncoder
from pyrorec.data.interactions import Interactions
from pyrorec.data.kind import Kind, kind_of
from pyrorec.data.missing import Missing, Unobserved, Zero

logger = logging.getLogger("pyrorec")

#: Squares and sums of values up to here stay finite in single precision.
LARGEST_VALUE = 1e15


@dataclass(frozen=True)
class Rules:
    """What the user decides about a log; None leaves it to the values found.

    `to_fit` is False for a test, a random sample or rows to be folded in, from which nothing is learnt: it may hold
    zeros alone, and one user or one item.
    """

    missing: Missing | None = None
    duplicates: Duplicates | None = None
    allow_negative: bool = False
    to_fit: bool = True


def build_interactions(
    records: Entries,
    users: pd.Index,
    items: pd.Index,
    rules: Rules = Rules(),
    *,
    user_features: pd.DataFrame | None = None,
    item_features: pd.DataFrame | None = None,
    source: str = "the log",
) -> Interactions:
    """The log of coded records, one cell per distinct (user, item, exposure).

    `source` names the log in messages. Raises InputError for a log that is empty, negative values that were not
    allowed and, where it is to be fitted, for one user or one item, no positive value, or (in counts) an item nobody
    touched.
    """
    _refuse_empty(records, source)
    if rules.to_fit:
        _refuse_small(users, items, source)
    _refuse_negative(records.value, rules, source)
    _refuse_huge(records.value, source)
    rule = rules.duplicates or suggested_rule(records.value, rules)
    cells = records if isinstance(rule, Apart) else aggregate(rule, records, len(items))
    log = Interactions(
        users=users,
        items=items,
        missing=rules.missing or default_missing(records.value, kind_of(cells.value, cells.trials)),
        user_features=_matching(user_features, users, "user", source),
        item_features=_matching(item_features, items, "item", source),
        aggregation=_sentence(len(records), cells, rule),
        rule=rule,
        **columns_of(cells),
    )
    if rules.to_fit:
        _refuse_untouched(log, source)
    logger.info("%s: %r", source, log)
    if log.aggregation:
        logger.info("%s: %s", source, log.aggregation)
    return log


def suggested_rule(value: np.ndarray, rules: Rules) -> Duplicates:
    """The rule that record values (records,) suggest; ones that are not to be fitted are clicks, zeros or not."""
    clicks = not rules.to_fit and bool(np.isin(value, (0.0, 1.0)).all())
    return Trials() if clicks else choose_rule(value)


def default_missing(value: np.ndarray, kind: Kind) -> Missing:
    """Unobserved where the log holds ratings or its record values (records,) have a zero, else Zero."""
    explicit_zero = bool(np.any(value == 0.0))
    return Unobserved() if explicit_zero or kind is Kind.RATINGS else Zero()


def _sentence(n_records: int, cells: Entries, rule: Duplicates) -> str:
    repeated = n_records - len(cells)
    if repeated == 0:
        return ""
    key = "(user, item)" if cells.exposure is None else "(user, item, exposure)"
    return (
        f"{repeated:,} of {n_records:,} records repeat an earlier {key}; the records of each were "
        f"{rule.phrase}, which leaves {len(cells):,} cells."
    )


def _refuse_empty(records: Entries, source: str) -> None:
    if len(records) == 0:
        raise InputError(f"{source}: the log holds no record; give one row per interaction.")


def _refuse_small(users: pd.Index, items: pd.Index, source: str) -> None:
    for name, ids in (("user", users), ("item", items)):
        if len(ids) < 2:
            raise InputError(f"{source}: all records have {name} {shown(ids[0])}; a model needs at least two {name}s.")


def _refuse_negative(value: np.ndarray, rules: Rules, source: str) -> None:
    negative = value < 0.0
    if rules.allow_negative or not negative.any():
        return
    row = int(np.argmax(negative))
    raise InputError(
        f"{source}: negative value {value[row]:g} in row {row + 1}, and counts cannot be negative; "
        "drop returns and cancellations, or use the family gaussian (allow_negative=True) for ratings."
    )


def _refuse_huge(value: np.ndarray, source: str) -> None:
    huge = np.abs(value) > LARGEST_VALUE
    if huge.any():
        row = int(np.argmax(huge))
        raise InputError(
            f"{source}: value {value[row]:g} in row {row + 1} is beyond {LARGEST_VALUE:g}, where models lose their "
            "precision; check the value column, or give it in a larger unit."
        )


def _refuse_untouched(log: Interactions, source: str) -> None:
    if log.kind is Kind.RATINGS:
        return
    if not np.any(log.value > 0.0):
        raise InputError(f"{source}: all values are zero, so there is nothing to learn; check the value column.")
    if log.kind is Kind.COUNTS and not np.all(log.item_totals > 0.0):
        item = log.items[int(np.argmin(log.item_totals))]
        raise InputError(f"{source}: item {shown(item)} has only zero counts, nobody touched it; drop the item.")


def _matching(features: pd.DataFrame | None, ids: pd.Index, name: str, source: str) -> pd.DataFrame | None:
    if features is None:
        return None
    FeatureEncoder.fit(features)  # refuses what could not be encoded later
    if not features.index.isin(ids).any():
        raise InputError(
            f"{source}: no {name} of the log occurs in the {name} features (the log has {shown(ids[0])}, "
            f"the features {', '.join(map(shown, features.index[:1])) or 'none'}); use ids of the same type."
        )
    return features
