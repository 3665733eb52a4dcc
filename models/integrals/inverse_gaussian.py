"""Probabilities of a click with inverse Gaussian popularity integrated out, by its Laplace transform (maths 4.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrorec.models.integrals.probability import LogProbability, in_double


@in_double
def saturation(mean: Tensor, shape: Tensor, lam: Tensor) -> LogProbability:
    """E [1 - e^(-lam z)]: log(1 - G) = -(shape / mean) w / (1 + sqrt(1 + w)), w = 2 mean^2 lam / shape."""
    w = 2 * mean**2 * lam / shape
    return LogProbability.from_log(-shape / mean * w / (1 + torch.sqrt(1 + w))).complement
