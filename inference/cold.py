"""Users and items that the log does not know: a posterior from features, or from the population."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.data import FeatureEncoder
from pyrorec.inference.posterior import Effect, Posterior
from pyrorec.models.laws import parameters, resembling

PENALTY = 10.0
"""Ridge penalty, in rows: features must speak for more rows than this before they are believed."""


@dataclass(frozen=True)
class SideFeatures:
    """The feature table of one side with the encoder that reads it.

    `law` gives the law of a row's factors, centred, at encoded features (rows, columns), where the model's own prior
    reads them; without it, features speak by ridge regression.
    """

    table: pd.DataFrame
    encoder: FeatureEncoder
    law: Callable[[Tensor], dist.TorchDistribution] | None = None

    @classmethod
    def of(cls, table: pd.DataFrame | None, encoder: FeatureEncoder | None) -> SideFeatures | None:
        """None where a side has no table or no encoder that reads it."""
        return None if table is None or encoder is None else cls(table, encoder)

    def with_law(self, law: Callable[[Tensor], dist.TorchDistribution]) -> SideFeatures:
        """The same features read by the model's own prior."""
        return replace(self, law=law)

    def rows(self, ids: pd.Index) -> np.ndarray:
        """Encoded features of some ids, zeros (the mean) for ids without a row."""
        return self.encoder.transform(self.table, ids).values.astype(np.float64)


@torch.no_grad()
def extend(
    posterior: Posterior,
    users: pd.Index,
    items: pd.Index,
    user_features: SideFeatures | None = None,
    item_features: SideFeatures | None = None,
) -> Posterior:
    """The posterior with rows appended for unknown users and items.

    A new row's factors are normal about the known rows' mean, with the sd of the known rows' aggregated
    posterior; where features are given, about a ridge regression of the known rows' means on them, with the sd
    of its residuals; where the model's prior reads features, they have that prior (maths 6.3). Its effect has the
    population's law.
    """
    user_mean, user_sd = _appended(posterior.users, posterior.user_mean, posterior.user_sd, users, user_features)
    item_mean, item_sd = _appended(posterior.items, posterior.item_mean, posterior.item_sd, items, item_features)
    return replace(
        posterior,
        users=posterior.users.append(users),
        items=posterior.items.append(items),
        appended_items=posterior.appended_items + len(items),
        user_mean=user_mean,
        user_sd=user_sd,
        item_mean=item_mean,
        item_sd=item_sd,
        user_effect=_with_population(posterior.user_effect, len(users)),
        item_effect=_with_population(posterior.item_effect, len(items)),
    )


def _appended(
    known: pd.Index, mean: Tensor, sd: Tensor, new: pd.Index, features: SideFeatures | None
) -> tuple[Tensor, Tensor]:
    """Means and sds with one row per new id."""
    if not len(new):
        return mean, sd
    if features is not None and features.law is not None:
        law = features.law(torch.as_tensor(features.rows(new)).to(mean))
        return torch.cat([mean, law.mean]), torch.cat([sd, law.stddev])
    centre = mean.mean(0)
    predicted, residual = centre.expand(len(new), -1), mean - centre
    if features is not None:
        weights, fitted = _ridge(features.rows(known), residual)
        predicted = predicted + torch.as_tensor(features.rows(new) @ weights).to(mean)
        residual = residual - fitted
    spread = (residual.var(0, correction=0) + (sd**2).mean(0)).sqrt()
    return torch.cat([mean, predicted]), torch.cat([sd, spread.expand(len(new), -1)])


def _ridge(x: np.ndarray, y: Tensor) -> tuple[np.ndarray, Tensor]:
    """Coefficients (features, K) and fitted values of a ridge regression without intercept."""
    target = y.double().numpy()
    weights = np.linalg.solve(x.T @ x + PENALTY * np.eye(x.shape[1]), x.T @ target)
    return weights, torch.as_tensor(x @ weights).to(y)


def _with_population(effect: Effect, new: int) -> Effect:
    """The effect's law with the population's law for each new row."""
    if effect.law is None or effect.population is None or not new:
        return effect
    if isinstance(effect.law, dist.Delta):
        law: dist.TorchDistribution = dist.Delta(_padded(effect.law.v, effect.population.mean, new))
    else:
        drawn = resembling(type(effect.law), effect.population)
        pairs = zip(parameters(effect.law), parameters(drawn), strict=True)
        kind: Any = type(effect.law)
        law = kind(*(_padded(known, one, new) for known, one in pairs))
    return replace(effect, law=law)


def _padded(known: Tensor, value: Tensor, new: int) -> Tensor:
    return torch.cat([known, value.to(known).expand(new)])
