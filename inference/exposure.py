"""What a joint model says of exposure: who is shown or chooses what, and validation that makes up for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from pyrorec.data import InputError, Interactions
from pyrorec.inference.intervention import Observe
from pyrorec.inference.joint_posterior import read_exposure_posterior
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.records import inverse_propensities
from pyrorec.inference.run import EXPOSURE, Run
from pyrorec.inference.scores import Predictive, pair_surface
from pyrorec.inference.validation import Score, log_likelihood
from pyrorec.models.families import Cloglog
from pyrorec.models.joint import ExposureOutcome

SMALLEST = 1e-6
"""Probabilities of exposure are kept above it; weights are cut long before."""


def exposure_run(run: Run) -> Run:
    """The same run asked about exposure: `score` then gives the probability that a user is shown or chooses an item.

    A rate r of exposures makes it 1 - exp(-r). Raises InputError for a run of another model than the joint one.
    """
    if not isinstance(run.model, ExposureOutcome):
        raise InputError("Only the joint model speaks of exposure: fit a JointModel (--model joint).")
    read = read_exposure_posterior(run.model, run.guide, run.posterior.users, run.posterior.items)  # type: ignore[arg-type]
    return replace(run, posterior=replace(read, response=Cloglog()), view=EXPOSURE)


@torch.no_grad()
def exposure_probability(posterior: Posterior, cells: Interactions) -> np.ndarray:
    """Predictive probability of exposure of some cells, (cells,), given the posterior of exposure."""
    clicks = replace(posterior, response=Cloglog())
    surface = pair_surface(clicks, Observe(), torch.as_tensor(cells.user), torch.as_tensor(cells.item))
    found: np.ndarray = Predictive().score(surface).double().cpu().numpy()
    return found


def selection_score(validation: Interactions, exposure: Callable[[], Posterior]) -> Score:
    """Mean log predictive density of held-out cells, each weighted by the inverse of its probability of exposure.

    Held-out cells of a self-selected log are as self-selected as the rest, so that unweighted they prefer a model which
    ignores selection. Propensities are those of the log where it brings them, else those that `exposure` gives, from a
    fit that had these cells masked. Weights are cut as in `inverse_propensities`.
    """

    def score(posterior: Posterior) -> float:
        cells = validation
        if cells.propensity is None:
            cells = replace(cells, propensity=exposure_probability(exposure(), cells).clip(SMALLEST, 1.0))
        weight = inverse_propensities(cells)
        return float(weight @ log_likelihood(posterior, validation).numpy() / weight.sum())

    return score
