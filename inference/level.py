"""The level of click probabilities after a fit of binarised counts, matched to the log's own clicks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyro.distributions as dist
import torch
from scipy.optimize import toms748
from torch import Tensor

from pyrorec.data import InputError
from pyrorec.inference.intervention import Observe, PopularityLaw
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.scores import Predictive, Surface, pair_surface
from pyrorec.models.rows import SparseRows

CELLS = 400_000
LARGEST_SHIFT = 8.0
TOLERANCE = 1e-5
TINY = 1e-12


@torch.no_grad()
def match_level(posterior: Posterior, rows: SparseRows, missing_weight: float, seed: int) -> Posterior:
    """The posterior with the level at which it expects as many clicks as the log holds.

    For a Poisson fitted to binarised values, which estimates E c by its rate, so that 1 - exp(-rate) falls short (by
    15 % in total on MovieLens). One number, `level_shift`, on the linear predictor solves sum p = sum c over the
    log. Rankings within a user change only where popularity is unequally known. In a large log cells are sampled over
    all users and items alike.
    """
    cells = sampled_cells(rows, missing_weight, np.random.default_rng([seed, 3]))
    total, clicks = float(cells.weight.sum()), float((cells.weight * cells.clicks).sum())
    if not 0 < clicks < total:
        return posterior
    surface = one_normal(pair_surface(posterior, Observe(), cells.user, cells.item))
    shift = matching_shift(surface, cells.weight * cells.clicks, cells.weight)
    return posterior if shift is None else replace(posterior, level_shift=posterior.level_shift + shift)


def one_normal(surface: Surface) -> Surface:
    """The surface with popularity's offset taken for a part of one normal linear predictor.

    Exact for lognormal z; for others the mean and the variance of z are kept, and so are expected rates. Averaging a
    law without a closed form at every cell and node would take minutes. A Gamma has one and stays.
    """
    law = surface.law.law
    if law is None or isinstance(law, dist.Gamma | dist.Delta):
        return surface
    mean, variance = surface.linear_moments()
    return replace(surface, law=PopularityLaw(None, uncertain=True), mean=mean, spread=lambda: variance)


@dataclass(frozen=True)
class ShiftPrior:
    """What is believed of a shift of the linear predictor before any label is seen: N(mean, sd); flat by default.

    Raises InputError for a mean that is no number and an sd that is not above zero.
    """

    mean: float = 0.0
    sd: float = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and self.sd > 0):
            raise InputError(
                f"A prior of the shift needs a finite mean and an sd above zero, not {self.mean} and {self.sd}."
            )


def most_probable_shift(
    surface: Surface, value: Tensor, trials: Tensor, prior: ShiftPrior
) -> tuple[float, float] | None:
    """Mode and sd of a shift given clicks `value` in `trials` of some cells; None where no shift within `LARGEST_SHIFT`
    is a mode.

    With p(s) the click probability of a cell after the shift, sum (c - n p) p' / (p (1 - p)) balances the prior's pull,
    and the sd is the root of the inverse of sum n p'^2 / (p (1 - p)) + 1 / prior sd^2, the expected information. For a
    logit without popularity p' = p (1 - p); averaged over popularity, or under another link, it is not.
    """
    value, trials = value.double(), trials.double()

    def pull(shift: float) -> float:
        p, slope = shifted(surface, shift)
        return float(((value - trials * p) * slope / spread_of(p)).sum()) - (shift - prior.mean) / prior.sd**2

    shift = root(pull)
    if shift is None:
        return None
    p, slope = shifted(surface, shift)
    return shift, float(((trials * slope.square() / spread_of(p)).sum() + 1 / prior.sd**2) ** -0.5)


def matching_shift(surface: Surface, value: Tensor, trials: Tensor) -> float | None:
    """The shift at which the cells expect as many clicks as there are; None where none within `LARGEST_SHIFT` does."""
    value, trials = value.double(), trials.double()
    with torch.no_grad():
        return root(lambda shift: float((value - trials * clicked(surface, shift).double()).sum()))


def shifted(surface: Surface, shift: float) -> tuple[Tensor, Tensor]:
    """Click probability of each cell after a shift of its linear predictor, and its derivative; float64 (cells,)."""
    with torch.enable_grad():
        each = torch.full_like(surface.mean, shift).requires_grad_()
        p = clicked(surface, each)
        (slope,) = torch.autograd.grad(p.sum(), each)
    return p.detach().double(), slope.double()


def clicked(surface: Surface, shift: Tensor | float) -> Tensor:
    """Click probability of each cell after a shift of its linear predictor, (cells,)."""
    variance = surface.variance
    return Predictive().score(replace(surface, mean=surface.mean + shift, spread=lambda: variance))


def spread_of(p: Tensor) -> Tensor:
    """p (1 - p), kept above zero where single precision has rounded it off."""
    return (p * (1 - p)).clamp_min(TINY)


def root(falling: Callable[[float], float]) -> float | None:
    """Where a falling function of the shift is zero; None where that is beyond `LARGEST_SHIFT`."""
    if falling(-LARGEST_SHIFT) < 0 or falling(LARGEST_SHIFT) > 0:
        return None
    return float(toms748(falling, -LARGEST_SHIFT, LARGEST_SHIFT, xtol=TOLERANCE))


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
