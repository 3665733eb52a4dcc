"""Clicks read off ratings: the probability that a rating reaches a level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pyrorec.data import InputError
from pyrorec.inference.run import Run
from pyrorec.models.families import Bernoulli, Ordinal


def ratings_from(run: Run, level: int) -> Run:
    """The run of ordinal ratings asked for P(rating >= level), as a run of clicks.

    Under cumulative logits that is sigma(eta - cut), cut the one below `level`: a Bernoulli at another level. Its log
    are the clicks. It can be asked, evaluated and recalibrated, but not saved. Raises
    InputError for another family and for a level that is not among 2 and the highest rating.
    """
    family = run.posterior.response
    if not isinstance(family, Ordinal):
        raise InputError(f"Only ordinal ratings have a probability of reaching a level, not family {family.name}.")
    if not 2 <= level <= family.levels:
        raise InputError(f"A level is 2 to {family.levels}, not {level}.")
    cut = float(family.cuts(torch.zeros(()))[level - 2])
    posterior = replace(run.posterior, response=Bernoulli(), level_shift=run.posterior.level_shift - cut)
    reached = run.log.value / np.maximum(run.log.trials, 1.0) >= level
    clicks = replace(run.log, value=np.where(reached, run.log.trials, 0.0))
    return replace(run, posterior=posterior, log=clicks, view=f"ratings of {level} and more")
