"""What a fitted popularity model answers: its posterior as factors, interventions, products, cold items, base rates."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from small_popularity import SHORT, SMALL, fitted, impressions
from torch import Tensor

from pyrorec.data import InputError, Interactions
from pyrorec.inference.cold import extend
from pyrorec.inference.intervention import Deconfound, Observe, SetPopularity, Temper, power
from pyrorec.inference.level import ShiftPrior
from pyrorec.inference.posterior import Effect, Posterior, quantiles
from pyrorec.inference.recalibrate import (
    as_fitted,
    level_by_propensity,
    recalibrate,
    shift_by_propensity,
)
from pyrorec.inference.run import Run
from pyrorec.inference.scores import (
    PlugIn,
    Predictive,
    ProductSurface,
    Quantile,
    Surface,
    Thompson,
    pair_surface,
    surface,
)
from pyrorec.inference.uncertainty import variance_parts
from pyrorec.models.distributions import Exponential, LogNormal, Scale
from pyrorec.models.families import Cloglog, Gaussian
from pyrorec.models.moments import mean_log, variance_log
from pyrorec.models.popularity import Popularity, PopularityModel
from pyrorec.models.posterior_families import LogNormalPosterior, WeibullPosterior
from pyrorec.models.predictors import LogAdditive, Odds, Predictor, ProductRatio, ProductSaturation
from pyrorec.models.sharing import PerInteraction, PerPeriod

DRAWS = 20_000
RATES = {"predictor": LogAdditive(), "family": Cloglog(), "affinity": SMALL}
MODELS = {
    "additive": PopularityModel(affinity=SMALL),
    "gamma": PopularityModel(**RATES),  # type: ignore[arg-type]
    "lognormal": PopularityModel(**RATES, popularity=LogNormal(), posterior=LogNormalPosterior()),  # type: ignore[arg-type]
    "weibull": PopularityModel(**RATES, popularity=Exponential(), posterior=WeibullPosterior()),  # type: ignore[arg-type]
    "exponential": PopularityModel(**RATES, popularity=Exponential(), sharing=PerInteraction()),  # type: ignore[arg-type]
    "odds": PopularityModel(affinity=SMALL, predictor=Odds()),
    "product": PopularityModel(affinity=SMALL, predictor=ProductRatio()),
    "product, lognormal": PopularityModel(
        affinity=SMALL, predictor=ProductSaturation(), popularity=LogNormal(), posterior=LogNormalPosterior()
    ),
    "period": PopularityModel(affinity=SMALL, sharing=PerPeriod(periods=2)),
}
RATE_NAMES = ("gamma", "lognormal", "weibull", "exponential", "odds")
PAIRS = impressions().to_frame().iloc[::40][["user_id", "item_id"]].reset_index(drop=True)


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    """Every model after eight epochs: far enough to tell items apart, and still unsure."""
    return {name: fitted(model, impressions(), replace(SHORT, epochs=8)) for name, model in MODELS.items()}


def cells_of(run: Run, posterior: Posterior | None = None) -> tuple[Tensor, Tensor]:
    kept = posterior or run.posterior
    return (
        torch.as_tensor(kept.users.get_indexer(PAIRS["user_id"])),
        torch.as_tensor(kept.items.get_indexer(PAIRS["item_id"])),
    )


def law_of(run: Run) -> dist.TorchDistribution:
    assert run.posterior.popularity is not None
    return run.posterior.popularity


# --- the posterior as factors and effects


def weights_drawn(run: Run, n: int) -> list[dict[str, Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return [{site: law.sample() for site, law in run.guide.laws().items()} for _ in range(n)]  # type: ignore[union-attr, operator]


def affinity_of(model: Popularity, values: dict[str, Tensor], users: Tensor, items: Tensor) -> Tensor:
    """b0 + a_ui as the generative model computes it."""
    left, right = model.user.vectors(values, users), model.item.vectors(values, items)
    own = model.user.offsets(values, users) + model.item.offsets(values, items)
    return model.level.intercept + own + (left * right).sum(-1)


@torch.no_grad()
def test_affinity_of_the_posterior_is_the_models_at_posterior_means(runs: dict[str, Run]) -> None:
    """For every pair of a factorisation machine with features on both sides."""
    run = runs["period"]
    model = run.model
    assert isinstance(model, Popularity)
    assert {"user_feature_factors", "item_feature_factors", "item_weights", "item_effect"} <= set(
        {**model.user.shapes, **model.item.shapes}
    )
    users, items = torch.meshgrid(torch.arange(60), torch.arange(40), indexing="ij")
    means = {site: law.mean for site, law in run.guide.laws().items()}  # type: ignore[union-attr, operator]
    expected = affinity_of(model, means, users.flatten(), items.flatten())
    found = run.posterior.linear_mean(torch.arange(60))
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-5, atol=1e-5)
    pairs = run.posterior.pair_mean(users.flatten(), items.flatten())
    torch.testing.assert_close(pairs, expected, rtol=1e-5, atol=1e-5)
    assert float(expected.std()) > 0.1
    assert float(run.posterior.user_mean[:, : run.spec.factors].mean(0).abs().max()) < 1e-5, "users are centred"


@torch.no_grad()
def test_variances_of_the_rows_are_those_of_drawn_weights(runs: dict[str, Run]) -> None:
    """Of vectors and offsets, quadratic feature terms included, within four standard errors of a variance."""
    run = runs["period"]
    model, n, k = run.model, 800, run.spec.factors
    assert isinstance(model, Popularity)
    drawn = weights_drawn(run, n)
    for side, sd in ((model.user, run.posterior.user_sd), (model.item, run.posterior.item_sd)):
        rows = torch.arange(side.size)
        vectors = torch.stack([side.vectors(v, rows) for v in drawn]).numpy()
        offsets = torch.stack([side.offsets(v, rows) for v in drawn]).numpy()
        column = k if side is model.user else k + 1
        assert not sd[:, 2 * k + 1 - column].any(), "the column of ones has no spread"
        for draws, claimed in ((vectors, sd[:, :k].numpy()), (offsets, sd[:, column].numpy())):
            squares = (draws - draws.mean(0)) ** 2
            error = squares.std(0) / math.sqrt(n)
            assert (np.abs(squares.mean(0) - claimed**2) < 4.5 * error + 1e-7).all()


def test_popularity_of_an_item_is_that_of_its_last_period_or_its_prior(runs: dict[str, Run]) -> None:
    guide, model = runs["period"].guide, runs["period"].model
    with torch.no_grad():
        last = guide.popularity_law(model, 2 * torch.arange(40) + 1)  # type: ignore[operator, union-attr]
    assert torch.equal(law_of(runs["period"]).mean, last.mean)
    own = law_of(runs["exponential"])
    assert isinstance(own, dist.Exponential), "each interaction has its own, and an item only the population's"
    assert torch.equal(own.rate, torch.ones(40))


@pytest.mark.parametrize("name", MODELS)
def test_draws_and_effects_follow_the_law_of_popularity(runs: dict[str, Run], name: str) -> None:
    posterior, law = runs[name].posterior, law_of(runs[name])
    draws = posterior.draws(DRAWS, seed=3)
    assert set(draws) == {"user_factors", "item_factors", "popularity"}
    z = draws["popularity"].astype(float)
    assert z.shape == (DRAWS, 40)
    assert (np.abs(z.mean(0) - law.mean.numpy()) < 4.5 * z.std(0) / math.sqrt(DRAWS)).all()
    table = posterior.effects("item", level=0.8)
    for column, p in (("lower", 0.1), ("upper", 0.9)):
        below = (z < table[column].to_numpy()).mean(0)
        assert (np.abs(below - p) < 4.5 * math.sqrt(p * (1 - p) / DRAWS)).all(), column
    np.testing.assert_allclose(table["mean"], law.mean, rtol=1e-6)
    with pytest.raises(ValueError, match="no effect on the user side"):
        posterior.effects("user")


@pytest.mark.parametrize("name", MODELS)
def test_a_joint_draw_fixes_popularity_row_by_row(runs: dict[str, Run], name: str) -> None:
    """And rows of unknown items appended to it leave the others as they were."""
    posterior = runs[name].posterior
    drawn, longer = posterior.draw(2), extend(posterior, pd.Index(["new"]), pd.Index(["a", "b"])).draw(2)
    assert isinstance(drawn.popularity, dist.Delta)
    assert isinstance(longer.popularity, dist.Delta)
    assert torch.equal(drawn.popularity.v, longer.popularity.v[:40])
    many = np.array([posterior.draw(seed).popularity.v.numpy() for seed in range(300)])  # type: ignore[union-attr]
    law = law_of(runs[name])
    assert (np.abs(many.mean(0) - law.mean.numpy()) < 4.5 * many.std(0) / math.sqrt(300)).all()


@pytest.mark.parametrize("name", MODELS)
def test_an_unknown_item_has_the_populations_popularity(runs: dict[str, Run], name: str) -> None:
    """By its mean and that of log z on the rate scale; and it is scored, not dropped."""
    run = runs[name]
    law = extend(run.posterior, pd.Index([]), pd.Index(["new"])).popularity
    population = run.posterior.population
    assert law is not None
    assert population is not None
    assert law.batch_shape == (41,)
    assert torch.equal(law.mean[:40], law_of(run).mean)
    if run.spec.predictor.scale is Scale.LOG:
        assert (float(law.mean[40]), float(law.variance[40])) == pytest.approx((0.0, 1.0))
    else:
        assert float(mean_log(law)[40]) == pytest.approx(float(mean_log(population)), abs=1e-4)
        if not isinstance(law, dist.Gamma):
            assert float(variance_log(law)[40]) == pytest.approx(float(variance_log(population)), rel=1e-4)
        else:
            assert float(law.mean[40]) == pytest.approx(1.0, rel=1e-4)
    scored = run.score(pd.DataFrame({"user_id": [0, "stranger"], "item_id": ["new", 3]}))
    assert np.isfinite(scored[["mean", "sd", "lower", "upper"]]).all(axis=None)
    assert "unknown to the run" in scored.attrs["notes"][0]


# --- interventions


@pytest.mark.parametrize("name", MODELS)
def test_every_question_and_reading_is_answered(runs: dict[str, Run], name: str) -> None:
    """With probabilities that grow with the popularity that is set."""
    run = runs[name]
    users, items = cells_of(run)
    questions = [Observe(), Deconfound(), SetPopularity(0.5), SetPopularity(2.0), Temper(0.0), Temper(0.5)]
    for question in questions:
        cells = pair_surface(run.posterior, question, users, items)
        for reading in (PlugIn(), Predictive(), Quantile(0.2)):
            p = reading.score(cells)
            assert bool(((p > 0) & (p < 1)).all()), (question, reading)
        low, high = cells.quantile(0.05), cells.quantile(0.95)
        assert bool(((low <= high) & (cells.sd() >= 0)).all()), question
        drawn = Thompson(1).prepare(run.posterior)
        assert bool(torch.isfinite(Thompson(1).score(pair_surface(drawn, question, users, items))).all()), question
    less, more = (PlugIn().score(pair_surface(run.posterior, q, users, items)) for q in questions[2:4])
    assert bool((more > less).all())


@pytest.mark.parametrize("name", MODELS)
def test_temper_of_one_is_observe_and_of_zero_ranks_as_deconfound(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    everyone = torch.arange(60)
    one, observe, none, do = (
        PlugIn().score(surface(run.posterior, question, everyone))
        for question in (Temper(1.0), Observe(), Temper(0.0), Deconfound())
    )
    torch.testing.assert_close(one, observe, rtol=1e-4, atol=1e-6)
    affinity = run.posterior.linear_mean(everyone)
    for p in (none, do):
        order = affinity.argsort(-1)
        assert bool((p.gather(-1, order).diff(dim=-1) >= -1e-6).all()), "affinity alone decides (maths 1.4)"


@pytest.mark.parametrize("weight", [0.3, 1.0, 2.5])
@pytest.mark.parametrize(
    "law",
    [dist.LogNormal(torch.tensor([0.2]), torch.tensor([0.6])), dist.Weibull(torch.tensor([1.4]), torch.tensor([1.7])),
     dist.Exponential(torch.tensor([0.8]))],
    ids=lambda law: type(law).__name__,
)  # fmt: skip
def test_powers_of_lognormal_weibull_and_exponential_are_exact(law: dist.TorchDistribution, weight: float) -> None:
    """Each quantile of z^w is the power of that of z."""
    powered = power(law, weight, Scale.RATE)
    assert powered is not None
    for p in (0.03, 0.5, 0.9):
        expected = float(quantiles(law, p)) ** weight
        assert float(quantiles(powered, p)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["additive", "gamma", "lognormal", "weibull", "odds"])
def test_all_of_popularity_taken_for_quality_is_observe(runs: dict[str, Run], name: str) -> None:
    """And Deconfound() itself where none of it is."""
    posterior, everyone = runs[name].posterior, torch.arange(60)
    for reading in (PlugIn(), Predictive()):
        observe = reading.score(surface(posterior, Observe(), everyone))
        whole = reading.score(surface(posterior, Deconfound(quality_share=1.0), everyone))
        none = reading.score(surface(posterior, Deconfound(quality_share=0.0), everyone))
        do = reading.score(surface(posterior, Deconfound(), everyone))
        assert torch.equal(none, do)
        assert torch.equal(whole, observe)
        assert float((observe - do).abs().max()) > 0.01
    nearly = Predictive().score(surface(posterior, Deconfound(quality_share=0.9999), everyone))
    torch.testing.assert_close(nearly, observe, rtol=0.01, atol=1e-4)


def test_a_share_of_quality_moves_the_linear_predictor_in_proportion(runs: dict[str, Run]) -> None:
    posterior, everyone = runs["additive"].posterior, torch.arange(60)
    location, spread = posterior.item_effect.predictor.offset_moments(law_of(runs["additive"]))  # type: ignore[attr-defined]
    plain = surface(posterior, Deconfound(), everyone)
    for share in (0.25, 0.8):
        kept = surface(posterior, Deconfound(quality_share=share), everyone)
        torch.testing.assert_close(kept.mean - plain.mean, (share * location).expand(60, 40), rtol=0, atol=1e-5)
        added = kept.variance - plain.variance
        torch.testing.assert_close(added, (share**2 * spread).expand(60, 40), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["gamma", "lognormal", "weibull", "odds"])
def test_a_share_of_a_rate_is_a_power_of_it_beside_the_rest_of_the_population(runs: dict[str, Run], name: str) -> None:
    """Mean and variance of z_i^s z^(1 - s), by draws of both within four standard errors."""
    posterior = runs[name].posterior
    own, population = law_of(runs[name]), posterior.population
    assert population is not None
    for share in (0.25, 0.8):
        law: Any = Deconfound(quality_share=share).popularity(posterior).law
        drawn = own.sample((40_000,)).double() ** share * population.sample((40_000, 1)).double() ** (1 - share)
        error = 4.5 * drawn.std(0) / 200
        assert bool(((law.mean - drawn.mean(0)).abs() < error + 2e-3 * law.mean).all())
        np.testing.assert_allclose(law.stddev, drawn.std(0), rtol=0.15)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(InputError, match="quality share lies between 0 and 1"):
        Deconfound(quality_share=share)


def test_a_product_has_no_offset_to_share(runs: dict[str, Run]) -> None:
    with pytest.raises(InputError, match="product-ratio has no offset"):
        surface(runs["product"].posterior, Deconfound(quality_share=0.5), torch.arange(2))
    surface(runs["product"].posterior, Deconfound(quality_share=0.0), torch.arange(2))


# --- products against draws


PRODUCT_LAWS: dict[str, tuple[Predictor, dist.TorchDistribution]] = {
    "gamma": (ProductRatio(midpoint=0.7), dist.Gamma(torch.tensor([0.8, 3.0, 20.0]), torch.tensor([1.0, 2.0, 30.0]))),
    "lognormal": (
        ProductSaturation(saturation=0.9),
        dist.LogNormal(torch.tensor([-0.5, 0.2, 1.0]), torch.tensor([0.9, 0.4, 0.1])),
    ),
    "weibull": (ProductRatio(midpoint=2.0), dist.Weibull(torch.tensor([0.5, 1.0, 3.0]), torch.tensor([0.9, 2.0, 8.0]))),
}


@pytest.mark.parametrize("name", PRODUCT_LAWS)
def test_moments_and_quantiles_of_a_product_are_those_of_draws(name: str) -> None:
    predictor, law = PRODUCT_LAWS[name]
    rng = np.random.default_rng(2)
    k = 2
    p = Posterior(
        users=pd.RangeIndex(4),
        items=pd.RangeIndex(3),
        user_mean=torch.as_tensor(rng.normal(size=(4, k))),
        user_sd=torch.zeros(4, k, dtype=torch.float64),
        item_mean=torch.as_tensor(rng.normal(size=(3, k))),
        item_sd=torch.full((3, k), 0.5, dtype=torch.float64),
        intercept=torch.tensor(0.3, dtype=torch.float64),
        user_effect=Effect(None, None, predictor),
        item_effect=Effect(law, dist.Gamma(torch.tensor(1.0), torch.tensor(1.0)), predictor),
        response=PopularityModel().family,
    )
    cells = surface(p, Observe(), torch.arange(4))
    assert isinstance(cells, ProductSurface)
    n = 40_000
    eta = cells.mean.numpy() + cells.variance.sqrt().numpy() * rng.standard_normal((n, 4, 3))
    torch.manual_seed(0)
    z = law.sample((n, 1)).double()
    drawn = predictor.mean(p.response, torch.as_tensor(eta), z).numpy()
    mean = Predictive().score(cells).numpy()
    assert (np.abs(mean - drawn.mean(0)) < 4.5 * drawn.std(0) / math.sqrt(n)).all()
    squares = (drawn - drawn.mean(0)) ** 2
    assert (np.abs(cells.sd().numpy() ** 2 - squares.mean(0)) < 4.5 * squares.std(0) / math.sqrt(n) + 1e-6).all()
    for level in (0.05, 0.5, 0.95):
        below = (drawn <= cells.quantile(level).numpy()).mean(0)
        assert np.abs(below - level).max() < 0.02 + 4 * math.sqrt(level * (1 - level) / n), level
    averaged = surface(p, Deconfound(), torch.arange(4))
    assert float(averaged.sd().max()) < float(cells.sd().max()), "a population averaged over is no uncertainty"


# --- the base rate


@pytest.fixture(scope="module")
def sample() -> Interactions:
    """A sample of random pairs with other clicks than the log's: one in five."""
    rng = np.random.default_rng(4)
    log = impressions()
    flat = rng.choice(log.n_users * log.n_items, 300, replace=False)
    return replace(
        log,
        user=flat // log.n_items,
        item=flat % log.n_items,
        value=(rng.random(300) < 0.2).astype(float),
        trials=np.ones(300),
        timestamp=None,
        propensity=None,
    )


