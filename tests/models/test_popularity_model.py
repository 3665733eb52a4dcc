"""The popularity model as a Pyro model: its sites and plates, what is counted how often, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from conftest import ITEMS, USERS, Popular
from pyro import poutine
from scipy import stats

from pyrorec.inference.elbo import AnalyticELBO, ExpectedELBO
from pyrorec.models.affinities import Dot, FactorisationMachine, Linear
from pyrorec.models.component import Component, Learned
from pyrorec.models.distributions import Exponential, Gamma, LogNormal, Normal, Prior, Scope
from pyrorec.models.distributions.divergence import closed_form_kl
from pyrorec.models.families import Bernoulli, Cloglog, Gaussian, Poisson, Probit
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.posterior_families import GammaPosterior, LogNormalPosterior, NormalPosterior, WeibullPosterior
from pyrorec.models.predictors import Additive, LogAdditive, Odds, Plain, ProductRatio, UnfitPair
from pyrorec.models.prior_source import EarlierPeriods, ExposureCounts, LearnedPopulation
from pyrorec.models.sharing import PerInteraction, PerItem, PerPeriod

Build = Callable[..., Popular]
FRAILTY = PopularityModel(affinity=Linear(), family=Poisson(), predictor=LogAdditive())
SHARINGS = [PerItem(), PerPeriod(), PerInteraction()]
every_sharing = pytest.mark.parametrize("sharing", SHARINGS, ids=lambda s: s.name)


def trace_of(fit: Popular, batch: Any) -> Any:
    torch.manual_seed(0)
    guide = poutine.trace(fit.q).get_trace(batch)
    return poutine.trace(poutine.replay(fit.model, trace=guide)).get_trace(batch)


def sites(trace: Any) -> dict[str, Any]:
    return {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and type(s["fn"]).__name__ != "_Subsample"}


@every_sharing
def test_sites_and_plates(popular: Build, sharing: Any) -> None:
    """A block of weights each, a popularity a group, a value a record; nothing subsampled by chance."""
    fit = popular(replace(FRAILTY, sharing=sharing, affinity=FactorisationMachine(factors=2)))
    ids = list(range(0, 24, 3))
    batch = fit.batch(ids)
    found = sites(trace_of(fit, batch))
    sides = fit.model.user.shapes | fit.model.item.shapes
    assert list(found) == [*sides, "popularity", "value"]
    for site, shape in sides.items():
        assert (found[site]["fn"].batch_shape, found[site]["fn"].event_shape) == ((), shape)
        assert not found[site]["cond_indep_stack"]
    groups, records = found["popularity"]["cond_indep_stack"][0], found["value"]["cond_indep_stack"][0]
    seen = len(ids) if isinstance(sharing, PerInteraction) else fit.model.groups
    assert (groups.name, groups.size, len(found["popularity"]["value"])) == ("groups", seen, seen)
    assert (records.name, records.size) == ("records", len(ids))
    assert found["value"]["is_observed"]
    assert torch.equal(found["value"]["value"], fit.records.value[torch.tensor(ids)])


@every_sharing
def test_how_often_a_batch_counts_what(popular: Build, sharing: Any) -> None:
    """Records stand for all; popularity shared by records counts once, one of its own as its record does."""
    fit = popular(replace(FRAILTY, sharing=sharing))
    ids = [1, 4, 7, 20, 21, 23]
    found = sites(trace_of(fit, fit.batch(ids)))
    own = isinstance(sharing, PerInteraction)
    assert found["popularity"]["scale"] == (4.0 if own else 1.0)  # 24 records, 6 of them here
    torch.testing.assert_close(found["value"]["scale"], 4.0 * fit.records.weight[torch.tensor(ids)])
    assert all(found[site]["scale"] == 1.0 for site in fit.model.user.shapes)


@every_sharing
def test_the_divergence_of_popularity_is_counted_once_a_group(popular: Build, sharing: Any) -> None:
    """However many records share it; over a partition the batches of an own popularity average to the whole."""
    fit = popular(replace(FRAILTY, sharing=sharing))
    q = fit.laws()["popularity"]
    prior = fit.model.popularity_prior(torch.arange(fit.model.groups))
    whole = float(closed_form_kl(q, prior).sum().detach())
    assert whole > 0.01
    parts = []
    for ids in (list(range(0, 24, 2)), list(range(1, 24, 2))):
        loss = ExpectedELBO()
        with torch.no_grad():
            loss.loss(fit.model, fit.q, fit.batch(ids))
        parts.append(float(loss.terms["popularity"]))
    assert np.mean(parts) == pytest.approx(whole, rel=1e-10)
    if not isinstance(sharing, PerInteraction):
        assert parts == pytest.approx([whole, whole], rel=1e-10)


CASES = {
    "frailty": FRAILTY,
    "additive": replace(FRAILTY, family=Bernoulli(), predictor=Additive(), popularity=None, posterior=None),
    "plain": PopularityModel(affinity=Linear(), family=Gaussian(), predictor=Plain()),
    "odds": PopularityModel(affinity=Linear(), predictor=Odds(), popularity=LogNormal()),
}


@pytest.mark.parametrize(
    ("name", "sharing"),
    [
        (name, sharing)
        for name in CASES
        for sharing in (PerItem(), PerInteraction())
        if name != "plain" or sharing == PerItem()
    ],
    ids=lambda part: part if isinstance(part, str) else part.name,
)
def test_a_minibatch_estimates_the_likelihood_without_bias(popular: Build, name: str, sharing: Any) -> None:
    """Each record as often as any other: batches of a partition, weighted by their size, average to the whole."""
    fit = popular(replace(CASES[name], sharing=sharing))

    def term(ids: list[int] | None) -> float:
        loss = ExpectedELBO()
        with torch.no_grad():
            loss.loss(fit.model, fit.q, fit.batch(ids))
        return float(loss.terms["value"])

    order = torch.randperm(24, generator=torch.Generator().manual_seed(2)).tolist()
    partition = [order[:5], order[5:12], order[12:]]
    average = sum(len(ids) / 24 * term(ids) for ids in partition)
    assert average == pytest.approx(term(None), rel=1e-11)
    assert term(partition[0]) != pytest.approx(term(None), rel=1e-3)


def test_the_log_joint_is_that_of_scipy(popular: Build) -> None:
    """Weights normal, popularity Gamma(alpha, alpha), counts Poisson(trials z e^a), weighted."""
    fit = popular(FRAILTY)
    found = sites(trace_of(fit, fit.batch()))
    trace = trace_of(fit, fit.batch())
    total = float(trace.log_prob_sum().detach())
    expected = 0.0
    for side in (fit.model.user, fit.model.item):
        for site in side.shapes:
            scale = float(side.log_scale[site].detach().exp())
            expected += stats.norm.logpdf(found[site]["value"].detach(), 0, scale).sum()
    alpha = float(fit.model.parts["popularity"].fixed().shape)
    z = found["popularity"]["value"].detach().numpy()
    expected += stats.gamma.logpdf(z, alpha, scale=1 / alpha).sum()
    value = {site: node["value"].detach() for site, node in found.items()}
    records = fit.records
    a = float(fit.model.level.intercept.detach()) + value["user_effect"][records.user].numpy()
    a = a + (fit.model.user.features[records.user] @ value["user_weights"]).numpy()
    a = a + (fit.model.item.features[records.item] @ value["item_weights"]).numpy()
    rate = records.trials.numpy() * z[records.item] * np.exp(a)
    expected += (records.weight.numpy() * stats.poisson.logpmf(records.value.numpy(), rate)).sum()
    assert total == pytest.approx(expected, rel=1e-6)


def test_the_kl_weight_is_of_every_latent(popular: Build) -> None:
    fit = popular(replace(FRAILTY, affinity=FactorisationMachine(factors=2)))
    full, third = (AnalyticELBO(), AnalyticELBO())
    for loss, weight in ((full, 1.0), (third, 1 / 3)):
        torch.manual_seed(1)
        loss.loss(fit.model, fit.q, fit.batch(kl_weight=weight))
    for site, value in full.terms.items():
        factor = 1.0 if site == "value" else 1 / 3
        assert float(third.terms[site]) == pytest.approx(factor * float(value), rel=1e-6)


def test_the_weight_of_a_record_is_of_its_likelihood_alone(popular: Build) -> None:
    fit = popular(FRAILTY)
    doubled = replace(fit, records=replace(fit.records, weight=2 * fit.records.weight))
    terms = []
    for one in (fit, doubled):
        loss = ExpectedELBO()
        loss.loss(one.model, one.q, one.batch())
        terms.append(loss.terms)
    for site, value in terms[0].items():
        assert float(terms[1][site]) == pytest.approx(float(value) * (2 if site == "value" else 1), rel=1e-10)


@pytest.mark.parametrize("log_value", [-40.0, 0.0, 3.0])
def test_popularity_never_lowers_a_response(log_value: float) -> None:
    """gamma > 0 whatever the optimiser does (maths 9.4)."""
    held = Learned(Additive())
    with torch.no_grad():
        held.log_values["popularity_effect"].fill_(log_value)
    effect = float(held.fixed().popularity_effect)
    assert effect > 0
    assert float(held.value().offset(torch.tensor(2.0)).detach()) == pytest.approx(2 * effect, rel=1e-6)


def test_items_have_an_effect_of_their_own_only_where_something_anchors_popularity(popular: Build) -> None:
    """Maths 9.5: no free item intercept with a static popularity; data of its own or time tells them apart."""
    learned = PopularityModel(affinity=Linear())
    assert not learned.has_item_effect
    assert not replace(learned, sharing=PerInteraction()).has_item_effect
    assert replace(learned, sharing=PerPeriod()).has_item_effect
    assert replace(learned, source=ExposureCounts()).has_item_effect
    assert replace(learned, source=EarlierPeriods()).has_item_effect
    plain = PopularityModel(affinity=Linear(), predictor=Plain())
    assert plain.has_item_effect
    assert "item_effect" not in popular(learned).model.item.shapes
    assert "item_effect" in popular(plain).model.item.shapes
    assert "item_effect" not in popular(replace(plain, affinity=Dot(factors=2))).model.item.shapes


def test_what_is_not_given_is_chosen() -> None:
    spec = PopularityModel()
    assert (spec.affinity, spec.family, spec.predictor) == (FactorisationMachine(), Bernoulli(), Additive())
    assert (spec.popularity, spec.posterior) == (Normal(), NormalPosterior())
    assert (FRAILTY.popularity, FRAILTY.posterior) == (Gamma(), GammaPosterior())
    assert replace(FRAILTY, popularity=LogNormal(), posterior=None).posterior == LogNormalPosterior()
    assert (spec.sharing, spec.source) == (PerItem(), LearnedPopulation())
    plain = PopularityModel(predictor=Plain())
    assert (plain.popularity, plain.posterior) == (None, None)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "odds of counts": (
        {"predictor": Odds(), "family": Poisson()},
        "odds of a click: use family bernoulli, not poisson",
    ),
    "odds of probits": ({"predictor": Odds(), "family": Probit()}, "not probit"),
    "products of counts": ({"predictor": ProductRatio(), "family": Cloglog()}, "a click probability of its own"),
    "rates of ratings": ({"predictor": LogAdditive(), "family": Gaussian()}, "gaussian has none"),
    "log prior of a rate": (
        {"predictor": Odds(), "popularity": Normal()},
        r"takes popularity as rate z > 0, not popularity normal \(standardised log zeta\)",
    ),
    "rate prior of a log": (
        {"predictor": Additive(), "popularity": Gamma()},
        r"takes popularity as standardised log zeta, not popularity gamma \(rate z > 0\)",
    ),
    "rate posterior of a log": (
        {"predictor": Additive(), "posterior": WeibullPosterior()},
        r"not posterior weibull \(rate z > 0\)",
    ),
    "log posterior of a rate": (
        {"predictor": Odds(), "posterior": NormalPosterior()},
        r"not posterior normal \(standardised log zeta\)",
    ),
    "prior of nothing": ({"predictor": Plain(), "popularity": Exponential()}, "takes no popularity"),
    "posterior of nothing": ({"predictor": Plain(), "posterior": GammaPosterior()}, "takes no popularity"),
    "no negatives": ({"negatives": 0.0}, "negatives must be above zero"),
    "negative factors": ({"affinity": Dot(factors=-1)}, "factors must not be negative"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_the_reason(case: tuple[dict[str, Component], str]) -> None:
    fields, reason = case
    with pytest.raises(UnfitPair, match=reason):
        PopularityModel(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("sharing", SHARINGS, ids=lambda s: s.name)
def test_the_prior_of_a_group_is_its_items(popular: Build, sharing: Any) -> None:
    shape = torch.linspace(1.0, 3.0, ITEMS)
    prior = Prior(dist.Gamma(shape, 2.0 * torch.ones(ITEMS)), Scope.ITEM)
    fit = popular(replace(FRAILTY, sharing=sharing, source=ExposureCounts()), item_prior=prior, noise=0.0)
    groups = torch.tensor([3, 0, 4])
    law = fit.model.popularity_prior(groups)
    item = fit.records.item_of_group[groups]
    torch.testing.assert_close(law.concentration, shape[item].double())
    assert not any(p.requires_grad for p in fit.model.parts["popularity"].parameters())  # the counts have said it
    shared = popular(replace(FRAILTY, sharing=sharing)).model
    assert all(p.requires_grad for p in shared.parts["popularity"].parameters())
    assert shared.popularity_prior(groups).concentration.unique().numel() == 1


def test_sizes_and_variances_of_factors(popular: Build) -> None:
    fit = popular(replace(FRAILTY, affinity=FactorisationMachine(factors=3)), noise=0.0)
    assert fit.model.user.shapes["user_factors"] == (USERS, 3)
    assert fit.model.factor_variances() == pytest.approx((0.09, 0.09), rel=1e-6)
    assert popular(FRAILTY).model.factor_variances() == (1.0, 1.0)


def test_affinity_sums_both_sides(popular: Build) -> None:
    """Records of one user and item share the work, and every record has its own affinity."""
    fit = popular(replace(FRAILTY, affinity=FactorisationMachine(factors=2)))
    values = {site: law.sample() for site, law in fit.guide.laws().items()}
    got = fit.model.affinity(values, fit.batch())
    for row in range(len(fit.records)):
        one = fit.model.affinity(values, fit.batch([row]))
        torch.testing.assert_close(one[0], got[row], rtol=1e-12, atol=1e-12)


EXPECTED = {
    "additive": PopularityModel(Linear(), Bernoulli(), Additive(), source=ExposureCounts()),
    "frailty": replace(FRAILTY, source=ExposureCounts()),
    "plain": PopularityModel(FactorisationMachine(factors=2), Bernoulli(), Plain()),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_linear_weights_are_integrated_exactly(popular: Build, name: str) -> None:
    """At drawn factors, the expectation over linear weights and popularity of both sides equals its draws."""
    draws, fit = 40_000, popular(EXPECTED[name])
    torch.manual_seed(3)
    linear = [site for site in fit.laws() if site.endswith(("effect", "weights"))]
    assert linear == ["user_effect", "user_weights", "item_effect", "item_weights"]
    laws = {site: dist.Normal(law.mean.detach(), 0.7) if site in linear else law for site, law in fit.laws().items()}
    values = {site: law.sample() for site, law in laws.items()}
    batch = fit.batch()
    with torch.no_grad():
        exact = fit.model.expected(batch, laws, values)
        drawn = {site: laws[site].sample((draws,)) for site in linear}
        affinity = torch.vmap(lambda own: fit.model.affinity(values | own, batch))(drawn)
        z = laws["popularity"].sample((draws,))[:, batch.group] if "popularity" in laws else torch.zeros(draws, 24)
        family, predictor = fit.model.component("family"), fit.model.component("predictor")
        each = predictor.log_prob(family, batch.value, batch.trials, affinity, z)
        error = each.std(0) / draws**0.5
        assert ((exact - each.mean(0)).abs() < 4 * error).all()
        for site in linear:  # each of them matters by more than that
            narrow = laws | {site: dist.Normal(laws[site].mean, 1e-6)}
            assert ((fit.model.expected(batch, narrow, values) - exact).abs() > 8 * error).any(), site
