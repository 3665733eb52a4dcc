"""The worlds, and the models that are fitted to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import pyrorec as pr
from benchmarks.recovery.estimates import Estimates, additive, log_additive_clicks, log_additive_counts
from benchmarks.recovery.settings import ITEMS, SHAPE, TRAINING, USERS
from pyrorec.inference.run import Run
from pyrorec.models.affinities import Linear
from pyrorec.models.distributions import Gamma, LogNormal
from pyrorec.models.families import Cloglog, Poisson
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.predictors import LogAdditive
from pyrorec.models.prior_source import ExposureCounts
from pyrorec.simulation.record_world import RecordWorld, SimulatedRecords


@dataclass(frozen=True)
class GammaWorld(RecordWorld):
    """Popularity from Gamma(shape, shape) in place of the lognormal."""

    shape: float = SHAPE

    def log_popularity(self, rng: np.random.Generator) -> np.ndarray:
        return np.log(rng.gamma(self.shape, 1 / self.shape, self.items))


@dataclass(frozen=True)
class Design:
    """A world, the model that is fitted to it, and how the fit is compared with the truth."""

    world: Callable[[int], RecordWorld]
    model: PopularityModel
    estimates: Callable[[RecordWorld, SimulatedRecords, Run], Estimates]

    def run(self, records: int, seed: int, training: pr.Training = TRAINING) -> Estimates:
        world = self.world(records)
        drawn = world.simulate(seed)
        run = pr.fit(self.model, drawn.log, seed=seed, training=training, context=pr.Context(progress=False))
        return self.estimates(world, drawn, run)


def clicks_world(records: int) -> RecordWorld:
    return RecordWorld(USERS, ITEMS, records, exposure_power=0.0, predictor=LogAdditive(), family=Cloglog())


DESIGNS = {
    "additive, clicks": Design(
        lambda n: RecordWorld(USERS, ITEMS, n), PopularityModel(Linear(), source=ExposureCounts()), additive
    ),
    "log-additive, clicks": Design(
        clicks_world,
        PopularityModel(Linear(), Cloglog(), LogAdditive(), LogNormal()),
        log_additive_clicks,
    ),
    "log-additive, counts": Design(
        lambda n: GammaWorld(USERS, ITEMS, n, exposure_power=0.0, predictor=LogAdditive(), family=Poisson()),
        PopularityModel(Linear(), Poisson(), LogAdditive(), Gamma()),
        log_additive_counts,
    ),
}