@pytest.mark.parametrize("name", ["additive", "lognormal"])
@pytest.mark.parametrize("intervention", [Observe(), Deconfound()], ids=lambda i: type(i).__name__)
def test_a_recalibrated_run_expects_the_clicks_of_the_sample(
    runs: dict[str, Run], sample: Interactions, name: str, intervention: Observe | Deconfound
) -> None:
    run = runs[name]
    corrected = recalibrate(run, sample, intervention)
    pairs = sample.to_frame()[["user_id", "item_id"]]
    expected = corrected.score(pairs, intervention)["mean"].sum()
    assert expected == pytest.approx(sample.value.sum(), rel=0.03), "nearly: the most probable shift weighs cells"
    assert abs(run.score(pairs, intervention)["mean"].sum() / sample.value.sum() - 1) > 0.05
    before, after = (PlugIn().score(surface(r.posterior, intervention, torch.arange(60))) for r in (run, corrected))
    order = before.argsort(-1)
    if isinstance(intervention, Deconfound):
        assert bool((after.gather(-1, order).diff(dim=-1) >= -1e-7).all()), "rankings do not change"
    else:
        alike = [stats.spearmanr(b, a).statistic for b, a in zip(before, after, strict=True)]
        assert min(alike) > 0.98, "only items that are unequally known change places"
    assert run.posterior.level_shift == 0.0, "the run itself stays as it was"


