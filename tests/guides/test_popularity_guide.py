"""The guides of the popularity model: what the encoder reads, where q starts, and the centre of the users."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from conftest import ITEMS, Popular
from pyro import poutine

from pyrorec.guides.popularity import FreeForm, starting_numbers
from pyrorec.guides.record_encoder import GroupRecords, RecordEncoder
from pyrorec.inference.elbo import ExpectedELBO
from pyrorec.inference.objective import MonteCarlo, ScoreFunction
from pyrorec.models.affinities import Dot, FactorisationMachine, Linear
from pyrorec.models.distributions import Prior, Scale, Scope
from pyrorec.models.families import Bernoulli, Poisson
from pyrorec.models.laws import parameters
from pyrorec.models.moments import mean_log, variance_log
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.posterior_families import PosteriorFamily
from pyrorec.models.predictors import Additive, LogAdditive, Plain
from pyrorec.models.prior_source import ExposureCounts

Build = Callable[..., Popular]
FRAILTY = PopularityModel(affinity=FactorisationMachine(factors=2), family=Poisson(), predictor=LogAdditive())


def test_group_records_are_sums_over_the_records_of_a_group() -> None:
    g = torch.Generator().manual_seed(4)
    group = torch.tensor([0, 2, 2, 0, 4, 2])
    value, trials = torch.tensor([1.0, 0, 2, 3, 1, 1]), torch.tensor([2.0, 1, 2, 3, 5, 1])
    affinity = torch.randn(6, generator=g)
    got = GroupRecords.of(group, 5, value, trials, affinity)
    affinity = affinity - (trials * affinity).sum() / trials.sum()
    for k in range(5):
        own = (group == k).numpy()
        v, n, a = value.numpy()[own], trials.numpy()[own], affinity.numpy()[own]
        assert float(got.value[k]) == v.sum()
        assert float(got.trials[k]) == n.sum()
        assert float(got.affinity[k]) == pytest.approx((n * a).sum(), rel=1e-6)
        assert float(got.pressure[k]) == pytest.approx((n * np.exp(a)).sum(), rel=1e-6)


def test_what_an_encoder_reads_by_hand() -> None:
    """Clicks 3 of 4, at affinities of mean 0.5 and pressure 6; a group without records says so and stays finite."""
    records = GroupRecords(*(torch.tensor(x) for x in ([3.0, 0.0], [4.0, 0.0], [2.0, 0.0], [6.0, 0.0])))
    share = 3.5 / 5
    expected = [
        [np.log(4), np.log(5), np.log(3.5 / 6.5), 0.5, np.log(share / (1 - share))],
        [0.0, 0.0, 0.0, 0.0, 0.0],
    ]
    np.testing.assert_allclose(records.inputs(), expected, rtol=1e-5, atol=1e-6)


def test_inputs_stay_finite_for_counts_and_wild_affinities() -> None:
    """Counts may exceed trials, and an affinity of 200 has no finite rate in single precision."""
    group = torch.tensor([0, 0, 1])
    got = GroupRecords.of(group, 3, torch.tensor([50.0, 3, 0]), torch.ones(3), torch.tensor([200.0, 0.1, -200.0]))
    assert bool(got.inputs().isfinite().all())


def test_an_encoder_starts_at_the_prior_whatever_it_reads() -> None:
    location, spread = torch.tensor([0.3, -0.4, 0.0]), torch.tensor([0.5, 0.8, 1e-6])
    encoder = RecordEncoder(location, spread.log())
    encoder.read(GroupRecords(*(3 * torch.rand(3) for _ in range(4))))
    got, log_spread = encoder(torch.tensor([2, 0]))
    torch.testing.assert_close(got, location[[2, 0]])
    torch.testing.assert_close(log_spread.exp(), torch.tensor([math.exp(-7.0), 0.5]))
    assert not encoder.inputs.requires_grad
    assert {name for name, _ in encoder.named_buffers()} == {"inputs", "prior"}


def test_an_encoder_tells_groups_apart_by_their_records(popular: Build) -> None:
    """Same records, same popularity; the gradient of the bound reaches the network."""
    fit = popular(replace(FRAILTY, amortised=True))
    encoder: Any = fit.guide.popularity["q"]
    everyone = torch.arange(ITEMS)
    before = fit.guide.popularity_law(fit.model, everyone).mean.detach()
    assert before.unique().numel() == ITEMS
    encoder.inputs[1].copy_(encoder.inputs[3])
    encoder.prior[1].copy_(encoder.prior[3])
    after = fit.guide.popularity_law(fit.model, everyone).mean.detach()
    assert after[1] == after[3]
    assert torch.equal(after[[0, 2, 3, 4]], before[[0, 2, 3, 4]])
    ExpectedELBO().differentiable_loss(fit.model, fit.q, fit.batch()).backward()
    assert all(bool(p.grad.any()) for p in encoder.parameters())


@pytest.mark.parametrize("amortised", [False, True])
@pytest.mark.parametrize("cls", list(PosteriorFamily.registry), ids=lambda c: c.name)
def test_every_posterior_starts_near_the_prior(popular: Build, cls: type[PosteriorFamily], amortised: bool) -> None:
    """Location and sd of log z, or of zeta, are the prior's, of every item its own."""
    log = cls.name == "normal"
    laws = dist.Normal(torch.linspace(-1, 1, ITEMS), torch.full((ITEMS,), 0.2)) if log else None
    prior: Any = laws or dist.Gamma(torch.full((ITEMS,), 30.0), torch.linspace(10.0, 60.0, ITEMS))
    spec = replace(
        FRAILTY,
        family=Bernoulli() if log else Poisson(),
        predictor=Additive() if log else LogAdditive(),
        popularity=None,
        posterior=cls.example(),
        source=ExposureCounts(),
        amortised=amortised,
    )
    fit = popular(spec, item_prior=Prior(prior, Scope.ITEM), noise=0.0)
    assert isinstance(fit.guide.popularity["q"], RecordEncoder if amortised else FreeForm)
    q: Any = fit.guide.popularity_law(fit.model, torch.arange(ITEMS))
    mean, sd = (q.mean, q.stddev) if log else (mean_log(q), variance_log(q).sqrt())
    expected_mean = prior.mean if log else mean_log(prior)
    expected_sd = prior.stddev if log else variance_log(prior).sqrt()
    near = 0.02 if cls.name == "inverse-gaussian" else 1e-4  # which has the prior's mean and variance of z itself
    np.testing.assert_allclose(mean.detach(), expected_mean, atol=near)
    np.testing.assert_allclose(sd.detach(), expected_sd, rtol=near)
    started = spec.posterior.law(*starting_numbers(fit.model))
    for got, wanted in zip(parameters(started), parameters(q), strict=True):
        np.testing.assert_allclose(got, wanted.detach(), rtol=1e-5)


