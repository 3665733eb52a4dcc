"""Small logs and short fits of the popularity model that several tests share."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyrorec.data import Interactions
from pyrorec.inference.fit import fit
from pyrorec.inference.objective import Expected
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.run import Run
from pyrorec.inference.settings import Context, Training
from pyrorec.models.affinities import FactorisationMachine
from pyrorec.models.distributions import PopularityDistribution
from pyrorec.models.families import Family
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.posterior_families import PosteriorFamily
from pyrorec.models.predictors import Predictor, UnfitPair
from pyrorec.simulation import FrailtyWorld
from pyrorec.simulation.record_world import RecordWorld

SHORT = Training(objective=Expected(), epochs=4, learning_rate=0.05, kl_warmup=1, validation_fraction=0.0)
SMALL = FactorisationMachine(factors=2)
LAW_FIELDS = ("concentration", "rate", "loc", "scale", "v")


@cache
def impressions() -> Interactions:
    """3,000 impressions of 40 items to 60 users, with times, propensities and features on both sides."""
    log = RecordWorld(users=60, items=40, records=3_000).simulate(0).log
    rng = np.random.default_rng(8)
    return replace(
        log,
        timestamp=rng.integers(1_000, 2_000, len(log)),
        propensity=rng.uniform(0.2, 1.0, len(log)),
        item_features=pd.DataFrame({"length": rng.standard_normal(40), "new": rng.random(40) < 0.3}, index=log.items),
    )


@cache
def tiny_impressions() -> Interactions:
    """Some 90 cells of 12 users and 9 items."""
    return RecordWorld(users=12, items=9, records=160).simulate(1).log


@cache
def implicit() -> Interactions:
    """Clicks without impressions: absent cells are zeros."""
    return FrailtyWorld(users=50, items=30, mean_count=0.4, features=False).simulate(3).train.binarised()


def fitted(model: PopularityModel, log: Interactions, training: Training = SHORT, seed: int = 0, **context: Any) -> Run:
    return fit(model, log, seed=seed, training=training, context=Context(progress=False, **context))


def numbers(posterior: Posterior) -> dict[str, Tensor]:
    """Every number of a posterior, by name."""
    found = {k: getattr(posterior, k) for k in ("user_mean", "user_sd", "item_mean", "item_sd", "intercept")}
    for kind, law in (("law", posterior.popularity), ("population", posterior.population)):
        found |= {f"{kind} {n}": torch.as_tensor(getattr(law, n)) for n in LAW_FIELDS if hasattr(law, n)}
    return found


def differing(first: Run, second: Run) -> list[str]:
    """Names of the numbers of two runs' posteriors that are not the same bit for bit."""
    a, b = numbers(first.posterior), numbers(second.posterior)
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


def every_fitting_model() -> list[PopularityModel]:
    """Each predictor with each family, prior and posterior family that it goes together with."""
    found = []
    for predictor in Predictor.registry:
        for family in Family.registry:
            for prior in [None] if predictor.scale is None else list(PopularityDistribution.registry):
                for posterior in [None] if prior is None else list(PosteriorFamily.registry):
                    parts = {"popularity": prior, "posterior": posterior}
                    built = {name: part() for name, part in parts.items() if part is not None}
                    try:
                        model = PopularityModel(affinity=SMALL, predictor=predictor(), family=family(), **built)
                    except UnfitPair:
                        continue
                    found.append(model)
    return found


def covering(models: list[PopularityModel]) -> list[PopularityModel]:
    """Some of the models, in which any two of link with family, prior and posterior meet that meet in any of all."""

    def meetings(model: PopularityModel) -> set[tuple[str, ...]]:
        parts = (model.popularity, model.posterior)
        link, prior, posterior = (f"{model.predictor.name} {model.family.name}", *(p and p.name for p in parts))
        return {
            (link, f"prior {prior}"),
            (link, f"posterior {posterior}"),
            (f"prior {prior}", f"posterior {posterior}"),
        }

    left, found = {meeting for model in models for meeting in meetings(model)}, []
    while left:
        found.append(max(models, key=lambda model: len(left & meetings(model))))
        left -= meetings(found[-1])
    return found


def named(model: PopularityModel) -> str:
    parts = (model.predictor, model.family, model.popularity, model.posterior)
    return "-".join(part.name for part in parts if part is not None)
