"""KL divergences in closed form, with refusals that say what to do instead."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints, kl_divergence

Bound = float | Tensor


class InfiniteDivergence(ValueError):
    """A posterior family that reaches where its prior has no mass: its KL is infinite whatever its parameters."""


def closed_form_kl(q: Any, p: Any) -> Tensor:
    """KL(q || p), batch shape of the two laws, by formula and never by draws (maths 4.2).

    Raises InfiniteDivergence where q's support exceeds p's, NotImplementedError where no formula is registered.
    """
    import pyrorec.models.quadrature  # noqa: F401  registers the pairs that need a moment by a rule, and imports the laws

    check_finite_kl(q, p)
    try:
        return kl_divergence(q, p)
    except NotImplementedError as error:
        raise NotImplementedError(
            f"no closed-form KL({_name(q)} || {_name(p)}): use the Monte Carlo objective, MonteCarlo(), or register "
            "one with torch's register_kl"
        ) from error


def check_finite_kl(q: Any, p: Any) -> None:
    """Raises InfiniteDivergence if q, a law or its class, reaches beyond the support of p, a law or its class.

    torch answers inf for some of these pairs, and a gradient of zero, which would look like training. A point mass
    passes, and so does a class whose support depends on its parameters.
    """
    ours, theirs = _reach(q), _reach(p)
    if ours is None or theirs is None:
        return
    below, above = ours[0] < theirs[0], ours[1] > theirs[1]
    if bool(torch.as_tensor(below).any()) or bool(torch.as_tensor(above).any()):
        raise InfiniteDivergence(
            f"KL({_name(q)} || {_name(p)}) is infinite, for {_name(q)} reaches where {_name(p)} has no mass: take a "
            "positive posterior (Gamma, LogNormal, Weibull) for a positive prior, or put the prior on log popularity"
        )


def _name(law: Any) -> str:
    return str((law if isinstance(law, type) else type(law)).__name__)


def _reach(law: Any) -> tuple[Bound, Bound] | None:
    """Lower and upper end of a continuous law's support; None for point masses, discrete laws and unknown supports."""
    if isinstance(law, dist.Delta) or law is dist.Delta:
        return None
    support = getattr(law, "support", None)
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if getattr(support, "is_discrete", False):
        return None
    if isinstance(support, type(constraints.real)):
        return -math.inf, math.inf
    lower, upper = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    if lower is None and upper is None:
        return None
    return (-math.inf if lower is None else lower), (math.inf if upper is None else upper)
