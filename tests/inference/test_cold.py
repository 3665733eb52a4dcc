"""Users and items that a run does not know: factors from a ridge regression, effects from the population."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch

import pyrorec as pr
from pyrorec.inference.cold import extend
from pyrorec.inference.factor_features import strangers_features
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.scores import Reading
from pyrorec.simulation import FrailtyWorld

PENALTY = 10.0
NOBODY = pd.Index([])


@pytest.fixture(scope="module")
def run() -> pr.Run:
    """A fit whose item table knows three items that the log does not: a twin, an outlier, one of unknown genre."""
    log = FrailtyWorld(users=60, items=40, mean_count=0.5).simulate(2).train
    table = log.item_features
    assert table is not None
    twin = table.loc[log.items[4]]
    more = pd.DataFrame(
        {
            "year": [twin["year"], 2030.0, np.nan],
            "minutes": [twin["minutes"], 200.0, 80.0],
            "genre": [twin["genre"], "crime", None],
        },
        index=pd.Index(["twin", "outlier", "partly"], name="item_id"),
    )
    log = replace(log, item_features=pd.concat([table, more]))
    spec, short = pr.BilateralModel(factors=3, hidden=(8,)), pr.Training(epochs=15)
    return pr.fit(spec, log, training=short, context=pr.Context(progress=False))


def design(table: pd.DataFrame, ids: pd.Index) -> np.ndarray:
    """Numbers standardised over the whole table, one column per category; what is missing is zero."""
    numbers = table[["year", "minutes"]]
    numbers = ((numbers - numbers.mean()) / numbers.std(ddof=0)).fillna(0.0)
    genres = pd.get_dummies(table["genre"]).astype(float)
    return pd.concat([numbers, genres], axis=1).reindex(ids).fillna(0.0).to_numpy()


def by_hand(run: pr.Run, new: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of new items' factors: the known items' mean, plus (X'X + 10 I)^-1 X'(B - mean) at their features."""
    table, b = run.log.item_features, run.posterior.item_mean.double().numpy()
    assert table is not None
    known = design(table, run.log.items)
    weights = np.linalg.inv(known.T @ known + PENALTY * np.eye(known.shape[1])) @ known.T @ (b - b.mean(0))
    residual = b - b.mean(0) - known @ weights
    own = (run.posterior.item_sd.double().numpy() ** 2).mean(0)
    return b.mean(0) + design(table, new) @ weights, np.sqrt(residual.var(0) + own)


def with_items(run: pr.Run, new: pd.Index, features: bool = True) -> Posterior:
    return extend(run.posterior, NOBODY, new, None, strangers_features(run, "item") if features else None)


def test_factors_of_a_new_item_follow_the_ridge_formula(run: pr.Run) -> None:
    new = pd.Index(["outlier", "partly", "twin"])
    mean, sd = by_hand(run, new)
    found = with_items(run, new)
    assert list(found.items) == [*run.log.items, *new]
    np.testing.assert_allclose(found.item_mean[-3:], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.item_sd[-3:], np.tile(sd, (3, 1)), rtol=1e-4)
    assert np.abs(mean - run.posterior.item_mean.numpy().mean(0)).max() > 0.05  # features say something here


def test_an_item_like_a_known_one_is_drawn_towards_it(run: pr.Run) -> None:
    """The twin gets the fitted value of its sibling, which is nearer to it on average than the mean of all."""
    known = design(run.log.item_features, run.log.items)  # type: ignore[arg-type]
    b = run.posterior.item_mean.double().numpy() - run.posterior.item_mean.double().numpy().mean(0)
    hat = known @ np.linalg.solve(known.T @ known + PENALTY * np.eye(known.shape[1]), known.T)
    twin = with_items(run, pd.Index(["twin"])).item_mean[-1].double().numpy()
    np.testing.assert_allclose(twin - run.posterior.item_mean.double().numpy().mean(0), (hat @ b)[4], atol=1e-5)
    assert ((hat @ b - b) ** 2).sum() < (b**2).sum()


def test_a_listed_item_is_scored_from_its_features(run: pr.Run) -> None:
    """Plug-in under SetPopularity(1), which leaves level, activity and the ridge's factors."""
    p, (mean, _) = run.posterior, by_hand(run, pd.Index(["twin", "outlier"]))
    assert isinstance(p.activity, dist.Gamma)
    a, b = p.activity.concentration.double().numpy(), p.activity.rate.double().numpy()
    level = np.exp(float(p.intercept)) * a / b / np.sqrt(1 + 1 / a)
    expected = level[:, None] * np.exp(p.user_mean.double().numpy() @ mean.T)
    pairs = pd.DataFrame({"user_id": np.repeat(run.log.users, 2), "item_id": ["twin", "outlier"] * run.log.n_users})
    scored = run.score(pairs, pr.SetPopularity(1.0), pr.PlugIn())
    np.testing.assert_allclose(scored["mean"], expected.ravel(), rtol=1e-4)


