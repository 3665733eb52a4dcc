"""The product form: information on the split of log G against d, and fits from two starts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special
from tqdm import tqdm

import pyrorec as pr
from benchmarks.recovery.estimates import scaled
from benchmarks.recovery.settings import ITEMS, TRAINING, USERS
from pyrorec.models.affinities import Linear
from pyrorec.models.distributions import LogNormal
from pyrorec.models.links import expected_log_link
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.predictors import ProductSaturation
from pyrorec.simulation.record_world import RecordWorld, SimulatedRecords

RATES = (0.3, 0.1, 0.02, 0.003)
STARTS = (0.3, 3.0)


def split_information(intercept: float) -> tuple[float, float]:
    """Mean click rate, and information a record on log G of an item, the rest unknown: nine levels, five items."""
    t, item = np.tile(np.linspace(-2, 2, 9), 5), np.repeat(np.arange(5), 9)
    h, g = special.expit(intercept + np.linspace(-0.5, 0.5, 5)[item] + t), np.linspace(0.5, 0.9, 5)[item]
    p, own = g * h, np.eye(5)[item]
    jacobian = np.c_[p * (1 - h) * t, own * (p * (1 - h))[:, None], own * p[:, None]]
    inner = (jacobian / (p * (1 - p))[:, None]).T @ jacobian / len(t)
    return float(p.mean()), 1 / float(np.linalg.inv(inner)[6, 6])


def split_table() -> pd.DataFrame:
    """Information on the split by click rate, and the records that give log G an sd of .1."""
    rows = []
    for rate in RATES:
        at = np.interp(
            np.log(rate), *np.array([(np.log(split_information(b)[0]), b) for b in np.linspace(-9, 3, 400)]).T
        )
        p, information_ = split_information(float(at))
        rows.append({"click rate": p, "information a record": information_, "records for sd .1": 100 / information_})
    return pd.DataFrame(rows)


def exponent(table: pd.DataFrame) -> float:
    """Power of the click rate with which the information grows."""
    return float(np.polyfit(np.log(table["click rate"]), np.log(table["information a record"]), 1)[0])


def product_world(intercept: float, records: int) -> RecordWorld:
    return RecordWorld(USERS, ITEMS, records, intercept=intercept, exposure_power=0.0, predictor=ProductSaturation())


def split_of_fits(intercept: float, records: int, replicates: int) -> pd.DataFrame:
    """Error of mean log G, the split between popularity and intercept, of fits from two starts of lambda."""
    rows = []
    for seed in tqdm(range(replicates), unit="log"):
        world = product_world(intercept, records)
        drawn = world.simulate(2_000 + seed)
        truth = np.log(-np.expm1(-np.exp(drawn.log_popularity))).mean()
        for start in STARTS:
            model = PopularityModel(Linear(), predictor=ProductSaturation(start), popularity=LogNormal())
            run = pr.fit(model, drawn.log, seed=seed, training=TRAINING, context=pr.Context(progress=False))
            law, predictor = run.posterior.popularity, run.posterior.item_effect.predictor
            found = expected_log_link(law, predictor).mean()
            rate = drawn.log.value.sum() / drawn.log.trials.sum()
            rows.append(
                {
                    "rate": rate,
                    "seed": seed,
                    "start": start,
                    "error": float(found) - truth,
                    "se": split_se(world, drawn),
                }
            )
    return pd.DataFrame(rows)


def split_se(world: RecordWorld, drawn: SimulatedRecords) -> float:
    """Of mean log G against the intercept by the information, slopes and every item's log G free."""
    x, slopes, middle = scaled(world, drawn)
    item = drawn.log.item
    h = special.expit(x @ np.r_[world.intercept + middle, slopes])
    p = h * -np.expm1(-np.exp(drawn.log_popularity))[item]
    weight = drawn.log.trials * p / (1 - p)
    inner = x * (1 - h)[:, None]
    total = np.bincount(item, weight, ITEMS)
    sums = np.stack([np.bincount(item, weight * column, ITEMS) for column in inner.T], 1)
    covariance = np.linalg.inv((inner * weight[:, None]).T @ inner - (sums / total[:, None]).T @ sums)
    pull = (sums / total[:, None]).mean(0)  # mean log G moves by minus this with the weights
    return float(np.sqrt((1 / total).sum() / ITEMS**2 + pull @ covariance @ pull))
