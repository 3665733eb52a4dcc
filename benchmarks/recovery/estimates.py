"""What is found, the truth, and standard errors, on the fitted scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special

from benchmarks.recovery.information import information, shape_information
from benchmarks.recovery.settings import ITEMS, SHAPE
from pyrorec.inference.empirical_bayes import GammaPoissonML, exposure_counts
from pyrorec.inference.run import Run
from pyrorec.models.distributions.gamma import match_gamma
from pyrorec.simulation.record_world import RecordWorld, SimulatedRecords


@dataclass(frozen=True)
class Estimates:
    """Numbers by name on the fitted scale: found, the target, se, and the target and se given the items drawn."""

    names: tuple[str, ...]
    found: np.ndarray
    truth: np.ndarray
    se: np.ndarray
    drawn: np.ndarray
    drawn_se: np.ndarray

    def rows(self, **common: Any) -> list[dict[str, Any]]:
        columns = zip(self.names, self.found, self.truth, self.se, self.drawn, self.drawn_se, strict=True)
        keys = ("parameter", "found", "truth", "se", "drawn", "drawn_se")
        return [common | dict(zip(keys, row, strict=True)) for row in columns]


def scaled(world: RecordWorld, drawn: SimulatedRecords) -> tuple[np.ndarray, np.ndarray, float]:
    """Standardised features of each cell with a column of ones, slopes on that scale, and slopes . mean."""
    assert drawn.log.user_features is not None
    x = drawn.log.user_features.to_numpy()
    z = (x - x.mean(0)) / x.std(0)
    slopes = np.asarray(world.slopes)
    return np.c_[np.ones(len(drawn.log)), z[drawn.log.user]], slopes * x.std(0), float(slopes @ x.mean(0))


def weights_found(run: Run) -> np.ndarray:
    """Intercept, with the mean of every id's effect, and slopes."""
    laws: Any = run.guide.laws()
    effects = sum(float(laws[s].mean.detach().mean()) for s in ("user_effect", "item_effect") if s in laws)
    return np.r_[float(run.posterior.intercept) + effects, laws["user_weights"].mean.detach().numpy()]


def additive(world: RecordWorld, drawn: SimulatedRecords, run: Run) -> Estimates:
    """Intercept, slopes and gamma; there is nothing of the items drawn that the target does not know."""
    log, standard = drawn.log, GammaPoissonML().fit(exposure_counts(drawn.log)).standardised()
    unit = np.log(np.bincount(log.item, log.trials, ITEMS).mean() / (world.records / ITEMS))
    per_log = float(world.predictor.popularity_effect) / drawn.sd_log  # type: ignore[attr-defined]
    x, slopes, middle = scaled(world, drawn)
    gamma = per_log * standard.scale
    intercept = world.intercept + middle + per_log * (standard.location + unit - drawn.mean_log)
    truth = np.r_[intercept, slopes, gamma]
    prior: Any = standard.items.law
    zeta = (drawn.log_popularity - unit - standard.location) / standard.scale
    p = special.expit(x @ truth[:-1] + gamma * zeta[log.item])
    inner = information(
        np.c_[x, prior.mean.numpy()[log.item]],
        log.trials * p * (1 - p),
        log.item,
        (gamma * prior.stddev.numpy()) ** 2,
    )
    se = np.sqrt(np.diag(np.linalg.inv(inner)))
    gamma_found = float(run.posterior.item_effect.predictor.popularity_effect)  # type: ignore[attr-defined]
    found = np.r_[weights_found(run), gamma_found]
    return Estimates(("intercept", "slope 1", "slope 2", "gamma"), found, truth, se, truth, se)


def log_additive_clicks(world: RecordWorld, drawn: SimulatedRecords, run: Run) -> Estimates:
    """Intercept, slopes and the sd of log z; the intercept is that of E log z, plus sd^2 / 2."""
    log, sd, log_z = drawn.log, world.sd_log, drawn.log_popularity
    x, slopes, middle = scaled(world, drawn)
    truth = np.r_[world.intercept + middle, slopes, sd]
    rate = np.exp(x @ truth[:-1] + log_z[log.item])
    weight = log.trials * rate**2 / np.expm1(rate)
    known = np.bincount(log.item, weight, ITEMS)
    variance = np.diag(np.linalg.inv(information(x, weight, log.item, sd**2)))
    of_sd = 1 / (2 * sd**2 * (1 / (sd**2 + 1 / known) ** 2).sum())
    full = np.r_[variance[0] + sd**2 * of_sd, variance[1:], of_sd]
    oracle = np.r_[sd**2 / ITEMS + sd**4 / (2 * ITEMS), 0, 0, sd**2 / (2 * ITEMS)]
    best = np.r_[truth[0] + log_z.mean() + log_z.var() / 2, slopes, log_z.std()]
    population: Any = run.posterior.population
    found = np.r_[weights_found(run), float(population.scale)]
    names = ("intercept", "slope 1", "slope 2", "sd of log z")
    return Estimates(names, found, truth, np.sqrt(full), best, np.sqrt(full - oracle))


def log_additive_counts(world: RecordWorld, drawn: SimulatedRecords, run: Run) -> Estimates:
    """Intercept, slopes and the log of the shape, whose information is that of negative binomial counts."""
    log, z = drawn.log, torch.as_tensor(np.exp(drawn.log_popularity))
    x, slopes, middle = scaled(world, drawn)
    truth = np.r_[world.intercept + middle, slopes, np.log(SHAPE)]
    weight = log.trials * np.exp(x @ truth[:-1])
    total = np.bincount(log.item, weight, ITEMS)
    of_shape = 1 / sum(shape_information(SHAPE, mean) for mean in total) / SHAPE**2
    full = np.r_[np.diag(np.linalg.inv(information(x, weight, log.item, 1 / SHAPE))), of_shape]
    floor = 1 / (ITEMS * (special.polygamma(1, SHAPE) - 1 / SHAPE)) / SHAPE**2
    oracle = np.r_[1 / (SHAPE * ITEMS), 0, 0, floor]
    shape = float(match_gamma(z.mean(), z.log().mean()).concentration)
    best = np.r_[truth[0] + float(z.mean().log()), slopes, np.log(shape)]
    population: Any = run.posterior.population
    found = np.r_[weights_found(run), np.log(float(population.concentration))]
    names = ("intercept", "slope 1", "slope 2", "log shape")
    return Estimates(names, found, truth, np.sqrt(full), best, np.sqrt(full - oracle))
