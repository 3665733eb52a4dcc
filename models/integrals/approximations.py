"""Cheap approximations of L(mean, sd) = E sigma(X), X ~ N(mean, sd), by name: for comparison, never the default.

Plain functions of tensors that broadcast. Their errors are absolute, over all means and sd <= 10 (maths 1.5); for
rare events only `integrals.normal.log_logistic_normal` keeps relative accuracy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrorec.models.special import in_double

MIXTURE_WEIGHT = (
    0.003246343272134,
    0.051517477033972,
    0.195077912673858,
    0.315569823632818,
    0.274149576158423,
    0.131076880695470,
    0.027912418727972,
    0.001449567805354,
)
MIXTURE_SCALE = (
    1.365340806296348,
    1.059523971016916,
    0.830791313765644,
    0.650732166639391,
    0.508135425366489,
    0.396313345166341,
    0.308904252267995,
    0.238212616409306,
)


@in_double
def mackay(mean: Tensor, sd: Tensor) -> Tensor:
    """sigma(mean / sqrt(1 + pi sd^2 / 8)); error up to .018, and by a factor of 3 at (-10, 3) (maths 1.5)."""
    return torch.sigmoid(mean / torch.sqrt(1 + math.pi / 8 * sd**2))


@in_double
def note_without_pi_over_8(mean: Tensor, sd: Tensor) -> Tensor:
    """sigma(mean / sqrt(1 + sd^2)): WRONG, kept to show the erratum B25 (maths 1.3).

    Without pi / 8 it shrinks too much: error up to .12, for sd <= 1 worse than leaving the variance out.
    """
    return torch.sigmoid(mean / torch.sqrt(1 + sd**2))


@in_double
def probit_mixture(mean: Tensor, sd: Tensor) -> Tensor:
    """sum_j p_j Phi(s_j mean / sqrt(1 + s_j^2 sd^2)), 8 terms; error below 2.1e-9 for every mean and sd (maths 4.4)."""
    total = torch.zeros_like(mean)
    for weight, scale in zip(MIXTURE_WEIGHT, MIXTURE_SCALE, strict=True):
        total = total + weight * torch.special.ndtr(scale * mean / torch.sqrt(1 + (scale * sd) ** 2))
    return total
