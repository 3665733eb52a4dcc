"""Where an item's prior comes from: learned with the rest, exposure counts, or earlier periods; never the same data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from small_popularity import SMALL, fitted, implicit, impressions

from pyrorec.data import InputError, Unobserved, Zero
from pyrorec.inference.empirical_bayes import (
    Counts,
    GammaPoissonTruncated,
    PoissonLogNormal,
    choose_rule,
    exposure_counts,
)
from pyrorec.inference.item_prior import anchored, estimated, log_scale_estimate, truncated
from pyrorec.models.distributions import Exponential, Gamma, LogNormal
from pyrorec.models.distributions.prior import Scope
from pyrorec.models.families import Cloglog
from pyrorec.models.popularity import Popularity, PopularityModel
from pyrorec.models.predictors import LogAdditive, Plain
from pyrorec.models.prior_source import EarlierPeriods, ExposureCounts
from pyrorec.models.sharing import PerPeriod
from pyrorec.simulation.record_world import RecordWorld

ADDITIVE = PopularityModel(affinity=SMALL)
FRAILTY = PopularityModel(affinity=SMALL, predictor=LogAdditive(), family=Cloglog())


def test_a_learned_population_leaves_log_and_model_as_they_are() -> None:
    for model in (ADDITIVE, FRAILTY, PopularityModel(predictor=Plain())):
        found = anchored(model, impressions())
        assert (found.spec, found.items) == (model, None)
        assert found.log is impressions()


@pytest.mark.parametrize("source", [ExposureCounts(), EarlierPeriods(share=0.4)], ids=lambda s: s.name)
@pytest.mark.parametrize(
    "model", [ADDITIVE, FRAILTY, replace(FRAILTY, popularity=LogNormal())], ids=lambda m: m.popularity.name
)
def test_each_item_gets_a_prior_of_its_own_and_the_population_one_law(
    model: PopularityModel, source: ExposureCounts | EarlierPeriods
) -> None:
    found = anchored(replace(model, source=source), impressions())
    assert found.items is not None
    assert found.items.scope is Scope.ITEM
    assert found.items.law.batch_shape == (40,)
    run = fitted(replace(model, source=source), impressions())
    population = run.posterior.population
    assert population is not None
    assert population.batch_shape == ()
    assert float(population.mean) == pytest.approx(0.0 if model is ADDITIVE else 1.0, abs=1e-5)


def test_exposure_counts_follow_what_was_shown_and_no_value() -> None:
    """The same whatever was clicked; for the additive form the moments of log z, standardised by the population's."""
    log = impressions()
    model = replace(ADDITIVE, source=ExposureCounts())
    law = anchored(model, log).items.law  # type: ignore[union-attr]
    other = anchored(model, replace(log, value=log.trials - log.value)).items.law  # type: ignore[union-attr]
    assert torch.equal(law.mean, other.mean)
    shown = np.bincount(log.item, log.trials, log.n_items)
    assert np.array_equal(law.mean.numpy().argsort(), shown.argsort(kind="stable")) or (
        np.corrcoef(law.mean.numpy(), np.log(shown + 0.5))[0, 1] > 0.99
    )
    expected = choose_rule(exposure_counts(log)).rule.fit(exposure_counts(log)).standardised()
    torch.testing.assert_close(law.mean, expected.items.law.mean)
    torch.testing.assert_close(law.stddev, expected.items.law.stddev)


def test_counts_of_a_long_log_tell_log_popularity() -> None:
    """Truth of the simulated world, standardised as the estimate is, within four of the priors' own sds."""
    world = RecordWorld(users=500, items=60, records=6_000).simulate(5)
    estimate = PoissonLogNormal().fit(exposure_counts(world.log))
    standard = estimate.standardised()
    law = standard.items.law
    # Counts are divided by their mean, so log z is known up to the log of the mean popularity.
    rate = estimate.items.law
    centred = world.log_popularity - world.log_popularity.mean()
    claimed = np.log(rate.mean.numpy())
    sd = (law.stddev * standard.scale).numpy()
    error = (claimed - claimed.mean() - centred) / sd
    assert np.abs(error).max() < 4.5
    assert 0.6 < error.std() < 1.5


def test_a_rate_prior_sets_the_population_and_holds_it() -> None:
    log = impressions()
    found = anchored(replace(FRAILTY, source=ExposureCounts()), log)
    rates = GammaPoissonTruncated().fit(exposure_counts(log)).rate()
    assert isinstance(found.spec.popularity, Gamma)
    assert found.spec.popularity.shape == pytest.approx(float(rates.population.law.concentration))
    run = fitted(found.spec, log)
    assert isinstance(run.posterior.population, dist.Gamma)
    assert float(run.posterior.population.concentration) == pytest.approx(found.spec.popularity.shape, rel=1e-5)
    assert isinstance(run.model, Popularity)
    assert not any(p.requires_grad for p in run.model.parts["popularity"].parameters())


