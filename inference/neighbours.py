"""Which items are alike, and which users, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import singledispatch
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyrorec.data import InputError
from pyrorec.data.checks import shown
from pyrorec.data.matching import written_as
from pyrorec.inference.posterior import Posterior, drawn_normal
from pyrorec.inference.run import Run
from pyrorec.models.joint import JointModel
from pyrorec.models.popularity import PopularityModel

DRAWS = 64
LEVEL = 0.9
"""Probability of the interval between `lower` and `upper`."""
CHUNK_CELLS = 4_000_000
COLUMNS = ["id", "neighbour", "rank", "similarity", "sd", "lower", "upper"]


def neighbours(
    run: Run, side: str = "item", ids: Iterable[Any] | None = None, k: int = 10, draws: int = DRAWS, seed: int = 0
) -> pd.DataFrame:
    """The k most similar rows of a side, "item" or "user", for each of `ids` (all, if left out), most similar first.

    Columns id, neighbour, rank, similarity, sd, lower, upper. Similarity is the cosine of two rows' factors, from -1
    to 1: its posterior mean over `draws` joint draws of all factors, its standard deviation, and the ends of an
    equal-tailed 90 % interval. Popularity and activity are no part of it. Rows of which little is known have draws that
    point everywhere, so their similarities are near zero and wide: an uncertain neighbour does not come first by luck.
    Under MAP there is no spread. The same seed gives the same table. At most four million similarities stand in memory
    at once. Raises InputError for unknown ids, k below one, and a model without factors.
    """
    if k < 1:
        raise InputError(f"k is {k}; ask for at least one neighbour.")
    if draws < 1:
        raise InputError(f"draws is {draws}; take at least one.")
    known = ids_of(run.posterior, side)
    codes = np.arange(len(known)) if ids is None else codes_of(known, ids, side)
    directions = drawn_directions(run, side, draws, seed)
    parts = [described(directions, some, k) for some in chunks(codes, len(known))]
    table = pd.concat(parts, ignore_index=True)
    for column in ("id", "neighbour"):
        table[column] = known.take(table[column])
    return table


def ids_of(posterior: Posterior, side: str) -> pd.Index:
    """The ids of a side. Raises InputError for what is none."""
    sides = {"item": posterior.items, "user": posterior.users}
    if side not in sides:
        raise InputError(f"There is no side '{side}'; there are item and user.")
    return sides[side]


def codes_of(known: pd.Index, ids: Iterable[Any], side: str) -> np.ndarray:
    """Codes of some ids, each once. Raises InputError for an id that the run does not know, and for none."""
    if isinstance(ids, str):
        raise InputError(f"Give the {side}s as a list: [{ids!r}], not {ids!r}.")
    asked = pd.Index(list(ids))
    if not len(asked):
        raise InputError(f"The list of {side}s is empty; leave it out to take all of them.")
    codes = known.get_indexer(written_as(known, asked.unique()))
    if (codes < 0).any():
        unknown = asked.unique()[int(np.argmax(codes < 0))]
        raise InputError(f"The run knows no {side} {shown(unknown)}; fold it in first (pyrorec fold-in).")
    return np.asarray(codes, dtype=np.int64)


def chunks(codes: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    """Codes in groups, so that similarities of a group with all rows fit in memory."""
    yield from np.array_split(codes, max(1, -(-len(codes) * rows // CHUNK_CELLS)))


@torch.no_grad()
def drawn_directions(run: Run, side: str, draws: int, seed: int) -> Tensor:
    """Factors of every row at each draw, scaled to length one, (rows, draws, K).

    Drawn row by row, so that rows appended to a run leave the draws of the others as they were.
    """
    posterior = run.posterior
    mean, sd = (getattr(posterior, f"{side}_{moment}") for moment in ("mean", "sd"))
    width = mean.shape[1] - offsets(run.spec)
    if not width or not bool((mean[:, :width] != 0).any()):
        raise InputError("This model has no factors in which rows could be alike: fit one with factors.")
    mean, sd = (moment[:, None, :width].expand(-1, draws, -1) for moment in (mean, sd))
    drawn = drawn_normal(mean, sd, np.random.default_rng([seed, {"user": 0, "item": 1}[side]]))
    return drawn / drawn.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(drawn.dtype).tiny)


@singledispatch
def offsets(spec: Any) -> int:
    """How many of the last columns of a posterior's factors carry offsets and no taste."""
    return 0


@offsets.register
def _(spec: PopularityModel | JointModel) -> int:
    return 2


@torch.no_grad()
def described(directions: Tensor, codes: np.ndarray, k: int) -> pd.DataFrame:
    """The neighbours of some rows by code.

    The mean cosine over draws is one dot product, of all draws side by side; draws are looked at apart for those that
    are kept only.
    """
    mine, flat = directions[torch.as_tensor(codes)], directions.flatten(1)
    mean = mine.flatten(1) @ flat.T / directions.shape[1]
    mean[torch.arange(len(codes)), torch.as_tensor(codes)] = -torch.inf
    kept = min(k, len(flat) - 1)
    similarity, place = (part.numpy() for part in mean.topk(kept, dim=1))
    cosine = torch.stack([(mine * directions[torch.as_tensor(column)]).sum(-1) for column in place.T.copy()], 1)
    ends = np.quantile(cosine.double().numpy(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=-1)
    columns = (
        np.repeat(codes, kept), place.ravel(), np.tile(np.arange(kept) + 1, len(codes)),
        similarity.astype(np.float64).ravel(), cosine.double().std(-1, correction=0).numpy().ravel(),
        ends[0].ravel(), ends[1].ravel(),
    )  # fmt: skip
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
