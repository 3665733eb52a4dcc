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
from pyrorec.inference.level import ShiftPrior, matching_shift, most_probable_shift
from pyrorec.inference.records import inverse_propensities
from pyrorec.inference.run import EXPOSURE, Run
from pyrorec.inference.scores import Surface, pair_surface
from pyrorec.models.families import Outcome

logger = logging.getLogger("pyrorec")
UNEXPLAINED = 0.25
"""sd, on the linear predictor, of what propensities never explain of a base rate: a quarter of the odds."""


def recalibrate(
    run: Run, random_log: Interactions, intervention: Intervention | None = None, prior: ShiftPrior | None = None
) -> Run:
    """The run with one number added to every linear predictor, at which a random sample of clicks is most probable.

    Who was shown what in a biased log says nothing of how often a random pair would be clicked, so no model identifies
    the base rate from it; a hundred random exposures do, to a standard error of about a quarter on the logit scale.
    The shift is the mode of its posterior given the sample, under an intervention (Observe by default); `prior` is flat
    unless given, and `shift_by_propensity` reads one off the log's propensities. Where the sample says how its pairs
    were exposed, only the random ones count. It starts from the level of the fit, so that a run recalibrated before
    forgets that: give samples together that are to count together. Rankings within a user do not change
    under Deconfound; under Observe, items whose popularity is unequally known can change places. Logs the shift with
    its standard deviation. Raises InputError where the run predicts no clicks, no pair of the sample is known to it,
    the sample holds no clicks but counts, or a flat prior meets outcomes that are all alike.
    """
    check_outcome(run)
    run, random_log = as_fitted(run), clicks_of(run, random_part(random_log))
    user, item, known = known_cells(run, random_log)
    value, trials = random_log.value[known], random_log.trials[known]
    if (value > trials).any():
        raise InputError(
            f"The random sample holds values up to {value.max():g}, and this run predicts clicks: code them 0 and 1, "
            "with the zeros kept."
        )
    prior = prior or ShiftPrior()
    if math.isinf(prior.sd) and not 0 < value.sum() < trials.sum():
        raise InputError(
            f"The random sample has {value.sum():g} clicks in {trials.sum():g} known trials: it needs some of both "
            "outcomes, or a prior on the shift."
        )
    cells = sampled_surface(run, intervention, user, item)
    found = most_probable_shift(cells, torch.as_tensor(value), torch.as_tensor(trials), prior)
    if found is None:
        raise InputError(
            f"No shift of the level makes {value.sum():g} clicks in {trials.sum():g} trials probable: check the "
            "values, and that the model can reach such a rate (popularity bounds that of a product)."
        )
    shift, error = found
    logger.info(
        f"base rate moved by {shift:+.3f} (sd {error:.3f}) on the linear predictor, from {trials.sum():g} trials"
    )
    return moved(run, shift)


def shift_by_propensity(run: Run, intervention: Intervention | None = None) -> ShiftPrior:
    """The shift at which the run expects the clicks of its own log weighted by inverse propensity, with much doubt.

    Propensities explain a part of who was shown what, and what they leave out may be as large: the variance is the
    square of the shift, plus that of `UNEXPLAINED` for what no propensity speaks of. Weights are cut as in training.
    The shift counts from the level of the fit. Raises InputError for a log without propensities.
    """
    shift = propensity_shift(as_fitted(run), intervention)
    return ShiftPrior(shift, math.hypot(shift, UNEXPLAINED))


def level_by_propensity(run: Run, intervention: Intervention | None = None) -> Run:
    """The run at the level at which it expects the clicks of its own log weighted by inverse propensity.

    For a run whose fit has not used the propensities, where no random sample is at hand. It takes the propensities at
    their word; `shift_by_propensity` gives the same shift as a prior, to be weighed against a sample. Raises InputError
    for a log without propensities.
    """
    run = as_fitted(run)
    shift = propensity_shift(run, intervention)
    logger.info(f"base rate moved by {shift:+.3f} on the linear predictor, to where the propensities put it")
    return moved(run, shift)


def propensity_shift(run: Run, intervention: Intervention | None) -> float:
    """The shift from the run's level to that of its log's weighted clicks."""
    check_outcome(run)
    if run.log.propensity is None:
        raise InputError("The run's log has no propensities to start from: recalibrate by a log of random pairs alone.")
    log = clicks_of(run, run.log)
    weight = log.trials * inverse_propensities(run.log)
    user, item, _ = known_cells(run, run.log)
    cells = sampled_surface(run, intervention, user, item)
    shift = matching_shift(cells, torch.as_tensor(log.value / log.trials * weight), torch.as_tensor(weight))
    if shift is None:
        raise InputError("No shift of the level makes the run expect the weighted clicks of its log.")
    return shift


def check_outcome(run: Run) -> None:
    """Raises InputError for a run asked about exposure, whose log's values are of something else."""
    if run.view == EXPOSURE:
        run.refuse_view("recalibrate")


def moved(run: Run, shift: float) -> Run:
    """A run as fitted, its level moved."""
    level = run.posterior.level_shift + shift
    return replace(run, posterior=replace(run.posterior, level_shift=level, recalibration=shift))


def as_fitted(run: Run) -> Run:
    """The run at the level of its fit, an earlier recalibration taken back."""
    posterior = run.posterior
    level = posterior.level_shift - posterior.recalibration
    return replace(run, posterior=replace(posterior, level_shift=level, recalibration=0.0))


def random_part(sample: Interactions) -> Interactions:
    """The randomly exposed cells of a sample; all of them where it does not say. Raises InputError where none is."""
    if sample.exposure is None:
        return sample
    random = sample.exposure == "random"
    if not random.any():
        raise InputError("No pair of the sample is marked as randomly exposed; give a sample that was.")
    if not random.all():
        logger.info(f"{int((~random).sum()):,} cells of the sample were not randomly exposed and are left out")
    return sample.select(random)


@torch.no_grad()
def sampled_surface(run: Run, intervention: Intervention | None, user: Tensor, item: Tensor) -> Surface:
    """The surface of some cells under an intervention, Observe by default."""
    return pair_surface(run.posterior, intervention or Observe(), user, item)


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
