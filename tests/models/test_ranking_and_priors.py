"""The three scores of maths 1.4: one law for all items keeps the order of affinity, laws of their own do not."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from conftest import CELLWISE

from pyrorec.models.distributions import Prior, Scope, WrongScope
from pyrorec.models.families import Bernoulli, Family, Poisson
from pyrorec.models.marginals import adjust, marginal_mean
from pyrorec.models.predictors import Additive, Predictor, Product


def f64(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


RATES = [
    dist.Gamma(f64(0.6), f64(0.6)),
    dist.Exponential(f64(1.0)),
    dist.LogNormal(f64(-0.3), f64(0.8)),
    dist.Weibull(f64(1.1), f64(1.6)),
]
LOGS = [dist.Normal(f64(0.0), f64(1.0))]


def pairs() -> list[tuple[Predictor, Family]]:
    """Every predictor that takes popularity, with every family of it."""
    found = []
    for cls in Predictor.registry:
        if cls.scale is None:
            continue
        for of in CELLWISE:
            try:
                cls.example().check_family(of.example())
            except ValueError:
                continue
            found.append((cls.example(), of.example()))
    return found


def laws_for(predictor: Predictor) -> list[Any]:
    return LOGS if isinstance(predictor, Additive) else RATES


PAIRS = pairs()
NAMES = [f"{predictor.name}-{family.name}" for predictor, family in PAIRS]
every_pair = pytest.mark.parametrize(("given", "of"), PAIRS, ids=NAMES)
AFFINITY = torch.randn(3, 40, generator=torch.Generator().manual_seed(1)).double()


def item_laws(predictor: Predictor, popularity: torch.Tensor) -> Any:
    """One narrow law an item, about its popularity."""
    if isinstance(predictor, Additive):
        return dist.Normal(popularity.log(), 0.2 * torch.ones_like(popularity))
    return dist.Gamma(torch.full_like(popularity, 25.0), 25.0 / popularity)


def test_every_predictor_of_popularity_is_here() -> None:
    assert {type(predictor) for predictor, _ in PAIRS} == {cls for cls in Predictor.registry if cls.scale is not None}


@every_pair
def test_under_one_law_the_order_is_that_of_affinity(given: Predictor, of: Family) -> None:
    """Theorem 1: for each user, sorting by S_do is sorting by a_ui."""
    for law in laws_for(given):
        score = adjust(Prior(law, Scope.POPULATION), given, of, AFFINITY)
        assert torch.equal(score.argsort(dim=1), AFFINITY.argsort(dim=1)), type(law).__name__


@every_pair
def test_under_laws_of_their_own_popularity_comes_back(given: Predictor, of: Family) -> None:
    """Theorem 2, by counterexample: the item with less affinity and more popularity is ranked first."""
    affinity = f64([0.5, 0.0])
    own = marginal_mean(item_laws(given, f64([0.3, 1.5])), given, of, affinity)
    assert own[1] > own[0]
    shared = adjust(Prior(laws_for(given)[0], Scope.POPULATION), given, of, affinity)
    assert shared[0] > shared[1]


@every_pair
def test_at_one_affinity_own_laws_rank_by_popularity(given: Predictor, of: Family) -> None:
    popularity = torch.linspace(0.2, 2.0, 12).double()
    score = marginal_mean(item_laws(given, popularity), given, of, torch.zeros(12).double())
    assert (score.diff() > 0).all()


@pytest.mark.parametrize("product", [p for p, _ in PAIRS if isinstance(p, Product)], ids=lambda p: p.name)
def test_own_laws_multiply_the_match_of_a_product(product: Product) -> None:
    """S = h_ui G_i with G_i = E g under the item's own law."""
    law = item_laws(product, f64([0.3, 0.9, 1.5]))
    affinity = AFFINITY[:, :3]
    link = marginal_mean(law, product, Bernoulli(), torch.full((3,), 60.0).double())  # h = 1
    torch.testing.assert_close(
        marginal_mean(law, product, Bernoulli(), affinity), torch.sigmoid(affinity) * link, rtol=1e-12, atol=0
    )


def test_an_effect_of_its_own_for_each_user_keeps_the_order() -> None:
    """Theorem 1 holds user by user: gamma_u may differ; an effect of its own for each item breaks it."""
    population, affinity = dist.Normal(f64(0.5), f64(1.0)), AFFINITY
    by_user = Additive(popularity_effect=f64([0.2, 1.0, 3.0])[:, None])
    score = marginal_mean(population, by_user, Bernoulli(), affinity)
    assert torch.equal(score.argsort(dim=1), affinity.argsort(dim=1))
    by_item = Additive(popularity_effect=torch.linspace(0.0, 4.0, 40).double())
    score = marginal_mean(population, by_item, Bernoulli(), affinity)
    assert not torch.equal(score.argsort(dim=1), affinity.argsort(dim=1))


@every_pair
def test_adjusting_refuses_priors_of_items(given: Predictor, of: Family) -> None:
    items = Prior(item_laws(given, f64([0.3, 1.5])), Scope.ITEM)
    with pytest.raises(WrongScope, match="which would bring popularity back: give a population prior"):
        adjust(items, given, of, f64([0.5, 0.0]))


def test_adjusting_is_the_marginal_under_the_population() -> None:
    law = dist.Gamma(f64(2.0), f64(2.0))
    prior = Prior(law, Scope.POPULATION)
    assert prior.population() is law
    given, of = next((p, f) for p, f in PAIRS if isinstance(f, Poisson) and not isinstance(p, Additive))
    assert torch.equal(adjust(prior, given, of, AFFINITY), marginal_mean(law, given, of, AFFINITY))


def test_a_prior_has_the_shape_of_its_scope() -> None:
    one, many, table = (dist.Gamma(torch.ones(shape), torch.ones(shape)) for shape in ((), (3,), (2, 3)))
    assert Prior(many, Scope.ITEM).law is many
    for law in (many, table):
        with pytest.raises(WrongScope, match="a population prior is one law"):
            Prior(law, Scope.POPULATION)
    for law in (one, table):
        with pytest.raises(WrongScope, match="one law an item"):
            Prior(law, Scope.ITEM)
