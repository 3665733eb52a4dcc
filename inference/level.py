"""The level of click probabilities after a fit of binarised counts, matched to the log's own clicks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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
LARGEST_SHIFT = 8.0
TOLERANCE = 1e-5


@torch.no_grad()
def match_level(posterior: Posterior, rows: SparseRows, missing_weight: float, seed: int) -> Posterior:
    """The posterior with the level at which it expects as many clicks as the log holds.

    For a Poisson fitted to binarised values, which estimates E c by its rate, so that 1 - exp(-rate) falls short (by
    15 % in total on MovieLens). One number, `level_shift`, on the linear predictor solves sum p = sum c over the
    log: the score equation of the intercept. Rankings within a user change only where
    popularity is unequally known. In a large log cells are sampled
    over all users and items alike.
    """
    cells = sampled_cells(rows, missing_weight, np.random.default_rng([seed, 3]))
    total, clicks = float(cells.weight.sum()), float((cells.weight * cells.clicks).sum())
    if not 0 < clicks < total:
        return posterior
    surface = pair_surface(posterior, Observe(), cells.user, cells.item)
    found = most_probable_shift(surface, cells.weight * cells.clicks, cells.weight, ShiftPrior())
    return posterior if found is None else replace(posterior, level_shift=posterior.level_shift + found[0])


@dataclass(frozen=True)
class ShiftPrior:
    """What is believed of a shift of the linear predictor before any label is seen: N(mean, sd); flat by default."""

    mean: float = 0.0
    sd: float = math.inf


@torch.no_grad()
def most_probable_shift(
    surface: Surface, value: Tensor, trials: Tensor, prior: ShiftPrior
) -> tuple[float, float] | None:
    """Mode and sd of a shift given clicks `value` in `trials` of some cells, where clicks less those expected balance
    the prior's pull; None where no shift within `LARGEST_SHIFT` does."""
    variance, value, trials = surface.variance, value.double(), trials.double()

    def expected(shift: float) -> Tensor:
        moved = replace(surface, mean=surface.mean + shift, spread=lambda: variance)
        return Predictive().score(moved).double()

    def slope(shift: float) -> float:
        return float((value - trials * expected(shift)).sum()) - (shift - prior.mean) / prior.sd**2

    if slope(-LARGEST_SHIFT) < 0 or slope(LARGEST_SHIFT) > 0:
        return None
    shift = float(toms748(slope, -LARGEST_SHIFT, LARGEST_SHIFT, xtol=TOLERANCE))
    p = expected(shift)
    return shift, float(((trials * p * (1 - p)).sum() + 1 / prior.sd**2) ** -0.5)


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
