"""The bilateral model with any predictor and law of popularity: what a run of it answers, recovers and keeps."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from small_popularity import impressions

import pyrorec as pr
from pyrorec.data import FeatureEncoders, InputError, Interactions
from pyrorec.inference.choice import choose
from pyrorec.inference.fit import begin
from pyrorec.inference.item_prior import anchored
from pyrorec.inference.level import matching_shift, one_normal
from pyrorec.inference.scores import pair_surface
from pyrorec.inference.settings_file import model_from_plain, model_to_plain
from pyrorec.inference.train import module_local
from pyrorec.inference.warm_start import start_from
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.laws import parameters
from pyrorec.simulation import FrailtyWorld

QUIET = pr.Context(progress=False)
SHORT = pr.Training(epochs=6, validation_fraction=0.0)
CLICKS = {"factors": 2, "hidden": (6,), "family": pr.Bernoulli()}
COUNTS = {"factors": 2, "hidden": (6,)}
SPECS = {
    "lognormal counts": BilateralModel(popularity=pr.LogNormal(), **COUNTS),
    "exponential clicks of counts": BilateralModel(popularity=pr.Exponential(), binarise=True, **COUNTS),
    "weibull counts": BilateralModel(popularity=pr.Weibull(), activity=pr.Weibull(), **COUNTS),
    "gamma odds": BilateralModel(predictor=pr.Odds(), binarise=True, **CLICKS),
    "gamma saturation": BilateralModel(predictor=pr.ProductSaturation(), binarise=True, **CLICKS),
    "lognormal ratio": BilateralModel(predictor=pr.ProductRatio(), popularity=pr.LogNormal(), binarise=True, **CLICKS),
    "weibull tanh": BilateralModel(predictor=pr.ProductTanh(), popularity=pr.Weibull(), binarise=True, **CLICKS),
}
every_spec = pytest.mark.parametrize("name", SPECS)


@cache
def log() -> Interactions:
    return FrailtyWorld(users=40, items=25, mean_count=0.6, features=False).simulate(2).train


@cache
def run_of(name: str) -> pr.Run:
    return pr.fit(SPECS[name], log(), seed=0, training=SHORT, context=QUIET)


@every_spec
def test_every_question_is_answered(name: str) -> None:
    run = run_of(name)
    answers = {}
    for intervention in (pr.Observe(), pr.Deconfound(), pr.SetPopularity(2.0), pr.Temper(0.5)):
        for reading in (pr.PlugIn(), pr.Predictive(), pr.Thompson(3)):
            table = run.recommend(k=3, intervention=intervention, reading=reading)
            assert np.isfinite(table[["score", "sd", "lower", "upper"]].to_numpy()).all()
            answers[type(intervention).__name__, type(reading).__name__] = table["score"].to_numpy()
    assert not np.allclose(answers["Observe", "PlugIn"], answers["Deconfound", "PlugIn"])
    assert set(pr.diagnose(run)["verdict"]) <= {"good", "doubtful", "bad"}
    drawn = run.to_arviz(4)
    assert bool(np.isfinite(drawn.log_likelihood["value"]).all())
    assert {"popularity", "activity"} <= set(drawn.posterior)


@every_spec
def test_a_run_comes_back_from_disk(name: str, tmp_path: Path) -> None:
    run = run_of(name)
    run.save(tmp_path / "run")
    again = pr.load(tmp_path / "run")
    assert again.spec == run.spec
    assert again.posterior.item_effect.predictor == run.posterior.item_effect.predictor
    for one, other in ((run.posterior.popularity, again.posterior.popularity),
                       (run.posterior.activity, again.posterior.activity),
                       (run.posterior.population, again.posterior.population)):  # fmt: skip
        assert type(one) is type(other)
        assert all(torch.equal(a, b) for a, b in zip(parameters(one), parameters(other), strict=True))


@every_spec
def test_a_copy_of_an_item_folded_in_has_its_popularity(name: str) -> None:
    run = run_of(name)
    frame = run.log.to_frame()[["user_id", "item_id", "value"]]
    copied = frame[frame["item_id"] == frame["item_id"].mode()[0]].assign(item_id="copy")
    known = copied.assign(item_id=copied["item_id"].astype(object))
    log_ = pr.read_interactions(known, duplicates=run.log.rule, to_fit=False)
    folded = pr.fold_in(run, log_)
    mine = folded.posterior.effects("item")
    original = mine.loc[frame["item_id"].mode()[0]]
    copy = mine.loc["copy"]
    assert copy["mean"] == pytest.approx(original["mean"], rel=0.02)
    assert copy["sd"] == pytest.approx(original["sd"], rel=0.02)


@every_spec
def test_a_model_goes_through_its_file(name: str) -> None:
    spec = replace(SPECS[name], posterior=pr.LogNormalPosterior())
    assert model_from_plain(model_to_plain(spec)) == spec


@pytest.mark.parametrize("name", ["lognormal counts", "gamma saturation"])
def test_the_same_seed_gives_the_same_run(name: str) -> None:
    again = pr.fit(SPECS[name], log(), seed=0, training=SHORT, context=QUIET)
    laws = [parameters(run.posterior.popularity) for run in (run_of(name), again)]  # type: ignore[arg-type]
    assert all(torch.equal(one, other) for one, other in zip(*laws, strict=True))


def test_maximum_a_posteriori_keeps_points() -> None:
    for name in ("lognormal counts", "gamma saturation"):
        run = pr.fit(SPECS[name], log(), training=replace(SHORT, objective=pr.MAP()), context=QUIET)
        assert isinstance(run.posterior.popularity, dist.Delta)
        assert bool((run.posterior.popularity.v > 0).all())
        assert np.isfinite(run.recommend(k=2)["score"]).all()


def test_lognormal_effects_let_the_other_side_be_integrated() -> None:
    spec = replace(SPECS["lognormal counts"], activity=pr.LogNormal())
    run = pr.fit(spec, log(), training=replace(SHORT, objective=pr.Integrated()), context=QUIET)
    assert run.metrics[-1]["elbo"] > run.metrics[0]["elbo"]
    integrated = replace(SHORT, objective=pr.Integrated())
    with pytest.raises(InputError, match="adds no normal offset with this posterior"):
        pr.fit(SPECS["weibull counts"], log(), training=integrated, context=QUIET)
    with pytest.raises(InputError, match="adds no normal offset"):
        pr.fit(SPECS["gamma saturation"], log(), training=integrated, context=QUIET)
    drawn = replace(SPECS["lognormal counts"], posterior=pr.InverseGaussianPosterior())
    with pytest.raises(InputError, match="Draws of an inverse Gaussian carry no gradient"):
        pr.fit(drawn, log(), training=SHORT, context=QUIET)


# --- recovery


def simulated(kind: str, seed: int = 1) -> tuple[Interactions, np.ndarray, np.ndarray, float]:
    """300 users and 120 items: log, z of mean one, click probability or rate at z = 1 and average activity, level."""
    random = np.random.default_rng(seed)
    users, items, level = 300, 120, -0.6
    z = np.exp(0.9 * random.standard_normal(items))
    z /= z.mean()
    theta, beta = random.standard_normal((users, 2)), random.standard_normal((items, 2))
    affinity = 0.5 * (theta - theta.mean(0)) @ beta.T
    if kind == "counts":
        activity = random.gamma(4, 0.25, users)
        value = random.poisson(np.exp(level + affinity) * z * (activity / activity.mean())[:, None])
    else:
        p = 1 / (1 + np.exp(-(level + affinity))) * -np.expm1(-z)
        value = (random.random(p.shape) < p).astype(int)
    user, item = np.nonzero(value)
    frame = pd.DataFrame({"user_id": user, "item_id": item, "value": value[user, item]})
    return pr.read_interactions(frame), z, affinity, level


LONG = pr.Training(epochs=60, batch_size=75, learning_rate=0.02, validation_fraction=0.0)


def test_lognormal_popularity_of_counts_is_found_with_its_level_and_spread() -> None:
    log_, z, _, level = simulated("counts")
    run = pr.fit(BilateralModel(factors=2, popularity=pr.LogNormal()), log_, training=LONG, context=QUIET)
    found, true = run.posterior.effects("item"), np.log(z[run.posterior.items])
    logs = np.log(found["mean"])
    assert np.corrcoef(logs, true)[0, 1] > 0.98
    assert np.polyfit(true, logs, 1)[0] == pytest.approx(1.0, abs=0.08)
    assert float((logs - true).mean() + run.posterior.intercept) == pytest.approx(level, abs=0.1)
    assert run.posterior.item_effect.population.scale == pytest.approx(true.std(), abs=0.1)  # type: ignore[union-attr]


def test_popularity_of_a_product_is_found_and_so_is_the_rate_of_a_typical_cell() -> None:
    """The split into match and link is weakly identified (maths 2.1): the order of items and the rates are not."""
    log_, z, affinity, level = simulated("product")
    spec = BilateralModel(factors=2, family=pr.Bernoulli(), predictor=pr.ProductSaturation(), popularity=pr.LogNormal())
    run = pr.fit(spec, log_, training=LONG, context=QUIET)
    found, true = run.posterior.effects("item"), np.log(z[run.posterior.items])
    assert np.corrcoef(np.log(found["mean"]), true)[0, 1] > 0.9
    users, items = np.meshgrid(np.arange(100), run.posterior.items, indexing="ij")
    pairs = pd.DataFrame({"user_id": users.ravel(), "item_id": items.ravel()})
    p = 1 / (1 + np.exp(-(level + affinity[users, items]))) * -np.expm1(-z[items])
    scores = run.score(pairs)["mean"].to_numpy().reshape(p.shape)
    assert scores.mean() == pytest.approx(p.mean(), rel=0.05)
    assert np.corrcoef(scores.ravel(), p.ravel())[0, 1] > 0.8  # means of items alone: 0.70
    within = [(x - x.mean(0)).ravel() for x in (scores, p)]
    assert np.corrcoef(*within)[0, 1] > 0.65


# --- the level of clicks


def test_one_normal_predictor_has_the_level_of_lognormal_popularity() -> None:
    run = pr.fit(replace(SPECS["lognormal counts"], binarise=True), log(), training=SHORT, context=QUIET)
    users, items = (x.ravel() for x in torch.meshgrid(torch.arange(20), torch.arange(20), indexing="ij"))
    cells = pair_surface(run.posterior, pr.Observe(), users, items)
    clicks, ones = torch.full(users.shape, 0.2), torch.ones(users.shape)
    found = [matching_shift(one, clicks, ones) for one in (cells, one_normal(cells))]
    assert found[0] == pytest.approx(found[1], abs=2e-3)


# --- counts


COUNTED = {
    "additive": BilateralModel(predictor=pr.Additive(), source=pr.ExposureCounts(), **CLICKS),
    "frailty": BilateralModel(family=pr.Cloglog(), source=pr.ExposureCounts(), factors=2, hidden=(6,)),
    "lognormal frailty": BilateralModel(
        family=pr.Cloglog(), popularity=pr.LogNormal(), source=pr.ExposureCounts(), factors=2, hidden=(6,)
    ),
    "saturation": BilateralModel(predictor=pr.ProductSaturation(), source=pr.ExposureCounts(), **CLICKS),
}
every_counted = pytest.mark.parametrize("name", COUNTED)


@cache
def counted_run(name: str) -> pr.Run:
    return pr.fit(COUNTED[name], impressions(), training=SHORT, context=QUIET)


@every_counted
def test_items_priors_are_what_their_exposures_say_and_the_population_is_not_learned(name: str) -> None:
    run, found = counted_run(name), anchored(COUNTED[name], impressions())
    prior = run.model.item.effect_prior()  # type: ignore[union-attr]
    for mine, counted in zip(parameters(prior), parameters(found.items.law), strict=True):  # type: ignore[union-attr]
        torch.testing.assert_close(mine, counted.float())
    learned, told = run.posterior.population, found.spec.popularity.population()  # type: ignore[union-attr]
    for mine, counted in zip(parameters(learned), parameters(told), strict=True):  # type: ignore[arg-type]
        torch.testing.assert_close(mine, counted.float(), rtol=1e-5, atol=1e-6)
    assert np.corrcoef(run.posterior.popularity.mean, found.items.law.mean)[0, 1] > 0.6  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "spec", [COUNTED["additive"], COUNTED["frailty"], COUNTED["lognormal frailty"]], ids=lambda s: s.predictor.name
)
def test_items_without_records_keep_their_prior(spec: BilateralModel) -> None:
    """Items of the earlier periods alone: what was counted then is all that is known of them."""
    log_ = impressions()
    cut = np.quantile(log_.timestamp, 0.3)
    gone = np.arange(5)
    log_ = log_.select(np.flatnonzero(~(np.isin(log_.item, gone) & (log_.timestamp >= cut))))
    spec = replace(spec, source=pr.EarlierPeriods(share=0.45))
    run, found = pr.fit(spec, log_, training=SHORT, context=QUIET), anchored(spec, log_)
    silent = np.setdiff1d(np.arange(40), found.log.item)
    assert len(silent) >= 5
    q, p = run.posterior.popularity, found.items.law  # type: ignore[union-attr]
    for mine, counted in zip(parameters(q), parameters(p), strict=True):  # type: ignore[arg-type]
        torch.testing.assert_close(mine[silent], counted[silent].float(), rtol=1e-4, atol=1e-5)
        loud = np.setdiff1d(np.arange(40), silent)
        assert not torch.allclose(mine[loud], counted[loud].float(), rtol=1e-2)


@every_counted
def test_a_counted_run_comes_back_and_takes_new_items(name: str, tmp_path: Path) -> None:
    run = counted_run(name)
    run.save(tmp_path / "run")
    again = pr.load(tmp_path / "run")
    torch.testing.assert_close(again.model.item.own, run.model.item.own, rtol=0, atol=0)  # type: ignore[union-attr]
    frame = pd.DataFrame({"user_id": run.log.users[:8], "item_id": [1_000] * 8, "value": [1.0, 0, 1, 1, 0, 1, 0, 0]})
    folded = pr.fold_in(again, pr.read_interactions(frame, to_fit=False, duplicates=run.log.rule))
    assert folded.posterior.items[-1] == 1_000
    torch.testing.assert_close(folded.model.item.own[-1], run.model.item.own[-1])  # type: ignore[union-attr]
    torch.testing.assert_close(folded.model.item.own[-2], run.model.item.own[-1])  # type: ignore[union-attr]
    law, population = folded.posterior.popularity, run.posterior.population
    assert law.variance[-1] < population.variance  # type: ignore[union-attr]


def test_a_warm_start_keeps_the_new_counts() -> None:
    run, half = counted_run("saturation"), impressions().select(np.arange(0, len(impressions()), 2))
    with module_local():
        fitting = begin(COUNTED["saturation"], half, None, SHORT, QUIET, FeatureEncoders.fit(half))
        before = fitting.model.item.own.clone()
        start_from(fitting, half, run)
    assert torch.equal(fitting.model.item.own, before)
    assert not torch.allclose(before, run.model.item.own, rtol=1e-2)  # type: ignore[union-attr]
    assert torch.equal(fitting.model.level.intercept, run.model.level.intercept)


def test_what_would_count_the_same_data_twice_is_refused() -> None:
    with pytest.raises(InputError, match="Exposure counts may be the prior only where outcomes are modelled given"):
        pr.fit(replace(SPECS["gamma odds"], source=pr.ExposureCounts()), log(), training=SHORT, context=QUIET)
    earlier = replace(COUNTED["additive"], source=pr.EarlierPeriods())
    run = pr.fit(earlier, impressions(), training=replace(SHORT, epochs=1), context=QUIET)
    with pytest.raises(InputError, match="New cells would move the line between the periods"):
        pr.fold_in(run, impressions())


# --- choosing


def test_a_predictor_that_is_named_moves_the_rest_to_what_fits_it() -> None:
    for predictor in (pr.ProductRatio(), pr.Odds()):
        model = choose(log().binarised(), predictor=predictor).model
        assert (model.family, model.binarise) == (pr.Bernoulli(), True)
    both = choose(log(), predictor=pr.ProductRatio(), popularity=pr.LogNormal(), activity=pr.LogNormal(), binarise=True)
    assert (both.model.popularity, both.model.activity) == (pr.LogNormal(), pr.Normal())  # type: ignore[union-attr]
    assert choose(log(), popularity=pr.LogNormal()).model.activity == pr.LogNormal()  # type: ignore[union-attr]