@pytest.mark.parametrize("name", ["additive", "lognormal", "product"])
@pytest.mark.parametrize("prior", [ShiftPrior(), ShiftPrior(0.3, 0.4)], ids=["flat", "prior"])
def test_the_shift_is_the_mode_of_its_posterior_with_its_sd(
    runs: dict[str, Run], sample: Interactions, name: str, prior: ShiftPrior, caplog: pytest.LogCaptureFixture
) -> None:
    """Against the posterior on a grid, where popularity is averaged over and p' is far from p (1 - p)."""
    run = runs[name]
    with caplog.at_level(logging.INFO, logger="pyrorec"):
        corrected = recalibrate(run, sample, Deconfound(), prior)
    cells = pair_surface(run.posterior, Deconfound(), torch.as_tensor(sample.user), torch.as_tensor(sample.item))
    grid = torch.linspace(-2.4, 1.6, 61, dtype=torch.float64)
    value = torch.as_tensor(sample.value)
    density = []
    for shift in grid.tolist():
        p = Predictive().score(replace(cells, mean=cells.mean + shift)).double()
        density.append(float((value * p.log() + (1 - value) * torch.log1p(-p)).sum()))
    log_density = torch.tensor(density) - ((grid - prior.mean) / prior.sd) ** 2 / 2
    weight = torch.softmax(log_density, 0)
    mean = float(weight @ grid)
    sd = float(weight @ (grid - mean) ** 2) ** 0.5
    at = int(log_density.argmax())
    below, top, above = log_density[at - 1 : at + 2].tolist()
    mode = float(grid[at]) + float(grid[1] - grid[0]) * 0.5 * (below - above) / (below - 2 * top + above)
    assert corrected.posterior.recalibration == pytest.approx(mode, abs=5e-3)
    told = float(caplog.messages[0].split("(sd ")[1].split(")")[0])
    assert told == pytest.approx(sd, rel=0.12), "the expected information, where the grid has the curve itself"


