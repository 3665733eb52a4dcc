"""Laws of popularity with their parameters changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.distributions.gamma import match_gamma
from pyrorec.models.distributions.inverse_gaussian import InverseGaussian
from pyrorec.models.moments import mean_log, variance_log

EULER = 0.5772156649015329

PARAMETERS: dict[type, tuple[str, ...]] = {
    dist.Gamma: ("concentration", "rate"),
    dist.Normal: ("loc", "scale"),
    dist.LogNormal: ("loc", "scale"),
    dist.Weibull: ("scale", "concentration"),
    dist.Exponential: ("rate",),
    InverseGaussian: ("loc", "concentration"),
    dist.Delta: ("v",),
}
"""What a law is made of, in the order of its constructor."""


def parameters(law: dist.TorchDistribution) -> tuple[Tensor, ...]:
    """The parameters of a law in the order of its constructor. Raises TypeError for a law not in `PARAMETERS`."""
    kind: Any = type(law)
    if kind not in PARAMETERS:
        raise TypeError(
            f"{kind.__name__} is no law of popularity; there are {', '.join(k.__name__ for k in PARAMETERS)}"
        )
    return tuple(getattr(law, name) for name in PARAMETERS[kind])


def mapped(law: dist.TorchDistribution | None, change: Callable[[Tensor], Tensor]) -> dist.TorchDistribution | None:
    """The law with each of its parameters changed; None stays None."""
    if law is None:
        return None
    kind: Any = type(law)
    changed: dist.TorchDistribution = kind(*(change(parameter) for parameter in parameters(law)))
    return changed


def scaled(law: dist.TorchDistribution, factor: Tensor | float) -> dist.TorchDistribution:
    """The law of `factor` times z. Raises TypeError for a law that is not one of positive numbers."""
    if isinstance(law, dist.Gamma):
        return dist.Gamma(law.concentration, law.rate / factor)
    if isinstance(law, dist.Exponential):
        return dist.Exponential(law.rate / factor)
    if isinstance(law, dist.LogNormal):
        return dist.LogNormal(law.loc + torch.as_tensor(factor).log().to(law.loc), law.scale)
    if isinstance(law, dist.Weibull):
        return dist.Weibull(law.scale * factor, law.concentration)
    if isinstance(law, InverseGaussian):
        return InverseGaussian(law.loc * factor, law.concentration * factor)
    if isinstance(law, dist.Delta):
        return dist.Delta(law.v * factor)
    raise TypeError(f"{type(law).__name__} is no law of a positive popularity, which could be multiplied")


def resembling(kind: type, law: dist.TorchDistribution) -> dist.TorchDistribution:
    """The law of a kind that is nearest to another.

    Itself, a Gamma with the same E z and E log z, an InverseGaussian with the same mean and variance of z, or a
    LogNormal or Weibull with the same mean and variance of log z. Raises TypeError for another kind.
    """
    if type(law) is kind:
        return law
    if kind is dist.Gamma:
        return match_gamma(law.mean, mean_log(law))
    if kind is InverseGaussian:
        return InverseGaussian(law.mean, law.mean**3 / law.variance)
    location, sd = mean_log(law), variance_log(law).sqrt()
    if kind is dist.LogNormal:
        return dist.LogNormal(location, sd)
    if kind is dist.Weibull:
        shape = math.pi / (math.sqrt(6.0) * sd)
        return dist.Weibull(torch.exp(location + EULER / shape), shape)
    raise TypeError(f"no {kind.__name__} resembles {type(law).__name__}")


def single(law: Any) -> Any:
    """The law of single weights or popularities, without the wrapper that makes a block of them one event."""
    return law.base_dist if isinstance(law, torch.distributions.Independent) else law
