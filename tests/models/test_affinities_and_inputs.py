"""Affinities against their double sums, and the moments of a side's inputs against draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyro.distributions as dist
import pytest
import torch

from pyrorec.models.affinities import (
    Affinity,
    Dot,
    FactorisationMachine,
    FeaturedDot,
    Linear,
    factorisation_machine,
    pairwise_sum,
)
from pyrorec.models.inputs import Inputs, Laws, Values

USERS, ITEMS, FACTORS, COLUMNS = 5, 4, 3, {"user": 2, "item": 3}
DRAWS = 40_000
every_affinity = pytest.mark.parametrize("cls", list(Affinity.registry), ids=lambda c: c.name)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def sides(affinity: Affinity, columns: dict[str, int] = COLUMNS) -> dict[str, Inputs]:
    """Users and items with features, and a centre that is not zero."""
    found = {
        "user": Inputs("user", normal(USERS, columns["user"], seed=1), affinity, has_effect=True).double(),
        "item": Inputs("item", normal(ITEMS, columns["item"], seed=2), affinity, has_effect=True).double(),
    }
    found["user"].centre.copy_(normal(affinity.factors, seed=3))
    return found


def weights(side: Inputs, seed: int) -> Values:
    return {site: normal(*shape, seed=seed + i) for i, (site, shape) in enumerate(side.shapes.items())}


def laws(side: Inputs, seed: int) -> Laws:
    """A normal law of every weight of a side."""
    return {
        site: dist.Normal(normal(*shape, seed=seed + i), 0.1 + normal(*shape, seed=seed + 20 + i).abs())
        for i, (site, shape) in enumerate(side.shapes.items())
    }


def double_sum(x: torch.Tensor, w: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """sum_j w_j x_j + sum_{j<l} (v_j . v_l) x_j x_l, pair by pair."""
    total = (w * x).sum()
    for j in range(len(x)):
        for k in range(j + 1, len(x)):
            total = total + (v[j] @ v[k]) * x[j] * x[k]
    return total


@pytest.mark.parametrize("seed", range(3))
def test_a_factorisation_machine_is_its_double_sum(seed: int) -> None:
    x, w, v = normal(6, 8, seed=seed), normal(8, seed=seed + 10), normal(8, 3, seed=seed + 20)
    expected = torch.stack([double_sum(row, w, v) for row in x])
    got = factorisation_machine(x, torch.tensor(0.7, dtype=torch.float64), w, v)
    torch.testing.assert_close(got, 0.7 + expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pairwise_sum(x, v), expected - x @ w, rtol=1e-12, atol=1e-12)


def joint_row(user: Inputs, item: Inputs, values: Values, u: int, i: int) -> tuple[torch.Tensor, ...]:
    """The whole row of one-hot ids and features of both sides, with its weights and vectors."""
    x = torch.cat([torch.eye(USERS).double()[u], user.features[u], torch.eye(ITEMS).double()[i], item.features[i]])
    w = torch.cat([values[f"{side}_{block}"] for side in ("user", "item") for block in ("effect", "weights")])
    v = torch.cat([values[f"{side}_{block}"] for side in ("user", "item") for block in ("factors", "feature_factors")])
    return x, w, v


def test_offsets_and_dot_product_are_the_machine_on_the_joint_row() -> None:
    """All pairs of inputs of user and item together; the centre takes c . (the item's vector) off."""
    both = sides(FactorisationMachine(factors=FACTORS))
    user, item = both["user"], both["item"]
    values = weights(user, 30) | weights(item, 40)
    for u, i in torch.cartesian_prod(torch.arange(USERS), torch.arange(ITEMS)):
        one_user, one_item = u[None], i[None]
        right = item.vectors(values, one_item)
        got = user.offsets(values, one_user) + item.offsets(values, one_item)
        got = got + (user.vectors(values, one_user) * right).sum(-1)
        expected = double_sum(*joint_row(user, item, values, int(u), int(i))) - right[0] @ user.centre
        torch.testing.assert_close(got[0], expected, rtol=1e-12, atol=1e-12)


@every_affinity
@pytest.mark.parametrize("with_features", [True, False])
@pytest.mark.parametrize("has_effect", [True, False])
def test_an_affinity_says_which_weights_there_are(cls: type[Affinity], with_features: bool, has_effect: bool) -> None:
    affinity = cls.example()
    side = Inputs("item", torch.ones(ITEMS, 3 if with_features else 0), affinity, has_effect)
    read = with_features and affinity.reads_features
    expected: dict[str, tuple[int, ...]] = {}
    if affinity.linear and has_effect:
        expected["item_effect"] = (ITEMS,)
    if affinity.linear and read:
        expected["item_weights"] = (3,)
    if affinity.factors:
        expected["item_factors"] = (ITEMS, affinity.factors)
        if read:
            expected["item_feature_factors"] = (3, affinity.factors)
    assert side.shapes == expected
    assert set(side.log_scale) == set(expected)
    for site, shape in expected.items():
        prior = side.prior(site)
        assert (prior.batch_shape, prior.event_shape) == ((), shape)
        scale = float(side.log_scale[site].detach().exp())
        expected_log_prob = dist.Normal(0.0, scale).log_prob(torch.ones(shape)).sum()
        torch.testing.assert_close(prior.log_prob(torch.ones(shape)).detach(), expected_log_prob)


def test_the_kinds_of_affinity() -> None:
    assert Linear().factors == 0
    assert (Dot().linear, Dot().reads_features) == (False, False)
    assert replace(FactorisationMachine(), factors=9).factors == 9


def test_a_linear_affinity_orders_items_alike_for_every_user() -> None:
    """There is nothing in it of user and item together (maths 1.3, B26); a factor is enough to change that."""

    def orders(affinity: Affinity) -> set[tuple[int, ...]]:
        both = sides(affinity)
        values = weights(both["user"], 50) | weights(both["item"], 60)
        users, items = torch.arange(USERS), torch.arange(ITEMS)
        score = both["user"].offsets(values, users)[:, None] + both["item"].offsets(values, items)
        score = score + both["user"].vectors(values, users) @ both["item"].vectors(values, items).T
        return {tuple(row.tolist()) for row in score.argsort(dim=1)}

    assert len(orders(Linear())) == 1
    assert len(orders(FactorisationMachine(factors=2))) > 1


def by_draws(side: Inputs, of: Laws, f: Any, draws: int = DRAWS) -> tuple[torch.Tensor, torch.Tensor]:
    """Variance of f(values) over draws of every weight, and the standard error of that variance."""
    torch.manual_seed(5)
    drawn = {site: law.sample((draws,)) for site, law in of.items()}
    sample = torch.vmap(f)(drawn)
    centred = (sample - sample.mean(0)).square()
    return centred.mean(0), centred.std(0) / draws**0.5


SUMS = {
    "linear": (Linear(), "linear_variance", lambda side, ids: lambda values: side.offsets(values, ids)),
    "vectors": (
        FactorisationMachine(factors=FACTORS),
        "vector_variance",
        lambda side, ids: lambda values: side.vectors(values, ids),
    ),
    "interactions": (
        FactorisationMachine(factors=FACTORS),
        "interaction_variance",
        lambda side, ids: lambda values: side.interactions(values, ids),
    ),
}


@pytest.mark.parametrize("case", SUMS.values(), ids=SUMS)
@pytest.mark.parametrize("name", ["user", "item"])
def test_variances_equal_those_of_draws(case: Any, name: str) -> None:
    affinity, variance_of, f = case
    side = sides(affinity)[name]
    of, ids = laws(side, 70), torch.tensor([0, 3, 2])
    variance, error = by_draws(side, of, f(side, ids))
    got = getattr(side, variance_of)(of, ids)
    assert got.shape == variance.shape
    assert ((got - variance).abs() < 4 * error).all()
    assert (error < 0.1 * variance).all()


def test_the_variance_of_all_offsets_is_the_sum_of_its_parts() -> None:
    """Linear terms and interactions are uncorrelated, though they share a row."""
    side = sides(FactorisationMachine(factors=FACTORS))["item"]
    of, ids = laws(side, 80), torch.arange(ITEMS)
    variance, error = by_draws(side, of, lambda values: side.offsets(values, ids))
    got = side.linear_variance(of, ids) + side.interaction_variance(of, ids)
    assert ((got - variance).abs() < 4 * error).all()


@pytest.mark.parametrize("affinity", [Dot(factors=2), Linear(), FactorisationMachine(factors=2)], ids=lambda a: a.name)
def test_what_is_not_there_has_no_variance(affinity: Affinity) -> None:
    side = sides(affinity, {"user": 0, "item": 0})["item"]
    of, ids = laws(side, 90), torch.arange(ITEMS)
    assert not side.interaction_variance(of, ids).any()
    assert side.vector_variance(of, ids).shape == (ITEMS, affinity.factors)
    assert bool(side.linear_variance(of, ids).any()) == affinity.linear


def test_factors_told_by_features_have_no_terms_within_a_row() -> None:
    """Nor a variance of them: what features say of a row meets the other side alone."""
    features = torch.randn(5, 3)
    side = Inputs("item", features, FeaturedDot(2), has_effect=True)
    assert set(side.shapes) == {"item_factors", "item_feature_factors"}
    values = {site: torch.randn(shape) for site, shape in side.shapes.items()}
    laws = {site: dist.Normal(value, torch.ones_like(value)) for site, value in values.items()}
    ids = torch.arange(5)
    assert not side.offsets(values, ids).any()
    assert not side.interaction_variance(laws, ids).any()
    told = values["item_factors"] + features @ values["item_feature_factors"]
    torch.testing.assert_close(side.vectors(values, ids), told)
    torch.testing.assert_close(side.vector_variance(laws, ids), 1 + features.square().sum(1, keepdim=True).expand(5, 2))
