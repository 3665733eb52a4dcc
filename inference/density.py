"""Predictive density of held-out cells, and of rows of them, under a posterior."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pyrorec.data import InputError, Interactions
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.run import Run
from pyrorec.inference.validation import refuse_coupled
from pyrorec.models.families import Family, Outcome
from pyrorec.models.predictors import Offset
from pyrorec.models.rows import GIVEN_TOTAL, SparseRows

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
        for drawn in joint_draws(posterior, draws, seed):
            total = torch.logaddexp(total, at_draw(drawn, user, item, value, trials))
    return (total - math.log(draws)).numpy()


def log_row_density(posterior: Posterior, cells: Interactions, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """log E_q p(a user's cells | their total, latents) of each user of the posterior, float64 (users,).

    `cells` as for `log_density`: counts of which only the total is given, or amounts of which only the shares in it
    are judged (`GIVEN_TOTAL`). The cells of a row are predicted together, so that what they say of each other counts.
    For a multinomial this is the multinomial of the user's held-out events over the held-out cells, for a Dirichlet
    the Dirichlet of the shares that these cells have of their sum, both at the fitted eta: what such a row says of a
    part of its cells. Zero, the logarithm of one, for a user of fewer than two cells or of none above zero. The mean
    is over joint draws of every latent; its logarithm is biased downwards by half its relative variance. Raises
    InputError for a family whose cells have no known law given their total, and for cells of several trials where
    their family is one of single cells.
    """
    family = posterior.response
    refuse_unspread(family)
    if not family.coupled and bool((cells.trials > 1).any()):
        raise InputError(f"Rows of {family.name} cells are judged with one trial a cell; give a log without exposure.")
    user, item, value, trials = (torch.as_tensor(part) for part in (cells.user, cells.item, cells.value, cells.trials))
    rows = SparseRows.from_cells(user, item, value, trials, cells.shape)
    total = torch.full((len(rows),), -math.inf, dtype=torch.float64)
    with torch.no_grad():
        for drawn in joint_draws(posterior, draws, seed):
            affinity, popularity = pairs_at_draw(drawn, rows.row, rows.column)
            predictor = drawn.item_effect.predictor
            assert isinstance(predictor, Offset)  # a product returns clicks, which no law in GIVEN_TOTAL is of
            eta = affinity + predictor.offset(popularity)
            total = torch.logaddexp(total, GIVEN_TOTAL[type(family)](drawn.response, rows, eta))
    return (total - math.log(draws)).numpy()


def refuse_unspread(family: Family) -> None:
    """Raises InputError for a family whose cells have no known law given their total."""
    if type(family) not in GIVEN_TOTAL:
        raise InputError(
            f"Family {family.name} has no known law of cells given their total, which is what rows are judged by; "
            f"there is one for {', '.join(known.name for known in GIVEN_TOTAL)}. Compare rankings by evaluate instead."
        )


def joint_draws(posterior: Posterior, draws: int, seed: int) -> Iterator[Posterior]:
    """Joint draws of every latent, the same for every log asked with this seed."""
    for number in range(draws):
        yield posterior.draw(int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))


def at_draw(drawn: Posterior, user: Tensor, item: Tensor, value: Tensor, trials: Tensor) -> Tensor:
    """log p(value) of each cell at one draw of the latents, float64."""
    affinity, popularity = pairs_at_draw(drawn, user, item)
    return drawn.item_effect.predictor.log_prob(drawn.response.for_items(item), value, trials, affinity, popularity)


def pairs_at_draw(drawn: Posterior, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
    """Affinity (intercept included) and popularity of each pair at one draw of the latents, float64."""
    affinity = drawn.pair_mean(user, item).double()
    law = drawn.item_effect.law
    return affinity, torch.zeros_like(affinity) if law is None else law.mean[item].double()


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
