"""E log p(y | affinity, popularity) over a posterior of popularity: the registry of (law, predictor, family).

Two kinds of entries. A joint one integrates normal affinity and popularity together, exactly. A conditional one takes
affinity as known and integrates popularity: in closed form where there is one, else by the quadrature rule of the law
(`pyrorec.models.quadrature`, its error stated there). Nothing is ever sampled. A law without an entry and without a
rule raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor

from pyrorec.models.distributions import Scale
from pyrorec.models.families import Bernoulli, Cloglog, Family, Poisson
from pyrorec.models.families.bernoulli import log_choose
from pyrorec.models.integrals import gamma_logs
from pyrorec.models.links import expected_log_link, expected_log_unmatched
from pyrorec.models.mass import safe_exp
from pyrorec.models.moments import mean_log
from pyrorec.models.predictors import (
    Additive,
    LogAdditive,
    Odds,
    Offset,
    Plain,
    Predictor,
    Product,
    ProductRatio,
    ProductSaturation,
    ProductTanh,
)
from pyrorec.models.quadrature import average

Joint = Callable[[Any, Any, Any, Tensor, Tensor, Tensor, Tensor], Tensor]
Conditional = Callable[[Any, Any, Any, Tensor, Tensor, Tensor], Tensor]
_JOINT: dict[tuple[type, type, type], Joint] = {}
_CONDITIONAL: dict[tuple[type, type, type], Conditional] = {}


def joint(law: type, predictor: type, family: type) -> Callable[[Joint], Joint]:
    """Registers an expectation over normal affinity and popularity together; `family` may be a base class."""

    def add(function: Joint) -> Joint:
        _JOINT[(law, predictor, family)] = function
        return function

    return add


def conditional(law: type, predictor: type, family: type) -> Callable[[Conditional], Conditional]:
    """Registers an expectation over popularity at known affinity; `family` may be a base class."""

    def add(function: Conditional) -> Conditional:
        _CONDITIONAL[(law, predictor, family)] = function
        return function

    return add


def _found(registry: dict[tuple[type, type, type], Any], law: Any, predictor: Predictor, family: Family) -> Any:
    """The entry of the most special family, or None."""
    for kind in type(family).__mro__:
        if (entry := registry.get((type(law), type(predictor), kind))) is not None:
            return entry
    return None


def integrates_affinity(law: dist.TorchDistribution | None, predictor: Predictor, family: Family) -> bool:
    """Whether a normal affinity is integrated together with popularity; if not, it has to be drawn."""
    return _found(_JOINT, law, predictor, family) is not None


def expected_log_prob(
    law: dist.TorchDistribution | None,
    predictor: Predictor,
    family: Family,
    value: Tensor,
    trials: Tensor,
    mean: Tensor,
    variance: Tensor,
) -> Tensor:
    """E log p(value), affinity ~ N(mean, variance) and z ~ law independent; elementwise (maths 5).

    `law` is None where the predictor takes no popularity. Where `integrates_affinity` is false the variance has to be
    zero: affinity is known. Raises NotImplementedError for a law that has neither an entry nor a quadrature rule.
    """
    if (entry := _found(_JOINT, law, predictor, family)) is not None:
        return entry(law, predictor, family, value, trials, mean, variance)
    if (closed := _found(_CONDITIONAL, law, predictor, family)) is not None:
        return closed(law, predictor, family, value, trials, mean)
    return by_quadrature(law, predictor, family, value, trials, mean)


def by_quadrature(
    law: Any, predictor: Predictor, family: Family, value: Tensor, trials: Tensor, affinity: Tensor
) -> Tensor:
    """E log p(value) at known affinity by the law's own rule."""

    def at(node: Tensor) -> Tensor:
        popularity = node if predictor.scale is Scale.LOG else node.exp()
        return predictor.log_prob(family, value, trials, affinity, popularity)

    return average(law, at)


@joint(type(None), Plain, Family)
def _(law: None, predictor: Plain, family: Family, value: Tensor, trials: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """No popularity at all."""
    return family.expected_log_prob(value, trials, mean, var)


@joint(dist.Normal, Additive, Family)
def _(
    law: dist.Normal, predictor: Additive, family: Family, value: Tensor, trials: Tensor, mean: Tensor, var: Tensor
) -> Tensor:
    """The linear predictor is normal with mean a + gamma m and variance v + gamma^2 s^2."""
    location, spread = predictor.offset_moments(law)
    return family.expected_log_prob(value, trials, mean + location, var + spread)


def _normal_log(
    law: dist.LogNormal, predictor: Offset, family: Family, value: Tensor, trials: Tensor, mean: Tensor, var: Tensor
) -> Tensor:
    """The linear predictor is normal with mean a + mu and variance v + s^2."""
    return family.expected_log_prob(value, trials, mean + law.loc, var + law.scale**2)


joint(dist.LogNormal, LogAdditive, Family)(_normal_log)
joint(dist.LogNormal, Odds, Family)(_normal_log)


def _log_additive_poisson(
    law: Any, predictor: LogAdditive, family: Poisson, value: Tensor, trials: Tensor, mean: Tensor, var: Tensor
) -> Tensor:
    """y (a + E log z + log trials) - trials e^(a + v/2) E z - log y!, from the law's moments."""
    rate = safe_exp(mean + 0.5 * var + law.mean.log())
    return value * (mean + mean_log(law)) - trials * rate + family.log_base(value, trials)


for _law in (dist.Gamma, dist.Exponential, dist.Weibull):
    joint(_law, LogAdditive, Poisson)(_log_additive_poisson)


def _log_additive_cloglog(
    law: Any, predictor: LogAdditive, family: Cloglog, value: Tensor, trials: Tensor, affinity: Tensor
) -> Tensor:
    """c E log(1 - e^-rz) - (trials - c) r E z + log binomial(trials, c), r = e^a (maths 5)."""
    rate = safe_exp(affinity)
    click = expected_log_link(law, ProductSaturation(saturation=rate))
    return value * click - (trials - value) * rate * law.mean + log_choose(trials, value)


def _odds_bernoulli(
    law: Any, predictor: Odds, family: Bernoulli, value: Tensor, trials: Tensor, affinity: Tensor
) -> Tensor:
    """c (a + E log z) + trials E log sigma(-a - log z), by E log(1 + z / C) with C = e^-a (maths 5)."""
    no_click = -gamma_logs.log1p_over(law.concentration, law.rate, torch.exp(-affinity))
    return value * (affinity + mean_log(law)) + trials * no_click + log_choose(trials, value)


def _product_bernoulli(
    law: Any, predictor: Product, family: Bernoulli, value: Tensor, trials: Tensor, affinity: Tensor
) -> Tensor:
    """c (log h + E log g) + (trials - c) E log(1 - h g) + log binomial(trials, c) (maths 5)."""
    click = F.logsigmoid(affinity) + expected_log_link(law, predictor)
    return (
        value * click + (trials - value) * expected_log_unmatched(law, predictor, affinity) + log_choose(trials, value)
    )


for _law in (dist.Gamma, dist.Exponential, dist.Weibull):
    conditional(_law, LogAdditive, Cloglog)(_log_additive_cloglog)
conditional(dist.Gamma, Odds, Bernoulli)(_odds_bernoulli)
for _law in (dist.Gamma, dist.Exponential, dist.LogNormal, dist.Weibull):
    for _predictor in (ProductSaturation, ProductRatio, ProductTanh):
        conditional(_law, _predictor, Bernoulli)(_product_bernoulli)
