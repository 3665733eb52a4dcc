"""Multinomial and Dirichlet rows give back what generated them, beat wrong families and reproduce their data."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from benchmarks.families import fitted
from benchmarks.row_families import (
    LAWS,
    ROW_TRAINING,
    STUDIES,
    predictor_slope,
    recovered,
    row_p_values,
    rows_anew,
    shares,
)
from pyrorec.inference.density import log_row_density
from pyrorec.inference.run import Run
from pyrorec.models.families import Dirichlet, Family, Multinomial, Poisson
from pyrorec.models.predictors import Plain
from pyrorec.models.rows import COUPLED
from pyrorec.simulation.family_world import FamilyLog
from pyrorec.simulation.row_world import RowWorld

USERS, ITEMS = 40, 20
SHORT = replace(ROW_TRAINING, epochs=150, learning_rate=0.06)
WRONG = {"multinomial": 1, "dirichlet": 0}
"""Which of the study's wrong families is tried here."""
every = pytest.mark.parametrize("name", list(STUDIES))


@cache
def study(name: str) -> tuple[RowWorld, FamilyLog, Run, Run]:
    """A smaller world, its log, the right family's fit and that of a wrong one."""
    found = STUDIES[name]
    world = replace(found.world, users=USERS, items=ITEMS)
    assert isinstance(world, RowWorld)
    log = world.simulate(0)
    wrong = found.wrong[WRONG[name]]
    return world, log, fitted(world.family, log.train, SHORT), fitted(wrong, log.train, SHORT)


def test_every_family_of_whole_rows_has_a_study() -> None:
    assert set(STUDIES) == set(LAWS) == {family.name for family in COUPLED}
    with pytest.raises(ValueError, match="poisson draws cells: take FamilyWorld"):
        RowWorld(Poisson())


@every
def test_generating_parameters_come_back(name: str) -> None:
    """As near as the log's information allows, neither shrunk nor stretched, intervals of about the right width."""
    world, log, run, _ = study(name)
    found = recovered(world, log, run)
    assert found.correlation > 0.9
    assert 0.85 < found.slope < 1.15
    assert 0.7 < found.error / found.allowed < 1.4
    assert 0.7 < found.coverage < 0.97


@every
def test_the_right_family_beats_a_wrong_one_on_held_out_rows(name: str) -> None:
    _, log, right, wrong = study(name)
    lack = log_row_density(right.posterior, log.test) - log_row_density(wrong.posterior, log.test)
    assert float(lack.mean()) > 2 * float(lack.std(ddof=1)) / len(lack) ** 0.5


@every
def test_replicated_held_out_rows_look_like_them_and_keep_their_totals(name: str) -> None:
    world, log, run, _ = study(name)
    divided = world.family.outcome.graded
    assert all(0.01 < p < 0.99 for p in row_p_values(run, log.test, divided).values())
    anew = rows_anew(run, log.test, draws=3)
    totals = [np.bincount(log.test.user, each, USERS) for each in (*anew, log.test.value)]
    for each in totals[:-1]:
        np.testing.assert_allclose(each, totals[-1], rtol=1e-6)


def test_a_wrong_family_fails_the_predictive_check() -> None:
    """Negative binomial cells scatter more than a multinomial's."""
    _, log, _, wrong = study("multinomial")
    assert row_p_values(wrong, log.test, divided=False)["variance"] > 0.95


# What the study counts with


@pytest.mark.parametrize("family", [Multinomial(), Dirichlet()], ids=lambda f: f.name)
def test_information_is_the_curvature_of_the_log_partition(family: Multinomial | Dirichlet) -> None:
    """By the chain rule, d natural / d eta on both sides; slopes of the logs by differences."""
    eta, total = np.array([0.3, -0.8, 1.1, 0.0]), 7.0
    natural = family.natural(torch.as_tensor(eta))
    curvature = torch.autograd.functional.hessian(family.log_partition, natural).numpy()
    inner = torch.autograd.functional.jacobian(family.natural, torch.as_tensor(eta)).numpy()
    trials = total if isinstance(family, Multinomial) else 1.0
    law = LAWS[family.name]
    np.testing.assert_allclose(law.information(total, eta), trials * inner.T @ curvature @ inner, atol=1e-12)
    step = 1e-6 * np.eye(4)
    differences = [(law.logs(eta + move) - law.logs(eta - move)) / 2e-6 for move in step]
    np.testing.assert_allclose(law.slope(eta), np.array(differences).T, atol=1e-8)


def test_slopes_of_a_users_row_are_those_of_its_predictor() -> None:
    rng = np.random.default_rng(0)
    shapes = ((5, 2), (4, 2), (1,))
    flat = rng.standard_normal(19)

    def eta(parameters: np.ndarray) -> np.ndarray:
        theta, beta, level = (
            part.reshape(shape) for part, shape in zip(np.split(parameters, [10, 18]), shapes, strict=True)
        )
        row: np.ndarray = theta[3] @ beta.T + level
        return row

    differences = [(eta(flat + move) - eta(flat - move)) / 2e-6 for move in 1e-6 * np.eye(19)]
    found = predictor_slope(3, flat[:10].reshape(5, 2), flat[10:18].reshape(4, 2))
    np.testing.assert_allclose(found, np.array(differences).T, atol=1e-8)


def test_shares_are_of_a_users_total() -> None:
    value = np.array([[1.0, 3.0, 5.0], [2.0, 2.0, 7.0]])
    np.testing.assert_allclose(shares(value, np.array([0, 0, 2])), [[0.25, 0.75, 1], [0.5, 0.5, 1]])


UNITS = {"dirichlet": (Dirichlet(), 0.0), "poisson": (Poisson(), np.log(3))}


@pytest.mark.parametrize(("family", "level"), UNITS.values(), ids=UNITS.keys())
def test_the_unit_of_amounts_is_no_starting_level_of_rows(family: Family, level: float) -> None:
    assert Plain().starting_level(family, 3.0) == pytest.approx(level)


def test_a_worlds_rows_have_totals_and_its_shares_one() -> None:
    """Totals are lognormal about the mean; a row of a Dirichlet world adds up to one over all items."""
    whole = {"observed": 1.0, "held_out": 0.0, "users": 400, "items": 5}
    counts = RowWorld(Multinomial(), total=50.0, total_sd=0.5, **whole).simulate(0)  # type: ignore[arg-type]
    totals = np.bincount(counts.train.user, counts.train.value)
    spread = np.log(totals)
    assert abs(spread.mean() - np.log(50) + 0.125) < 4 * 0.5 / 20 + 0.02
    assert abs(spread.std() - 0.5) < 4 * 0.5 / 800**0.5 + 0.02
    amounts = RowWorld(Dirichlet(), **whole).simulate(0)  # type: ignore[arg-type]
    np.testing.assert_allclose(np.bincount(amounts.train.user, amounts.train.value), 1.0)
