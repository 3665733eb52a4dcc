"""The level of click probabilities after a fit of binarised counts, matched to the log's own clicks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import brentq

from pyrorec.inference.intervention import Observe
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.scores import Predictive, surface
from pyrorec.models.rows import SparseRows

CELLS = 400_000
LARGEST_SHIFT = 5.0


@torch.no_grad()
def match_level(posterior: Posterior, rows: SparseRows, missing_weight: float, seed: int) -> Posterior:
    """The posterior with the level at which it expects as many clicks as the log holds.

    For a Poisson fitted to binarised values, which estimates E c by its rate, so that 1 - exp(-rate) falls short (by
    15 % in total on MovieLens). One number, `level_shift`, on the linear predictor solves sum p = sum c over
    the rows of a sample of users: the score equation of the intercept. Rankings within a user do not change.
    """
    most = max(1, CELLS // rows.columns)
    users = np.sort(np.random.default_rng([seed, 3]).permutation(len(rows))[:most])
    sample = rows.take(torch.as_tensor(users))
    weight = torch.full(tuple(sample.shape), float(missing_weight))
    weight.view(-1)[sample.flat] = sample.trials
    clicks = float(sample.value.sum())
    if not 0 < clicks < float(weight.sum()):
        return posterior
    cells = surface(posterior, Observe(), torch.as_tensor(users))

    def excess(shift: float) -> float:
        p = Predictive().score(replace(cells, mean=cells.mean + shift))
        return float((weight * p).double().sum()) - clicks

    if excess(-LARGEST_SHIFT) > 0 or excess(LARGEST_SHIFT) < 0:
        return posterior
    shift = float(brentq(excess, -LARGEST_SHIFT, LARGEST_SHIFT, xtol=1e-4))
    return replace(posterior, level_shift=posterior.level_shift + shift)
