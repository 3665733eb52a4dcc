"""Numbers, laws and integrals that several errata share."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import torch
from scipy import special
from torch import Tensor

from pyrorec.models.integrals.normal import logistic_normal, logistic_normal_square

EXPIT = special.expit


def number(tensor: Tensor) -> float:
    """A tensor of one element as a float."""
    return float(tensor.double())


def double(*values: float) -> list[Tensor]:
    """Floats as tensors in double precision."""
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def normal(mean: float, sd: float) -> dist.Normal:
    """N(mean, sd) in double precision."""
    at = double(mean, sd)
    return dist.Normal(at[0], at[1])


def response(mean: float, sd: float) -> float:
    """L(mean, sd) = E sigma(mean + sd e) (maths 4.4)."""
    return number(logistic_normal(*double(mean, sd)))


def response_square(mean: float, sd: float) -> float:
    """E sigma(mean + sd e)^2 (maths 7.4)."""
    return number(logistic_normal_square(*double(mean, sd)))


def hermite(nodes: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Hermite nodes and weights under the standard normal law."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    return x, w / w.sum()