def test_earlier_periods_use_no_cell_of_the_fitted_part() -> None:
    """The fitted part is the later one, and changing it changes no prior; changing the earlier one does."""
    log, model = impressions(), replace(ADDITIVE, source=EarlierPeriods(share=0.4))
    assert log.timestamp is not None
    found = anchored(model, log)
    assert found.log.timestamp is not None
    cut = found.log.timestamp.min()
    late = log.timestamp >= cut
    assert late.sum() == len(found.log)
    assert len(found.log) / len(log) == pytest.approx(0.6, abs=0.02)
    assert found.items is not None
    swapped = np.where(late, log.trials - log.value, log.value)
    same = anchored(model, replace(log, value=swapped)).items
    assert same is not None
    assert torch.equal(found.items.law.mean, same.law.mean)
    other = anchored(model, replace(log, value=np.where(late, log.value, log.trials * (log.item % 2)))).items
    assert other is not None
    assert not torch.equal(found.items.law.mean, other.law.mean)


def test_the_prior_of_a_period_is_that_of_its_item() -> None:
    model = replace(ADDITIVE, source=ExposureCounts(), sharing=PerPeriod(periods=3))
    run = fitted(model, impressions())
    assert isinstance(run.model, Popularity)
    law = run.model.popularity_prior(torch.arange(120))
    own = anchored(model, impressions()).items
    assert own is not None
    torch.testing.assert_close(law.mean, own.law.mean.float().repeat_interleave(3))


def test_priors_that_would_use_the_data_twice_or_have_no_rule_are_refused() -> None:
    with pytest.raises(InputError, match="outcomes are modelled given exposure"):
        anchored(replace(ADDITIVE, source=ExposureCounts()), impressions().with_missing(Zero()))
    with pytest.raises(InputError, match="no empirical Bayes rule"):
        anchored(replace(FRAILTY, popularity=Exponential(), source=EarlierPeriods()), impressions())
    with pytest.raises(InputError, match="no timestamps"):
        anchored(replace(ADDITIVE, source=EarlierPeriods()), replace(impressions(), timestamp=None))
    alike = replace(impressions(), trials=np.ones(len(impressions())), value=np.zeros(len(impressions())))
    alike = replace(
        alike.select(np.arange(400)), user=np.arange(400) % 60, item=np.arange(400) % 40, missing=Unobserved()
    )
    with pytest.raises(InputError, match="equally popular"):
        anchored(replace(FRAILTY, source=ExposureCounts()), alike)


def test_earlier_periods_may_be_the_prior_where_absent_pairs_are_zeros() -> None:
    run = fitted(PopularityModel(affinity=SMALL, source=EarlierPeriods(), negatives=1.0), implicit())
    law = run.posterior.popularity
    assert law is not None
    assert bool(torch.isfinite(law.mean).all())


def counted(n: np.ndarray) -> Counts:
    """Counts under equal exposure."""
    return Counts(n.astype(float), np.ones(len(n)))


@pytest.mark.parametrize("tail", [1.0, 1.2, 2.0])
def test_counts_with_heavy_tails_still_tell_items_apart(tail: float) -> None:
    """Zero-truncated Pareto counts tell the Gamma no shape: its limit of zero would put every item in one place."""
    rng = np.random.default_rng(int(10 * tail))
    counts = np.floor(rng.pareto(tail, 500) * 3).astype(float)
    made = counted(counts[counts > 0])
    assert truncated(made) is None or truncated(made).population.law.concentration > 0.1  # type: ignore[union-attr]
    standard = log_scale_estimate(made).standardised()
    assert standard.scale < 5
    spread = float(standard.items.law.mean.std())
    assert 0.5 < spread < 1.2
    in_order = standard.items.law.mean.numpy()[np.argsort(made.n)]
    assert bool((np.diff(in_order) >= -1e-9).all())
    assert estimated(Gamma(), "auto", made).rule == "gamma-poisson"


def test_on_the_log_scale_a_gamma_of_small_shape_gives_way() -> None:
    """Its log is far from normal: the click rate under a common N(0, 1) would be another (maths 3.8)."""
    rng = np.random.default_rng(2)
    small, large = (counted(rng.poisson(rng.gamma(shape, 20 / shape, 3000))) for shape in (0.2, 3.0))
    assert log_scale_estimate(small).rule == "poisson-lognormal"
    assert log_scale_estimate(large).rule.startswith("gamma-poisson")


def test_a_rule_asked_for_that_finds_no_law_is_refused() -> None:
    rng = np.random.default_rng(1)
    log = impressions()
    many = np.repeat(
        np.arange(log.n_items), np.maximum(1, np.floor(rng.pareto(0.7, log.n_items))).astype(int).clip(max=3000)
    )
    user = rng.integers(log.n_users, size=len(many))
    shown = replace(
        log, user=user, item=many, value=rng.integers(0, 2, len(many)).astype(float), trials=np.ones(len(many)),
        timestamp=None, propensity=None,
    )  # fmt: skip
    model = replace(ADDITIVE, source=ExposureCounts(rule="gamma-poisson zero-truncated"))
    with pytest.raises(InputError, match="so these counts tell it nothing: use --prior-rule poisson-lognormal"):
        anchored(model, shown)
