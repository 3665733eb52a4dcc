"""Predictive density of held-out cells under a posterior."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pyrorec.data import InputError, Interactions
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.run import Run
from pyrorec.inference.validation import refuse_coupled
from pyrorec.models.families import Outcome

DRAWS = 200


def log_density(posterior: Posterior, cells: Interactions, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """log E_q p(value | latents) of each cell, base measure included, natural logarithms, float64 (cells,).

    `cells` are in the posterior's codes and hold what its response is a law of. The expectation is the mean over
    joint draws of every latent, the same for every cell, so that it is exact for any family and predictor but for
    Monte Carlo error, of order sd(p) / (p sqrt(draws)) a cell. Popularity is each item's own (Observe).
    """
    refuse_coupled(posterior.response)
    user, item = torch.as_tensor(cells.user), torch.as_tensor(cells.item)
    value, trials = torch.as_tensor(cells.value), torch.as_tensor(cells.trials)
    total = torch.full(value.shape, -math.inf, dtype=torch.float64)
    with torch.no_grad():
        for number in range(draws):
            drawn = posterior.draw(int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))
            total = torch.logaddexp(total, at_draw(drawn, user, item, value, trials))
    return (total - math.log(draws)).numpy()


def at_draw(drawn: Posterior, user: Tensor, item: Tensor, value: Tensor, trials: Tensor) -> Tensor:
    """log p(value) of each cell at one draw of the latents, float64."""
    affinity = drawn.pair_mean(user, item).double()
    effect = drawn.item_effect
    popularity = torch.zeros_like(affinity) if effect.law is None else effect.law.mean[item].double()
    return effect.predictor.log_prob(drawn.response.for_items(item), value, trials, affinity, popularity)


def as_seen(run: Run, cells: Interactions) -> Interactions:
    """Cells as the run sees values: binarised where it binarises. Raises InputError for what its family cannot be."""
    seen = cells.binarised() if run.spec.binarise else cells
    if run.posterior.response.outcome is Outcome.CLICK and bool((seen.value > seen.trials).any()):
        raise InputError(
            f"The run predicts clicks, but the log to judge it on holds values up to {seen.value.max():g}: binarise "
            "that log, or fit with --binarise."
        )
    value, trials = (torch.as_tensor(part, dtype=torch.float64) for part in (seen.value, seen.trials))
    if (reason := run.posterior.response.refusal(value, trials)) is not None:
        raise InputError(f"The log to judge the run on: {reason}")
    return seen