@pytest.mark.parametrize("prior", [None, ShiftPrior(0.5, 0.1)], ids=["flat", "prior"])
def test_the_same_sample_twice_changes_nothing(
    runs: dict[str, Run], sample: Interactions, prior: ShiftPrior | None
) -> None:
    """A recalibration starts from the fit, whatever an earlier one did."""
    once = recalibrate(runs["additive"], sample, prior=prior)
    again = recalibrate(once, sample, prior=prior)
    assert again.posterior.level_shift == pytest.approx(once.posterior.level_shift, abs=1e-6)
    assert once.posterior.recalibration != 0
    assert as_fitted(again).posterior.level_shift == pytest.approx(runs["additive"].posterior.level_shift, abs=1e-9)


def test_the_prior_of_propensities_counts_from_the_fit(runs: dict[str, Run], sample: Interactions) -> None:
    run = runs["additive"]
    found = shift_by_propensity(run)
    assert found == shift_by_propensity(recalibrate(run, sample, prior=found))
    bare = replace(run, log=replace(run.log, propensity=None))
    with pytest.raises(InputError, match=r"no propensities to start from: recalibrate by a log of random pairs"):
        shift_by_propensity(bare)


def test_propensities_alone_set_the_level_where_the_weighted_log_has_it(runs: dict[str, Run]) -> None:
    """The weighted clicks of the run's own log are then those that it expects, however often it is asked."""
    run = runs["additive"]
    moved = level_by_propensity(run)
    log, assumed = run.log, shift_by_propensity(run)
    weight = log.trials * np.minimum(1 / log.propensity, 20 * np.average(1 / log.propensity, weights=log.trials))
    expected = moved.score(log.to_frame()[["user_id", "item_id"]])["mean"].to_numpy()
    assert (weight * expected).sum() == pytest.approx((weight * log.value / log.trials).sum(), rel=1e-3)
    assert moved.posterior.recalibration == pytest.approx(assumed.mean)
    assert level_by_propensity(moved).posterior.level_shift == pytest.approx(moved.posterior.level_shift, abs=1e-6)


