"""The ELBO without sampling against Monte Carlo and finite differences, for every triple that is promised.

A triple is (prior, posterior, predictor with its family). For each: the bound of a few records that share one
popularity, affinity known, equals the mean of 10^5 draws within four standard errors, and its gradient equals finite
differences.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyrorec.models.distributions import InverseGaussian
from pyrorec.models.distributions.divergence import closed_form_kl
from pyrorec.models.expectations import expected_log_prob
from pyrorec.models.families import Bernoulli, Cloglog, Family, Poisson, Probit
from pyrorec.models.predictors import (
    Additive,
    LogAdditive,
    Odds,
    Predictor,
    ProductRatio,
    ProductSaturation,
    ProductTanh,
)

DRAWS = 100_000
Law = Callable[..., Any]
PRIORS: dict[str, tuple[Law, tuple[float, ...]]] = {
    "gamma prior": (dist.Gamma, (1.4, 1.4)),
    "exponential prior": (dist.Exponential, (1.0,)),
    "lognormal prior": (dist.LogNormal, (-0.3, 0.8)),
    "normal prior": (dist.Normal, (0.0, 1.0)),
}
POSTERIORS: dict[str, tuple[Law, tuple[float, ...]]] = {
    "gamma": (dist.Gamma, (3.2, 2.1)),
    "lognormal": (dist.LogNormal, (0.2, 0.45)),
    "weibull": (dist.Weibull, (1.3, 1.9)),
    "inverse gaussian": (InverseGaussian, (1.4, 2.2)),
    "normal": (dist.Normal, (0.4, 0.6)),
}
RATE_PAIRS: list[tuple[Predictor, Family]] = [
    (LogAdditive(), Poisson()),
    (LogAdditive(), Cloglog()),
    (ProductSaturation(saturation=0.7), Bernoulli()),
    (ProductRatio(midpoint=1.6), Bernoulli()),
    (ProductTanh(steepness=0.9), Bernoulli()),
]
TRIPLES = [
    *product(["gamma prior", "exponential prior"], ["gamma", "lognormal", "weibull", "inverse gaussian"], RATE_PAIRS),
    *product(["lognormal prior"], ["lognormal", "gamma"], RATE_PAIRS),
    *product(
        ["normal prior"],
        ["normal"],
        [(Additive(0.8), Bernoulli()), (Additive(0.8), Probit()), (Additive(0.3), Poisson())],
    ),
    *product(["gamma prior", "lognormal prior"], ["gamma", "lognormal"], [(Odds(), Bernoulli())]),
]


def named(triple: tuple[str, str, tuple[Predictor, Family]]) -> str:
    prior, posterior, (predictor, family) = triple
    return f"{prior}-{posterior}-{predictor.name}-{family.name}".replace(" ", "-")


by_triple = pytest.mark.parametrize("triple", TRIPLES, ids=named)
AFFINITY = torch.tensor([-1.5, 0.3, 1.1, -0.4], dtype=torch.float64)
TRIALS = torch.tensor([1.0, 3.0, 1.0, 2.0], dtype=torch.float64)
VALUE = torch.tensor([0.0, 2.0, 1.0, 0.0], dtype=torch.float64)


def built(named: tuple[Law, tuple[float, ...]], parameters: Tensor | None = None) -> Any:
    kind, start = named
    return kind(*(torch.tensor(start, dtype=torch.float64) if parameters is None else parameters))


def bound(triple: tuple[str, str, tuple[Predictor, Family]], parameters: Tensor, affinity: Tensor = AFFINITY) -> Tensor:
    """E log p(records | z) - KL(q || p), q with the given parameters."""
    prior, posterior, (predictor, family) = triple
    q = built(POSTERIORS[posterior], parameters)
    each = expected_log_prob(q, predictor, family, VALUE, TRIALS, affinity, torch.zeros_like(affinity))
    total: Tensor = each.sum() - closed_form_kl(q, built(PRIORS[prior]))
    return total


@by_triple
def test_the_bound_equals_its_monte_carlo_estimate(triple: tuple[str, str, tuple[Predictor, Family]]) -> None:
    prior, posterior, (predictor, family) = triple
    q, p = built(POSTERIORS[posterior]), built(PRIORS[prior])
    torch.manual_seed(3)
    z = q.sample((DRAWS, 1))
    drawn = predictor.log_prob(family, VALUE, TRIALS, AFFINITY, z).sum(-1) + (p.log_prob(z) - q.log_prob(z)).squeeze(-1)
    exact = float(bound(triple, torch.tensor(POSTERIORS[posterior][1], dtype=torch.float64)))
    assert exact == pytest.approx(float(drawn.mean()), abs=4 * float(drawn.std()) / DRAWS**0.5)


def summands() -> list[tuple[str, str, tuple[Predictor, Family]]]:
    """Triples that hold every term of a bound: E log p by posterior and pair, KL by posterior and prior.

    A gradient is the sum of its terms', so a further triple would say nothing new.
    """
    seen, found = set(), []
    for triple in TRIPLES:
        prior, posterior, (predictor, family) = triple
        terms = {(posterior, type(predictor), type(family)), (posterior, prior)}
        if not terms <= seen:
            found.append(triple)
        seen |= terms
    return found


@pytest.mark.parametrize("triple", summands(), ids=named)
def test_gradients_equal_finite_differences(triple: tuple[str, str, tuple[Predictor, Family]]) -> None:
    """With respect to the posterior's parameters and to affinity."""
    start = torch.tensor(POSTERIORS[triple[1]][1], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda parameters, affinity: bound(triple, parameters, affinity),
        (start.requires_grad_(), AFFINITY.clone().requires_grad_()),
        eps=1e-6,
        atol=1e-6,
        rtol=1e-5,
    )


LEARNED = list({(t[1], type(t[2][0]), type(t[2][1])): t[1:] for t in TRIPLES if t[2][0].learned}.values())


@pytest.mark.parametrize("case", LEARNED, ids=lambda case: named(("", *case))[1:])
def test_gradients_reach_the_predictor(case: tuple[str, tuple[Predictor, Family]]) -> None:
    """The link's parameter, or gamma, is learned through the same bound, in which no prior of popularity stands."""
    posterior, (predictor, family) = case
    name = predictor.learned[0]
    q = built(POSTERIORS[posterior])

    def total(parameter: Tensor) -> Tensor:
        used = type(predictor)(**{name: parameter})
        each = expected_log_prob(q, used, family, VALUE, TRIALS, AFFINITY, torch.zeros_like(AFFINITY))
        return each.sum()

    start = torch.tensor(float(getattr(predictor, name)), dtype=torch.float64)
    assert torch.autograd.gradcheck(total, (start.requires_grad_(),), eps=1e-6, atol=1e-6, rtol=1e-5)
