"""Covariances in q: divergence against draws and against torch, marginals that are kept, fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

import pyrorec as pr
from pyrorec.guides.encoder import NormalHead, RowPosterior
from pyrorec.models.distributions.divergence import closed_form_kl
from pyrorec.models.encoding import Covariance

every_covariance = pytest.mark.parametrize("cls", list(Covariance.registry), ids=lambda c: c.name)
QUIET = pr.Context(progress=False)


def law_of(cls: type[Covariance], moved: float = 0.6) -> dist.TorchDistribution:
    """Three rows of four factors, in float64, away from where a head starts."""
    torch.manual_seed(0)
    head: NormalHead = cls.example().head(5, 4, 0.7).double()  # type: ignore[assignment]
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += moved * torch.randn_like(parameter)
    return head.law(torch.randn(3, 5).double())


def prior() -> dist.TorchDistribution:
    mean = torch.tensor([0.1, -0.4, 0.0, 0.8]).double().expand(3, 4)
    return dist.Normal(mean, torch.tensor([0.7, 0.5, 1.0, 0.9]).double().expand(3, 4)).to_event(1)


def as_full(law: dist.TorchDistribution) -> MultivariateNormal:
    if isinstance(law, dist.Independent):
        return MultivariateNormal(law.mean, torch.diag_embed(law.variance))
    return MultivariateNormal(law.mean, law.covariance_matrix)


@every_covariance
def test_the_divergence_is_torchs_between_full_normals(cls: type[Covariance]) -> None:
    law, p = law_of(cls), prior()
    found = closed_form_kl(law, p)
    assert found.shape == (3,)
    torch.testing.assert_close(found, kl_divergence(as_full(law), as_full(p)), rtol=1e-9, atol=1e-10)


@every_covariance
def test_the_divergence_agrees_with_draws(cls: type[Covariance]) -> None:
    law, p = law_of(cls), prior()
    torch.manual_seed(1)
    x = law.sample((4000,))
    ratio = (law.log_prob(x) - p.log_prob(x)).detach()
    assert ((ratio.mean(0) - closed_form_kl(law, p)).abs() < 4 * ratio.std(0) / 4000**0.5).all()


@every_covariance
def test_marginals_are_the_laws_own(cls: type[Covariance]) -> None:
    law = law_of(cls)
    mean, sd = RowPosterior(law, None).marginals
    torch.testing.assert_close(mean, as_full(law).mean)
    torch.testing.assert_close(sd, as_full(law).covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt())
    correlated = as_full(law).covariance_matrix.tril(-1).abs().max() > 1e-2
    assert bool(correlated) == (cls is not pr.Diagonal)


def test_a_rank_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="rank must be at least 1"):
        pr.LowRank(rank=0)


@pytest.mark.parametrize("covariance", [pr.Full(), pr.LowRank(rank=1)], ids=lambda c: c.name)
@pytest.mark.parametrize("schedule", [pr.ItemsThenUsers(), pr.Joint()], ids=lambda s: type(s).__name__)
def test_a_fit_learns_and_comes_back(
    covariance: Covariance, schedule: pr.Joint, tmp_path_factory: pytest.TempPathFactory
) -> None:
    random = np.random.default_rng(1)
    user, item = np.meshgrid(np.arange(40), np.arange(30), indexing="ij")
    likes = random.random((40, 30)) < np.where(user % 2 == item % 2, 0.5, 0.05)
    log = pr.read_interactions(pd.DataFrame({"user_id": user[likes], "item_id": item[likes], "value": 1}))
    training = pr.Training(epochs=15, schedule=schedule, learning_rate=0.03, validation_fraction=0.0)
    spec = pr.BilateralModel(factors=3, hidden=(6,), binarise=True, covariance=covariance)
    run = pr.fit(spec, log, training=training, context=QUIET)
    elbo = [line["elbo"] for line in run.metrics]
    assert np.mean(elbo[-3:]) > np.mean(elbo[:3]) + 0.1
    folder = tmp_path_factory.mktemp("covariances")
    run.save(folder / "run")
    back = pr.load(folder / "run")
    assert back.spec == spec
    assert torch.equal(back.posterior.item_sd, run.posterior.item_sd)