def test_only_the_random_part_of_a_sample_counts(runs: dict[str, Run], sample: Interactions) -> None:
    random = np.arange(len(sample)) % 3 == 0
    marked = replace(sample, exposure=np.where(random, "random", "biased"))
    wanted = recalibrate(runs["additive"], sample.select(random)).posterior.level_shift
    assert recalibrate(runs["additive"], marked).posterior.level_shift == wanted
    with pytest.raises(InputError, match="No pair of the sample is marked as randomly exposed"):
        recalibrate(runs["additive"], replace(sample, exposure=np.full(len(sample), "biased")))


def test_a_sample_of_zeros_speaks_where_there_is_a_prior(runs: dict[str, Run], sample: Interactions) -> None:
    nothing = replace(sample, value=np.zeros(len(sample)))
    assert recalibrate(runs["additive"], nothing, prior=ShiftPrior(0.0, 1.0)).posterior.recalibration < -0.5


@pytest.mark.parametrize("wrong", [{"sd": 0.0}, {"sd": -1.0}, {"mean": math.nan}, {"sd": math.nan}])
def test_a_prior_of_the_shift_is_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="finite mean and an sd above zero"):
        ShiftPrior(**wrong)


def test_samples_that_say_nothing_of_the_base_rate_are_refused(runs: dict[str, Run], sample: Interactions) -> None:
    for value in (np.zeros(300), np.ones(300)):
        with pytest.raises(InputError, match="needs some of both outcomes"):
            recalibrate(runs["additive"], replace(sample, value=value))
    with pytest.raises(InputError, match="holds values up to 5, and this run predicts clicks"):
        recalibrate(runs["additive"], replace(sample, value=sample.value * 5))
    strangers = replace(sample, users=pd.Index([f"x{n}" for n in range(sample.n_users)]))
    with pytest.raises(InputError, match=r"No pair of the random sample is known|0 clicks in 0 known"):
        recalibrate(runs["additive"], strangers)
    ratings = replace(runs["additive"], posterior=replace(runs["additive"].posterior, response=Gaussian()))
    with pytest.raises(InputError, match="predicts counts or ratings"):
        recalibrate(ratings, sample)


