"""The saturation 1 - e^-x and the product h (1 - e^-x) in forms that keep their digits at both ends."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 1e-30
"""Below this x, (1 - e^-x) / x is one to rounding."""


def log_saturation_excess(x: Tensor) -> Tensor:
    """log((1 - e^-x) / x), smooth from zero on."""
    x = x.clamp_min(SMALLEST)
    return torch.log(-torch.expm1(-x) / x)


def log_saturated(log_x: Tensor) -> Tensor:
    """log(1 - e^-x) for any log x: log x is never lost to an underflow of x."""
    small = log_x < 0
    x = torch.exp(torch.where(small, log_x, torch.zeros_like(log_x)))
    high = torch.exp(torch.where(small, torch.zeros_like(log_x), log_x))
    return torch.where(small, log_x + log_saturation_excess(x), torch.log1p(-torch.exp(-high)))


def tilted_log_saturation(log_x: Tensor) -> Tensor:
    """-e^x log(1 - e^-x) > 0, which falls from -log x near zero to one: no underflow at a large x."""
    small = log_x < 0
    x = torch.exp(torch.where(small, log_x, torch.zeros_like(log_x)))
    below = -torch.exp(x) * (torch.where(small, log_x, torch.zeros_like(log_x)) + log_saturation_excess(x))
    q = torch.exp(-torch.exp(torch.where(small, torch.zeros_like(log_x), log_x)))
    tiny = q < 1e-17
    q = torch.where(tiny, torch.full_like(q, 0.5), q)
    above = torch.where(tiny, torch.ones_like(q), -torch.log1p(-q) / q)
    return torch.where(small, below, above)


def minus_log_one_minus_match(eta: Tensor, x: Tensor) -> Tensor:
    """-log(1 - sigma(eta) (1 - e^-x)), x >= 0: softplus(eta) - softplus(eta - x) without the difference (maths 5)."""
    return torch.log1p(-torch.expm1(-x) * torch.exp(eta - softplus(eta - x)))


def minus_log_one_minus_match_ratio(eta: Tensor, s: Tensor) -> Tensor:
    """-log(1 - sigma(eta) sigma(s)) >= 0: the product with the ratio z / (z + C), s = log(z / C) (maths 5).

    1 - h g = (1 + (1 - h) e^s) / (1 + e^s), so that the log is of one plus h e^s / (1 + (1 - h) e^s).
    """
    return torch.log1p(torch.exp(F.logsigmoid(eta) + s - softplus(s - softplus(eta))))


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x) to full relative accuracy: torch's own turns linear at 20."""
    return -F.logsigmoid(-x)
