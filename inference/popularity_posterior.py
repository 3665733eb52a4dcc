"""The posterior of a fitted popularity model, in the form in which every question is asked: factors and effects."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from pyrorec.guides.popularity import PopularityGuide
from pyrorec.inference.posterior import Effect, Posterior
from pyrorec.models.inputs import Inputs, Laws
from pyrorec.models.laws import mapped, single
from pyrorec.models.popularity import Popularity
from pyrorec.models.predictors import Plain
from pyrorec.models.sharing import PerInteraction, PerPeriod


@dataclass(frozen=True)
class Rows:
    """Mean and sd of a side's vectors (rows, K) and offsets (rows,)."""

    vectors: Tensor
    vectors_sd: Tensor
    offsets: Tensor
    offsets_sd: Tensor


@torch.no_grad()
def read_popularity_posterior(model: Popularity, guide: PopularityGuide, users: pd.Index, items: pd.Index) -> Posterior:
    """Users' and items' vectors, each with two columns more: the side's offset, and the one it meets.

    A user's row is (vector, offset, 1), an item's (vector, 1, offset), so that affinity is one dot product. Columns
    of ones have no spread. Covariance between a row's vector and offset is left out.
    """
    laws = {site: single(law) for site, law in guide.laws().items()}
    user, item = rows_of(model.user, laws), rows_of(model.item, laws)
    return Posterior(
        users=users,
        items=items,
        user_mean=joined(user.vectors, user.offsets, ones(user)),
        user_sd=joined(user.vectors_sd, user.offsets_sd, zeros(user)),
        item_mean=joined(item.vectors, ones(item), item.offsets),
        item_sd=joined(item.vectors_sd, zeros(item), item.offsets_sd),
        intercept=model.level.intercept.detach().clone(),
        user_effect=Effect(None, None, Plain()),
        item_effect=item_effect(model, guide),
        response=model.learned("family").fixed(),
    )


def rows_of(side: Inputs, laws: Laws) -> Rows:
    """Moments of every row of a side."""
    everyone = torch.arange(side.size, device=side.centre.device)
    means = {site: law.mean for site, law in laws.items()}
    variance = side.linear_variance(laws, everyone) + side.interaction_variance(laws, everyone)
    return Rows(
        side.vectors(means, everyone).clone(),
        side.vector_variance(laws, everyone).sqrt(),
        side.offsets(means, everyone),
        variance.sqrt(),
    )


def joined(vectors: Tensor, *columns: Tensor) -> Tensor:
    """Vectors with further columns."""
    return torch.cat([vectors, *(column[:, None] for column in columns)], -1)


def ones(rows: Rows) -> Tensor:
    """A column of ones."""
    return torch.ones_like(rows.offsets)


def zeros(rows: Rows) -> Tensor:
    """A column of zeros."""
    return torch.zeros_like(rows.offsets)


def item_effect(model: Popularity, guide: PopularityGuide) -> Effect:
    """Popularity of every item: its posterior, that of its last period, or its prior where each record has its own."""
    predictor = model.learned("predictor").fixed()
    if model.spec.popularity is None:
        return Effect(None, None, predictor)
    population = model.learned("popularity").fixed().population(like=model.level.intercept)
    items = torch.arange(model.item.size, device=model.level.intercept.device)
    sharing = model.spec.sharing
    if isinstance(sharing, PerInteraction):
        law = population.expand((model.item.size,)) if model.item_law is None else model.item_law(*model.item_prior)
        return Effect(mapped(law, torch.clone), population, predictor)
    groups = items * sharing.periods + sharing.periods - 1 if isinstance(sharing, PerPeriod) else items
    return Effect(mapped(guide.popularity_law(model, groups), torch.clone), population, predictor)