# --- what uncertainty is made of


@pytest.mark.parametrize("name", ["additive", "gamma", "lognormal", "weibull", "odds", "product", "product, lognormal"])
@pytest.mark.parametrize("intervention", [Observe(), Deconfound()], ids=lambda i: type(i).__name__)
def test_parts_of_a_clicks_variance_agree_with_draws(
    runs: dict[str, Run], name: str, intervention: Observe | Deconfound
) -> None:
    """Var S, E Var_z p and E p (1 - p) over draws of the linear predictor and of popularity (maths 7.4)."""
    run = runs[name]
    pairs = PAIRS.iloc[:6]
    table = variance_parts(run, pairs, intervention)
    mean = table["mean"].to_numpy()
    parts = table[["epistemic", "popularity", "outcome"]].to_numpy()
    np.testing.assert_allclose(parts.sum(1), mean * (1 - mean), rtol=1e-5, atol=1e-7)
    assert (parts[:, [0, 2]] > 0).all()
    users, items = (codes[:6] for codes in cells_of(run))
    cells: Surface = pair_surface(run.posterior, intervention, users, items)
    torch.manual_seed(6)
    eta = cells.mean + cells.variance.sqrt() * torch.randn(DRAWS, 6)
    assert cells.law.law is not None
    law = cells.law.law if cells.law.law.batch_shape else cells.law.law.expand((6,))
    first, second = (
        run.posterior.item_effect.predictor.mean(run.posterior.response, eta, law.sample((DRAWS,))).double()
        for _ in range(2)
    )  # two popularities at one linear predictor: their product estimates S^2
    overall = first.mean(0)

    def agrees(draws: Tensor, claimed: np.ndarray) -> bool:
        error = draws.std(0) / math.sqrt(DRAWS)
        return bool(((draws.mean(0) - torch.tensor(claimed)).abs() < 4.5 * error + 1e-6).all())

    assert agrees(first, mean)
    assert agrees((first - overall) * (second - overall), parts[:, 0])
    assert agrees(first**2 - first * second, parts[:, 1])
    assert agrees(first - first**2, parts[:, 2])


