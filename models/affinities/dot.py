"""The dot product of user and item factors, and its moments under a mean-field posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pyrorec.models.affinities.base import Affinity


@dataclass(frozen=True)
class Dot(Affinity):
    """a = theta_u . beta_i + b0 over ids alone."""

    name: ClassVar[str] = "dot"
    linear: ClassVar[bool] = False
    reads_features: ClassVar[bool] = False

    factors: int = 4


def dot_mean(a: Tensor, b: Tensor) -> Tensor:
    """E theta.beta = a.b for means a (U, K) and b (I, K): (U, I) (maths 6.4)."""
    return a @ b.T


def dot_variance(a: Tensor, s: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Var theta.beta = sum a^2 t^2 + b^2 s^2 + s^2 t^2 for sds s (U, K) and t (I, K): (U, I) (maths 6.4)."""
    return (a**2 + s**2) @ (t**2).T + s**2 @ (b**2).T


def log_mean_exp_factors(a: Tensor, s: Tensor, b: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Factors and loadings, three times as wide, whose product is mean + variance / 2 of theta.beta.

    That is log E exp(theta.beta) to second cumulant (a lognormal rate): what the posterior of a frailty needs
    in place of the plug-in a.b, which understates the rates of rare items.
    """
    left = torch.cat([a, 0.5 * (a**2 + s**2), 0.5 * s**2], -1)
    right = torch.cat([b, t**2, b**2], -1)
    return left, right
