"""Two logs as one: later cells take the place of earlier ones, and new ids stand behind the known ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from pyrorec.data.duplicates import Apart, choose_rule
from pyrorec.data.entries import columns_of
from pyrorec.data.interactions import Interactions
from pyrorec.data.matching import written_as


def merged(log: Interactions, new: Interactions) -> Interactions:
    """`log` with the cells of `new` put in, one cell per (user, item).

    Where both have a pair the new cell stands, so a cell holds a total and no increment. Ids with a cell in `new`
    that `log` does not know are appended in the order of `new`, written as `log` writes its own. What a missing
    cell means and the rule for repeated records stay those of `log`. Times and propensities are kept where both
    logs have them; cells that differ in exposure only, or were kept apart, are pooled. Feature tables gain the rows
    of ids that they lack; rows that they have stay.
    """
    old, new = log.pooled(), new.pooled()
    users = appended(log.users, new.users[new.user_counts > 0])
    items = appended(log.items, new.items[new.item_counts > 0])
    user, item = new.recode(users, items)
    replaced = np.isin(old.user * len(items) + old.item, user * len(items) + item)
    kept, fresh = columns_of(old.select(~replaced)), columns_of(new) | {"user": user, "item": item}
    columns: dict[str, Any] = {name: None for name in kept}
    columns |= {name: np.concatenate([kept[name], fresh[name]]) for name in kept if name in fresh}
    rule = choose_rule(log.value) if isinstance(log.rule, Apart) else log.rule  # the one that has pooled the cells
    return replace(
        old, users=users, items=items, **columns, rule=rule,
        user_features=more_features(log.user_features, new.user_features),
        item_features=more_features(log.item_features, new.item_features),
    )  # fmt: skip


def appended(known: pd.Index, ids: pd.Index) -> pd.Index:
    """The known ids with those of `ids` behind them that are not among them."""
    written = written_as(known, ids)
    unknown = written[known.get_indexer(written) < 0].unique()
    return known.append(unknown) if len(unknown) else known


def more_features(table: pd.DataFrame | None, new: pd.DataFrame | None) -> pd.DataFrame | None:
    """The table with rows of `new` for ids that it lacks, in its own columns and written as it writes them."""
    if table is None or new is None:
        return table
    written = new.set_axis(written_as(table.index, new.index), axis=0)
    lacking = written.loc[~written.index.isin(table.index)].reindex(columns=table.columns)
    if not len(lacking):
        return table
    lacking = lacking.apply(lambda column: entries_as(table[column.name], column))
    return pd.concat([table, lacking]).rename_axis(table.index.name)


def entries_as(known: pd.Series, new: pd.Series) -> pd.Series:
    """A column as `known` writes it: codes that a file of few rows has for numbers are text where others are.

    Dates are in the time zone of the known ones, none for none.
    """
    if types.is_datetime64_any_dtype(known):
        dates = pd.to_datetime(new, utc=True).dt.tz_convert(known.dt.tz)
        return dates.astype(known.dtype)
    there = new.dropna()
    ids = pd.Index(there)
    written = written_as(pd.Index(known.dropna()), ids)
    return new if written is ids else pd.Series(written, index=there.index).infer_objects().reindex(new.index)
