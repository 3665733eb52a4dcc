"""The level of click probabilities after a fit of binarised counts, matched to the log's own clicks."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import toms748
from torch import Tensor

from pyrorec.inference.intervention import Observe
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.scores import Predictive, Surface, pair_surface
from pyrorec.models.rows import SparseRows

CELLS = 400_000
LARGEST_SHIFT = 5.0
TOLERANCE = 1e-4


@torch.no_grad()
def match_level(posterior: Posterior, rows: SparseRows, missing_weight: float, seed: int) -> Posterior:
    """The posterior with the level at which it expects as many clicks as the log holds.

    For a Poisson fitted to binarised values, which estimates E c by its rate, so that 1 - exp(-rate) falls short (by
    15 % in total on MovieLens). One number, `level_shift`, on the linear predictor solves sum p = sum c over the
    log: the score equation of the intercept. Rankings within a user do not change. In a large log cells are sampled
    over all users and items alike.
    """
    cells = sampled_cells(rows, missing_weight, np.random.default_rng([seed, 3]))
    total, clicks = float(cells.weight.sum()), float((cells.weight * cells.clicks).sum())
    if not 0 < clicks < total:
        return posterior
    shift = matching_shift(pair_surface(posterior, Observe(), cells.user, cells.item), cells.weight.double(), clicks)
    return posterior if shift is None else replace(posterior, level_shift=posterior.level_shift + shift)


def matching_shift(surface: Surface, weight: Tensor, clicks: float) -> float | None:
    """What to add to the cells' linear predictor so that they expect so many clicks in all; None where nothing does."""
    variance = surface.variance

    def excess(shift: float) -> float:
        p = Predictive().score(replace(surface, mean=surface.mean + shift, spread=lambda: variance))
        return float((weight * p.double()).sum()) / clicks - 1

    if excess(-LARGEST_SHIFT) > 0 or excess(LARGEST_SHIFT) < 0:
        return None
    return float(toms748(excess, -LARGEST_SHIFT, LARGEST_SHIFT, xtol=TOLERANCE))


class Cells(NamedTuple):
    """Codes of user and item, clicks per trial, and weight of some cells, (cells,) each."""

    user: Tensor
    item: Tensor
    clicks: Tensor
    weight: Tensor


def sampled_cells(rows: SparseRows, missing_weight: float, rng: np.random.Generator) -> Cells:
    """Stored cells and missing ones, at most `CELLS` of each kind, weighted so that sums stand for the whole log."""
    tried = torch.nonzero(rows.trials > 0).squeeze(1)
    stored = tried[torch.as_tensor(chosen(len(tried), rng))]
    share = len(tried) / max(1, len(stored))
    found = Cells(
        rows.row[stored], rows.column[stored], rows.value[stored] / rows.trials[stored], rows.trials[stored] * share
    )
    if not missing_weight:
        return found
    dense = len(rows) * rows.columns
    flat = torch.as_tensor(chosen(dense, rng) if dense <= CELLS else rng.integers(dense, size=CELLS))
    missing = flat[~torch.isin(flat, rows.flat)]
    weight = torch.full((len(missing),), missing_weight * dense / len(flat))
    absent = Cells(missing // rows.columns, missing % rows.columns, torch.zeros(len(missing)), weight)
    return Cells(*(torch.cat(pair) for pair in zip(found, absent, strict=True)))


def chosen(size: int, rng: np.random.Generator) -> np.ndarray:
    """At most `CELLS` of the numbers below `size`, without replacement."""
    return np.arange(size) if size <= CELLS else np.sort(rng.choice(size, CELLS, replace=False))