def test_without_features_a_stranger_has_the_population_mean_and_spread(run: pr.Run) -> None:
    p, new = run.posterior, pd.Index(["a", "b"])
    found = extend(p, new, new)
    for name in ("user", "item"):
        mean, sd = (getattr(p, f"{name}_{moment}").double().numpy() for moment in ("mean", "sd"))
        spread = np.sqrt(mean.var(0) + (sd**2).mean(0))
        np.testing.assert_allclose(getattr(found, f"{name}_mean")[-2:], np.tile(mean.mean(0), (2, 1)), atol=1e-6)
        np.testing.assert_allclose(getattr(found, f"{name}_sd")[-2:], np.tile(spread, (2, 1)), rtol=1e-5)


def test_a_spread_without_features_exceeds_the_one_with_them(run: pr.Run) -> None:
    new = pd.Index(["twin"])
    with_, without = with_items(run, new), with_items(run, new, features=False)
    assert (with_.item_sd[-1] < without.item_sd[-1]).all()


def test_an_item_the_table_lacks_has_the_mean_of_the_known_ones(run: pr.Run) -> None:
    found = with_items(run, pd.Index(["nowhere"]))
    np.testing.assert_allclose(found.item_mean[-1], run.posterior.item_mean.mean(0), atol=1e-6)


def test_known_rows_stay_as_they_are(run: pr.Run) -> None:
    found, p = with_items(run, pd.Index(["twin", "new"])), run.posterior
    n = len(p.items)
    assert torch.equal(found.item_mean[:n], p.item_mean)
    assert torch.equal(found.item_sd[:n], p.item_sd)
    assert torch.equal(found.popularity.mean[:n], p.popularity.mean)  # type: ignore[union-attr]
    assert torch.equal(found.user_mean, p.user_mean)
    assert torch.equal(found.activity.mean, p.activity.mean)  # type: ignore[union-attr]


def test_a_strangers_effect_is_the_population(run: pr.Run) -> None:
    found = extend(run.posterior, pd.Index(["nobody"]), pd.Index(["x", "y"]))
    for law, population, new in (
        (found.popularity, run.posterior.population, 2),
        (found.activity, run.posterior.user_effect.population, 1),
    ):
        assert isinstance(law, dist.Gamma)
        assert isinstance(population, dist.Gamma)
        assert float(population.concentration) == float(population.rate)
        assert law.concentration[-new:].tolist() == [float(population.concentration)] * new
        assert law.rate[-new:].tolist() == [float(population.rate)] * new


def test_a_normal_popularity_is_extended_by_its_population(run: pr.Run) -> None:
    law = dist.Normal(torch.tensor([2.0, -1.0]), torch.tensor([0.1, 0.2]))
    population = dist.Normal(torch.tensor(0.25), torch.tensor(1.5))
    effect = replace(run.posterior.item_effect, law=law, population=population)
    found = extend(replace(run.posterior, item_effect=effect), NOBODY, pd.Index(["x"])).popularity
    assert isinstance(found, dist.Normal)
    assert found.loc.tolist() == [2.0, -1.0, 0.25]
    np.testing.assert_allclose(found.scale, [0.1, 0.2, 1.5])


def test_a_point_popularity_is_extended_by_the_populations_mean(run: pr.Run) -> None:
    effect = replace(run.posterior.item_effect, law=dist.Delta(torch.tensor([0.3, 4.0])))
    found = extend(replace(run.posterior, item_effect=effect), NOBODY, pd.Index(["x"])).popularity
    assert isinstance(found, dist.Delta)
    np.testing.assert_allclose(found.v, [0.3, 4.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize(
    "intervention", [pr.Observe(), pr.Deconfound(), pr.SetPopularity({"twin": 3.0}), pr.Temper(0.5)]
)
@pytest.mark.parametrize("reading", [pr.PlugIn(), pr.Predictive(), pr.Quantile(0.9), pr.Thompson(0)])
def test_strangers_have_finite_scores(run: pr.Run, intervention: pr.Intervention, reading: Reading) -> None:
    asked = dict(users=["u001", "nobody"], items=["i001", "twin", "outlier", "partly", "nothing"])
    table = run.recommend(**asked, k=5, intervention=intervention, reading=reading, include_seen=True)
    assert len(table) == 10
    assert np.isfinite(table[["score", "sd", "lower", "upper"]]).all(axis=None)
    assert (table["score"] > 0).all()


def test_ids_of_another_type_are_strangers(run: pr.Run) -> None:
    """Whole numbers beside text ids are appended as they are."""
    table = run.recommend(users=[7], k=1)
    assert table["user_id"].tolist() == [7]
    assert "(the first is 7)" in table.attrs["notes"][0]
