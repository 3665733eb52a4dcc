"""From a log to the records of the popularity model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrorec.data import Apart, InputError, Interactions
from pyrorec.models.popularity import PopularityModel, RecordBatch
from pyrorec.models.sharing import PerInteraction, PerItem, PerPeriod, Sharing

COLUMNS = ("user", "item", "group", "value", "trials", "weight")
"""What stands once for each record."""
LARGEST_WEIGHT = 20.0
"""Beyond this many times their mean, inverse propensities are cut: a little bias against a lot of variance."""


@dataclass(frozen=True)
class Records:
    """Records as columns, (records,) each: codes, the group whose popularity they share, value, trials, weight.

    `groups` is the number of groups, `item_of_group` (groups,) the item of each.
    """

    user: Tensor
    item: Tensor
    group: Tensor
    value: Tensor
    trials: Tensor
    weight: Tensor
    groups: int
    item_of_group: Tensor

    def __len__(self) -> int:
        return len(self.user)

    def to(self, device: str) -> Records:
        """The same records on another device."""
        return self._each(lambda column: column.to(device), (*COLUMNS, "item_of_group"))

    def take(self, ids: Tensor) -> Records:
        """Some of the records, groups as they are."""
        return self._each(lambda column: column[ids], COLUMNS)

    def _each(self, change: Callable[[Tensor], Tensor], columns: tuple[str, ...]) -> Records:
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in columns}
        return replace(self, **changed)

    def joined(self, other: Records) -> Records:
        """These records and others of the same groups."""
        both: dict[str, Any] = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in COLUMNS}
        return replace(self, **both)

    def batch(self, ids: Tensor, kl_weight: float, own_groups: bool) -> RecordBatch:
        """A batch of records, with all groups, or with only its own where every record is a group."""
        part = self.take(ids)
        every = torch.arange(self.groups, device=ids.device)
        own = torch.arange(len(ids), device=ids.device)
        group, groups, total = (own, part.group, len(self)) if own_groups else (part.group, every, self.groups)
        return RecordBatch(
            ids=ids, size=len(self), user=part.user, item=part.item, group=group, groups=groups,
            all_groups=total, value=part.value,
            trials=part.trials, weight=part.weight, kl_weight=kl_weight,
        )  # fmt: skip


def records_of(log: Interactions, spec: PopularityModel) -> Records:
    """Every cell of a log as a record.

    Where the model weights by inverse propensity, weights average one over trials, so that the likelihood keeps its
    weight against the priors. Raises InputError where the log has no propensities.
    """
    seen = log.binarised() if spec.binarise else log
    group, groups, item_of_group = grouped(log, spec.sharing)
    weight = inverse_propensities(replace(log, trials=seen.trials)) if spec.inverse_propensity else np.ones(len(log))
    return Records(
        user=torch.tensor(log.user),
        item=torch.tensor(log.item),
        group=torch.tensor(group),
        value=torch.tensor(seen.value, dtype=torch.float32),
        trials=torch.tensor(seen.trials, dtype=torch.float32),
        weight=torch.tensor(weight, dtype=torch.float32),
        groups=groups,
        item_of_group=torch.tensor(item_of_group),
    )


def inverse_propensities(log: Interactions) -> np.ndarray:
    """Weights in proportion to 1 / propensity, at most `LARGEST_WEIGHT` times their mean, of mean one over trials.

    Raises InputError for a log without propensities.
    """
    if log.propensity is None:
        raise InputError("Inverse-propensity weights need a propensity column; give one, or leave the weighting out.")
    weight = 1.0 / log.propensity
    weight = np.minimum(weight, LARGEST_WEIGHT * np.average(weight, weights=log.trials))
    scaled: np.ndarray = weight / np.average(weight, weights=log.trials)
    return scaled


def grouped(log: Interactions, sharing: Sharing) -> tuple[np.ndarray, int, np.ndarray]:
    """Group of each record, number of groups, and item of each group. Raises InputError without timestamps."""
    if isinstance(sharing, PerItem):
        return log.item, log.n_items, np.arange(log.n_items)
    if log.timestamp is not None or isinstance(sharing, PerInteraction):
        refuse_merged(log, f"Popularity per {sharing.name}")
    if isinstance(sharing, PerInteraction):
        return np.arange(len(log)), len(log), log.item
    assert isinstance(sharing, PerPeriod)
    period = periods(log, sharing.periods)
    return (
        log.item * sharing.periods + period,
        log.n_items * sharing.periods,
        np.repeat(np.arange(log.n_items), sharing.periods),
    )


def refuse_merged(log: Interactions, what: str) -> None:
    """Refuses a log whose repeated records were merged, for what needs each with its own time."""
    if log.aggregation and not isinstance(log.rule, Apart):
        raise InputError(
            f"{what} needs every record with its own time, and repeated records of a pair were {log.rule.phrase}: "
            "keep them apart (--repeats apart, or duplicates=Apart() in read_interactions)."
        )


def periods(log: Interactions, number: int) -> np.ndarray:
    """The period of each cell, 0 to number - 1, of equal length between the first and the last timestamp."""
    if log.timestamp is None:
        raise InputError("Popularity per period needs a timestamp column; give one, or share popularity per item.")
    time = log.timestamp.astype(np.float64)
    span = max(float(time.max() - time.min()), 1e-12)
    return np.minimum(((time - time.min()) / span * number).astype(np.int64), number - 1)


def negatives_wanted(log: Interactions, records: int, ratio: float) -> int:
    """How many absent pairs to draw for so many records: `ratio` each, or all there are."""
    absent = log.n_users * log.n_items - len(np.unique(log.user * log.n_items + log.item))
    return min(math.ceil(ratio * records), absent)


def drawn_negatives(log: Interactions, records: Records, ratio: float, weight: float, seed: list[int]) -> Records:
    """Pairs absent from a log, drawn uniformly, as zeros that together weigh as all absent pairs do.

    `ratio` are drawn for each record; `weight` is what one absent cell weighs. Drawing uniformly and weighting by the
    inverse of the probability of being drawn keeps the likelihood unbiased (maths 2.6, 6.6). Popularity has to be per
    item.
    """
    rng = np.random.default_rng(seed)
    cells = log.n_users * log.n_items
    stored = np.unique(log.user * log.n_items + log.item)  # a pair may have a cell for each exposure
    wanted = negatives_wanted(log, len(records), ratio)
    flat = rng.integers(cells, size=int(wanted / max(1 - len(stored) / cells, 1e-3) * 1.1) + 16)
    place = np.searchsorted(stored, flat).clip(max=len(stored) - 1)
    flat = flat[stored[place] != flat][:wanted]
    item = torch.as_tensor(flat % log.n_items)
    zeros = torch.zeros(len(flat))
    each = weight * (cells - len(stored)) / max(len(flat), 1)
    return replace(
        records,
        user=torch.as_tensor(flat // log.n_items), item=item, group=item, value=zeros,
        trials=torch.ones(len(flat)), weight=torch.full((len(flat),), each),
    )  # fmt: skip
