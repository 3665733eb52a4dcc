"""The base rate, corrected by a small sample of random exposures."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import torch

from pyrorec.data import InputError, Interactions
from pyrorec.inference.intervention import Intervention, Observe
from pyrorec.inference.level import matching_shift
from pyrorec.inference.run import Run
from pyrorec.inference.scores import Predictive, pair_surface
from pyrorec.models.families import Outcome

logger = logging.getLogger("pyrorec")


@torch.no_grad()
def recalibrate(run: Run, random_log: Interactions, intervention: Intervention | None = None) -> Run:
    """The run with one number added to every linear predictor, so that it expects the clicks of a random sample.

    Who was shown what in a biased log says nothing of how often a random pair would be clicked, so no model identifies
    the base rate from it; a hundred random exposures do, to a standard error of about a quarter on the logit scale.
    The shift solves sum p = sum clicks over the sample, under an intervention (Observe by default). Rankings within a
    user do not change under Deconfound; under Observe only items whose popularity is unequally known can change places,
    as the response averages each over its own spread. Logs the shift with its standard error. Raises InputError where
    the run predicts no clicks, no pair of the sample is known to it, or all outcomes are alike.
    """
    if run.posterior.response.outcome is not Outcome.CLICK:
        raise InputError("Only click probabilities have a base rate to correct; this run predicts counts or ratings.")
    user, item = random_log.recode(run.posterior.users, run.posterior.items)
    known = np.flatnonzero((user >= 0) & (item >= 0))
    clicks, trials = float(random_log.value[known].sum()), float(random_log.trials[known].sum())
    if not 0 < clicks < trials:
        raise InputError(
            f"The random sample has {clicks:g} clicks in {trials:g} known trials: it needs some of both outcomes."
        )
    codes = torch.as_tensor(user[known]), torch.as_tensor(item[known])
    surface = pair_surface(run.posterior, intervention or Observe(), *codes)
    shift = matching_shift(surface, torch.as_tensor(random_log.trials[known]), clicks)
    if shift is None:
        raise InputError("No shift of the level makes the run expect the clicks of the random sample.")
    p = Predictive().score(replace(surface, mean=surface.mean + shift)).double().numpy()
    error = 1 / math.sqrt(float((random_log.trials[known] * p * (1 - p)).sum()))
    logger.info(f"base rate moved by {shift:+.3f} (se {error:.3f}) on the linear predictor, from {trials:g} trials")
    return replace(run, posterior=replace(run.posterior, level_shift=run.posterior.level_shift + shift))
