"""A short form of the studies of recovery and of estimators: what is fitted is found, as far as it can be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import estimators
from benchmarks.recovery import designs, information, product, settings
from pyrorec.inference.train import module_local
from pyrorec.models.affinities import Dot


@pytest.mark.parametrize("name", ["additive, clicks", "log-additive, counts"])
def test_parameters_are_found_within_four_standard_errors(name: str) -> None:
    """20,000 interactions of 200 items: every se is small, and every estimate lies within four of the truth."""
    found = designs.DESIGNS[name].run(20_000, 1, replace(settings.TRAINING, epochs=30))
    assert np.abs((found.found - found.truth) / found.se).max() < 4.0
    assert np.abs((found.found - found.drawn) / found.drawn_se).max() < 4.0
    assert found.drawn_se.max() < 0.05


def test_information_on_the_split_of_a_product_falls_with_the_third_power_of_the_click_rate() -> None:
    table = product.split_table()
    assert product.exponent(table) == pytest.approx(3.3, abs=0.1)
    assert product.exponent(table.iloc[2:]) == pytest.approx(3.0, abs=0.1)
    assert table["records for sd .1"].iloc[-1] > 1e10


def test_information_of_items_with_unknown_effects_by_the_whole_matrix() -> None:
    """X'V^-1 X with V = W^-1 + variance of the item, formed without its inverse being known."""
    rng = np.random.default_rng(0)
    x, weight, item = rng.standard_normal((12, 2)), rng.uniform(0.5, 2, 12), np.arange(12) % 3
    variance = np.array([0.3, 1.0, 0.01])
    covariance = np.diag(1 / weight) + (item[:, None] == item) * variance[item]
    padded = np.r_[variance, np.ones(settings.ITEMS - 3)]
    got = information.information(x, weight, item, padded)
    np.testing.assert_allclose(got, x.T @ np.linalg.solve(covariance, x), rtol=1e-10)


def test_the_less_an_estimator_draws_the_less_its_gradient_varies() -> None:
    spec = replace(estimators.TRIPLES["normal / normal / additive"], affinity=Dot(factors=0))
    with torch.random.fork_rng(devices=[]), module_local():
        found = {name: estimators.draws(spec, o, 40) for name, o in estimators.OBJECTIVES.items()}
    spread = [x.var(0).sum() for x in found.values()]
    assert spread[0] < 1e-12
    assert spread[1] < spread[2] < 0.5 * spread[3]
    for x in list(found.values())[1:]:
        assert (np.abs(x.mean(0) - found["Expected"][0]) < 4.5 * x.std(0) / 40**0.5).all()
