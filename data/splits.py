"""Splitting a log into train and test parts that share ids and codes."""

from __future__ import annotations

import math

import numpy as np

from pyrorec.data.entries import EXPOSURES
from pyrorec.data.errors import InputError
from pyrorec.data.interactions import Interactions


def split_random(log: Interactions, test_fraction: float = 0.2, seed: int = 0) -> tuple[Interactions, Interactions]:
    """(train, test) with ceil(test_fraction * cells) test cells drawn at random, both in the log's order.

    The test cells are those that scikit-learn's train_test_split(test_size=test_fraction, random_state=seed)
    draws on the same order of cells. Raises InputError where a part would be empty.
    """
    # The legacy generator, because published splits were drawn by it.
    order = np.random.RandomState(seed).permutation(len(log))
    test = np.zeros(len(log), dtype=bool)
    test[order[: _test_size(log, test_fraction)]] = True
    return _parts(log, test)


def split(log: Interactions, test_fraction: float = 0.2, seed: int = 0) -> tuple[Interactions, Interactions]:
    """(train, test): the randomly exposed part as test where the log marks one, else by time if dated, else at random.

    A random part is the only judge of debiasing, so it goes before the fraction asked for.
    """
    if log.exposure is not None and len(np.unique(log.exposure)) > 1:
        return split_by_exposure(log)
    if log.timestamp is not None:
        return split_by_time(log, test_fraction)
    return split_random(log, test_fraction, seed)


def hold_out(log: Interactions, fraction: float = 0.1, seed: int = 0) -> tuple[Interactions, Interactions]:
    """(train, validation): `split_random` under the name of its second use."""
    return split_random(log, fraction, seed)


def hold_out_users(log: Interactions, fraction: float = 0.1, seed: int = 0) -> tuple[Interactions, Interactions]:
    """(rest, held_out) with every cell of ceil(fraction * users) users drawn at random in the second part.

    Each part knows only the users and items that have a cell in it, so a model trained on the rest has never heard of
    the others. Raises InputError where a part would be empty.
    """
    _refuse_fraction(fraction)
    drawn = np.random.default_rng(seed).permutation(log.n_users)[: math.ceil(fraction * log.n_users)]
    rest, held_out = _parts(log, np.isin(log.user, drawn))
    return rest.compact(), held_out.compact()


def split_by_time(log: Interactions, test_fraction: float = 0.2) -> tuple[Interactions, Interactions]:
    """(train, test) with the latest cells in test: at least test_fraction of them, ties at the cut included.

    The time of a cell is that of its last record, so a pair seen before and after the cut is a test cell.
    Raises InputError without timestamps, and where a part would be empty.
    """
    time = _times(log)
    cut = np.sort(time)[len(log) - _test_size(log, test_fraction)]
    return _parts(log, time >= cut)


def split_leave_last_out(log: Interactions) -> tuple[Interactions, Interactions]:
    """(train, test) with the last cell of each user of two or more in test (ties: the later in the log).

    Raises InputError without timestamps, and where no user has two cells.
    """
    latest = np.full(log.n_users, -1, dtype=np.int64)
    order = np.argsort(_times(log), kind="stable")
    latest[log.user[order]] = order  # of repeated indices NumPy keeps the last assignment
    test = np.zeros(len(log), dtype=bool)
    test[latest[log.user_counts >= 2]] = True
    return _parts(log, test)


def split_by_exposure(log: Interactions, drop_repeated: bool = True) -> tuple[Interactions, Interactions]:
    """(train, test): cells of biased exposure, and cells of random exposure as the unbiased judge.

    With `drop_repeated` a pair that is in both parts is dropped from test, since training has seen it. Raises
    InputError without exposure labels, and where a part would be empty.
    """
    if log.exposure is None:
        raise InputError("The log has no exposure column of 'biased' and 'random'; use split_random instead.")
    at_random = log.exposure == EXPOSURES[1]
    pair = log.user * log.n_items + log.item
    seen = np.isin(pair, pair[~at_random]) if drop_repeated else np.zeros(len(log), dtype=bool)
    return _filled(log.select(~at_random), log.select(at_random & ~seen))


def _refuse_fraction(fraction: float) -> None:
    if not 0.0 < fraction < 1.0:
        raise InputError(f"The test fraction must lie between 0 and 1, but is {fraction}.")


def _test_size(log: Interactions, fraction: float) -> int:
    _refuse_fraction(fraction)
    return math.ceil(fraction * len(log))


def _times(log: Interactions) -> np.ndarray:
    if log.timestamp is None:
        raise InputError("The log has no timestamps to split by; name that column when reading, or split at random.")
    return log.timestamp


def _parts(log: Interactions, test: np.ndarray) -> tuple[Interactions, Interactions]:
    return _filled(log.select(~test), log.select(test))


def _filled(train: Interactions, test: Interactions) -> tuple[Interactions, Interactions]:
    for name, part in (("train", train), ("test", test)):
        if len(part) == 0:
            raise InputError(f"The split leaves no cell in the {name} part; use another fraction or another split.")
    return train, test
