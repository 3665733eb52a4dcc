"""Predictive density of whole rows that were not seen: for any family, those that couple a user's cells included."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrorec.data import Interactions
from pyrorec.inference.observations import both_sides, cells
from pyrorec.inference.run import Run
from pyrorec.inference.to_arviz import Drawn, checked_rows


@torch.no_grad()
def row_log_likelihood(run: Run, log: Interactions, draws: int = 200, seed: int = 0) -> Tensor:
    """log E p(row) of each user's cells in `log`, a log in the run's codes, over `draws` of the posterior, (users,).

    Absent cells say nothing here. A row's cells are predicted together, so that what they say of each other counts:
    no sum of cells' densities. The average of draws is biased downwards by half its relative variance.
    """
    value, trials = cells(log, run.spec)
    rows = both_sides(value, trials)["user"]
    latent, ids = run.posterior.draws(draws, seed), torch.arange(len(rows))
    each = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number in range(draws):
            each.append(checked_rows(run.model, Drawn(run.posterior, latent, number, ids), rows, 0.0)[0].double())
    return torch.logsumexp(torch.stack(each), 0) - math.log(draws)