def test_a_set_popularity_adds_no_variance(runs: dict[str, Run]) -> None:
    for name in ("additive", "gamma", "product"):
        table = variance_parts(runs[name], PAIRS, SetPopularity(1.3))
        np.testing.assert_allclose(table["popularity"], 0.0, atol=1e-7)
        assert (table["epistemic"] > 0).all()
    given = variance_parts(runs["additive"], PAIRS)
    pd.testing.assert_frame_equal(given, variance_parts(runs["additive"], PAIRS, Deconfound()))
    assert list(given.columns) == ["user_id", "item_id", "mean", "epistemic", "popularity", "outcome"]


def test_only_clicks_are_split(runs: dict[str, Run]) -> None:
    ratings = replace(runs["additive"], posterior=replace(runs["additive"].posterior, response=Gaussian()))
    with pytest.raises(InputError, match="Only click probabilities are split"):
        variance_parts(ratings, PAIRS)


# --- ArviZ


@pytest.mark.parametrize("name", ["additive", "weibull", "product", "exponential"])
def test_a_run_as_arviz_has_every_group(runs: dict[str, Run], name: str) -> None:
    data = runs[name].to_arviz(draws=20)
    assert set(data.groups()) == {
        "posterior", "posterior_predictive", "log_likelihood", "sample_stats", "observed_data", "constant_data",
    }  # fmt: skip
    assert set(data.posterior) == {"user_factors", "item_factors", "popularity"}
    assert data.posterior["popularity"].dims == ("chain", "draw", "item")
    assert data.posterior["popularity"].shape == (2, 10, 40)
    for group in data.groups():
        assert all(np.isfinite(data[group][variable]).all() for variable in data[group]), group
    log = impressions()
    np.testing.assert_allclose(
        data.observed_data["item_total"], np.bincount(log.item, log.value, log.n_items), rtol=1e-6
    )
    replicated = data.posterior_predictive["item_total"].to_numpy()
    trials = np.bincount(log.item, log.trials, log.n_items)
    assert ((replicated >= 0) & (replicated <= trials)).all(), "no more clicks than impressions"
    one = runs[name].posterior.draws(20, 0)
    p = runs[name].posterior
    z = torch.as_tensor(one["popularity"][3])
    eta = p.intercept + torch.as_tensor(one["user_factors"][3] @ one["item_factors"][3].T)
    cells = torch.as_tensor(log.user), torch.as_tensor(log.item)
    each = p.item_effect.predictor.log_prob(
        p.response, torch.as_tensor(log.value).float(), torch.as_tensor(log.trials).float(), eta[cells], z[cells[1]]
    )
    by_user = torch.zeros(60).index_add(0, cells[0], each).numpy()
    found = data.log_likelihood["value"].to_numpy().reshape(20, 60)[3]
    np.testing.assert_allclose(found, by_user, rtol=2e-4, atol=1e-3)
