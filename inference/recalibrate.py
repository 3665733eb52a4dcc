"""The base rate, corrected by a small sample of random exposures."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pyrorec.data import InputError, Interactions
from pyrorec.inference.intervention import Intervention, Observe
from pyrorec.inference.level import ShiftPrior, most_probable_shift
from pyrorec.inference.records import inverse_propensities
from pyrorec.inference.run import Run
from pyrorec.inference.scores import Surface, pair_surface
from pyrorec.models.families import Outcome

logger = logging.getLogger("pyrorec")
UNEXPLAINED = 0.25
"""sd, on the linear predictor, of what propensities never explain of a base rate: a quarter of the odds."""


def recalibrate(
    run: Run, random_log: Interactions, intervention: Intervention | None = None, prior: ShiftPrior | None = None
) -> Run:
    """The run with one number added to every linear predictor, so that it expects the clicks of a random sample.

    Who was shown what in a biased log says nothing of how often a random pair would be clicked, so no model identifies
    the base rate from it; a hundred random exposures do, to a standard error of about a quarter on the logit scale.
    The shift is the mode of its posterior given the sample, under an intervention (Observe by default); `prior` is flat
    unless given, and `shift_by_propensity` reads one off the log's propensities. Rankings within a user do not change
    under Deconfound; under Observe, items whose popularity is unequally known can change places. Logs the shift with
    its standard deviation. Raises InputError where the run predicts no clicks, no pair of the sample is known to it, or
    a flat prior meets outcomes that are all alike.
    """
    user, item, known = known_cells(run, random_log)
    random_log = clicks_of(run, random_log)
    value, trials = random_log.value[known], random_log.trials[known]
    prior = prior or ShiftPrior()
    if math.isinf(prior.sd) and not 0 < value.sum() < trials.sum():
        raise InputError(
            f"The random sample has {value.sum():g} clicks in {trials.sum():g} known trials: it needs some of both "
            "outcomes, or a prior on the shift."
        )
    with torch.no_grad():
        cells = pair_surface(run.posterior, intervention or Observe(), user, item)
        shift, error = found_shift(cells, value, trials, prior)
    logger.info(
        f"base rate moved by {shift:+.3f} (sd {error:.3f}) on the linear predictor, from {trials.sum():g} trials"
    )
    return replace(run, posterior=replace(run.posterior, level_shift=run.posterior.level_shift + shift))


def shift_by_propensity(run: Run, intervention: Intervention | None = None) -> ShiftPrior:
    """The shift at which the run expects the clicks of its own log weighted by inverse propensity, with much doubt.

    Propensities explain a part of who was shown what, and what they leave out may be as large: the variance is the
    square of the shift, plus that of `UNEXPLAINED` for what no propensity speaks of. Weights are cut as in training.
    Raises InputError for a log without propensities.
    """
    weight = run.log.trials * inverse_propensities(run.log)
    log = clicks_of(run, run.log)
    user, item, _ = known_cells(run, run.log)
    with torch.no_grad():
        cells = pair_surface(run.posterior, intervention or Observe(), user, item)
        shift, _ = found_shift(cells, log.value / log.trials * weight, weight, ShiftPrior())
    return ShiftPrior(shift, math.hypot(shift, UNEXPLAINED))


def clicks_of(run: Run, log: Interactions) -> Interactions:
    """A log as the run sees it: binarised where its model is."""
    return log.binarised() if run.spec.binarise else log


def known_cells(run: Run, log: Interactions) -> tuple[Tensor, Tensor, np.ndarray]:
    """Codes of the cells whose user and item the run knows, and their numbers. Refuses a run without clicks."""
    if run.posterior.response.outcome is not Outcome.CLICK:
        raise InputError("Only click probabilities have a base rate to correct; this run predicts counts or ratings.")
    user, item = log.recode(run.posterior.users, run.posterior.items)
    known = np.flatnonzero((user >= 0) & (item >= 0))
    if not len(known):
        raise InputError("No pair of the random sample is known to the run; check the id columns.")
    return torch.as_tensor(user[known]), torch.as_tensor(item[known]), known


def found_shift(cells: Surface, value: np.ndarray, trials: np.ndarray, prior: ShiftPrior) -> tuple[float, float]:
    """Mode and sd of the shift. Raises InputError where no shift makes the run expect these clicks."""
    found = most_probable_shift(cells, torch.as_tensor(value), torch.as_tensor(trials), prior)
    if found is None:
        raise InputError("No shift of the level makes the run expect the clicks of the random sample.")
    return found