def test_weights_start_inside_their_prior(popular: Build) -> None:
    fit = popular(FRAILTY, noise=0.0)
    assert set(fit.guide.laws()) == set(fit.model.user.shapes) | set(fit.model.item.shapes)
    for site, law in fit.guide.laws().items():
        side = fit.model.user if site in fit.model.user.shapes else fit.model.item
        scale = float(side.log_scale[site].detach().exp())
        assert law.event_shape == side.shapes[site]
        np.testing.assert_allclose(law.variance.sqrt().detach(), 0.3 * scale, rtol=1e-6)
        assert float(law.mean.detach().abs().max()) < 4 * 0.3 * scale


def test_the_centre_is_the_mean_vector_of_all_users(popular: Build) -> None:
    """Taken off once and for all: refreshing again changes nothing, and items have none."""
    fit = popular(FRAILTY)
    means = {site: law.mean.detach() for site, law in fit.guide.laws().items()}
    everyone = torch.arange(fit.model.user.size)
    raw = means["user_factors"] + fit.model.user.features @ means["user_feature_factors"]
    torch.testing.assert_close(fit.model.user.centre, raw.mean(0))
    vectors = fit.model.user.vectors(means, everyone)
    torch.testing.assert_close(vectors.mean(0), torch.zeros(2).double(), rtol=0, atol=1e-15)
    before = fit.model.user.centre.clone()
    fit.guide.refresh(fit.model)
    torch.testing.assert_close(fit.model.user.centre, before)
    assert float(before.abs().max()) > 1e-3
    assert not fit.model.item.centre.any()


@pytest.mark.parametrize("affinity", [Dot(factors=2), Linear()], ids=lambda a: a.name)
def test_without_popularity_or_factors_there_is_no_centre(popular: Build, affinity: Any) -> None:
    plain = popular(replace(FRAILTY, affinity=affinity, predictor=Plain(), popularity=None, posterior=None))
    assert not plain.model.user.centre.any()
    assert popular(replace(FRAILTY, affinity=affinity)).model.user.centre.shape == (affinity.factors,)


@pytest.mark.parametrize("cls", [c for c in PosteriorFamily.registry if c.scale is Scale.RATE], ids=lambda c: c.name)
def test_what_a_site_is_drawn_from_is_the_objectives_choice(popular: Build, cls: type[PosteriorFamily]) -> None:
    """A law without a reparameterised sampler for the score function; its numbers stay the same."""
    batch_of = {}
    for name, objective in (("law", MonteCarlo()), ("score", ScoreFunction())):
        fit = popular(replace(FRAILTY, posterior=cls.example()), drawn=objective.drawn)
        batch_of[name] = poutine.trace(fit.q).get_trace(fit.batch()).nodes["popularity"]["fn"]
    assert batch_of["law"].has_rsample == (cls.name != "inverse-gaussian")
    assert not batch_of["score"].has_rsample
    at = torch.linspace(0.1, 3, ITEMS).double()
    torch.testing.assert_close(batch_of["score"].log_prob(at), batch_of["law"].log_prob(at))


def test_what_the_encoder_reads_does_not_depend_on_the_intercept() -> None:
    """Or an anchor that moves the intercept would move every location at the next reading, and the anchor again."""
    group, trials = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([1.0, 3, 2, 1, 5])
    value, affinity = torch.tensor([1.0, 0, 2, 0, 4]), torch.tensor([0.3, -1.2, 0.8, 0.1, -0.4])
    one, other = (GroupRecords.of(group, 3, value, trials, affinity + b).inputs() for b in (0.0, 7.5))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
