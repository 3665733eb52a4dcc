"""E log p(y | affinity, popularity) over a posterior of popularity: the registry of (law, predictor, family).

Two kinds of entries. A joint one integrates normal affinity and popularity together, exactly. A conditional one takes
affinity as known and integrates popularity: in closed form where there is one, else by the quadrature rule of the law
(`pyrorec.models.quadrature`, its error stated there). Nothing is ever sampled. A law without an entry and without a
rule raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor

from pyrorec.models.distributions import InverseGaussian
from pyrorec.models.families import Bernoulli, Cloglog, Family, Poisson
from pyrorec.models.families.bernoulli import log_choose
from pyrorec.models.families.cloglog import log_click
from pyrorec.models.integrals import gamma_logs
from pyrorec.models.laws import mapped
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

Joint = Callable[[Any, Any, Any, "Records", Tensor, Tensor], Tensor]
Conditional = Callable[[Any, Any, Any, "Records", Tensor], Tensor]
_JOINT: dict[tuple[type, type, type], Joint] = {}
_CONDITIONAL: dict[tuple[type, type, type], Conditional] = {}


@dataclass(frozen=True)
class Records:
    """Value and trials of some records, (records,) each, and the place of each one's popularity in the law's batch.

    An `index` of None says that the law broadcasts against the records as it is.
    """

    value: Tensor
    trials: Tensor
    index: Tensor | None = None

    def at(self, of_law: Tensor) -> Tensor:
        """What belongs to each law, for each record."""
        return of_law if self.index is None else of_law[self.index]

    def where(self, chosen: Tensor, f: Callable[[Records, Tensor], Tensor], affinity: Tensor) -> Tensor:
        """f at the chosen records alone, zero elsewhere: a term that most records do not need costs what it must."""
        if self.index is None or bool(chosen.all()):
            return f(self, affinity)
        some = Records(self.value[chosen], self.trials[chosen], self.index[chosen])
        return torch.zeros_like(affinity).masked_scatter(chosen, f(some, affinity[chosen]))


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
    index: Tensor | None = None,
) -> Tensor:
    """E log p(value), affinity ~ N(mean, variance) and z ~ law independent; elementwise (maths 5).

    `law` is None where the predictor takes no popularity; with an `index` (records,) each record meets the law it
    points at, and what concerns the law alone is worked out once a law. Where `integrates_affinity` is false the
    variance has to be zero: affinity is known. Raises NotImplementedError for a law that has neither an entry nor a
    quadrature rule.
    """
    records = Records(value, trials, index)
    if (entry := _found(_JOINT, law, predictor, family)) is not None:
        return entry(law, predictor, family, records, mean, variance)
    if (closed := _found(_CONDITIONAL, law, predictor, family)) is not None:
        return closed(law, predictor, family, records, mean)
    return by_quadrature(law, predictor, family, records, mean)


def by_quadrature(law: Any, predictor: Predictor, family: Family, records: Records, affinity: Tensor) -> Tensor:
    """E log p(value) at known affinity by the law's own rule."""

    def at(node: Tensor) -> Tensor:
        return predictor.log_prob_at(family, records.value, records.trials, affinity, node)

    return average(law, at, records.index)


@joint(type(None), Plain, Family)
def _(law: None, predictor: Plain, family: Family, records: Records, mean: Tensor, var: Tensor) -> Tensor:
    """No popularity at all."""
    return family.expected_log_prob(records.value, records.trials, mean, var)


@joint(dist.Normal, Additive, Family)
def _(law: dist.Normal, predictor: Additive, family: Family, records: Records, mean: Tensor, var: Tensor) -> Tensor:
    """The linear predictor is normal with mean a + gamma m and variance v + gamma^2 s^2."""
    location, spread = predictor.offset_moments(law)
    mean, var = mean + records.at(location), var + records.at(spread)
    return family.expected_log_prob(records.value, records.trials, mean, var)


@joint(dist.LogNormal, LogAdditive, Family)
@joint(dist.LogNormal, Odds, Family)
def _(law: dist.LogNormal, predictor: Offset, family: Family, records: Records, mean: Tensor, var: Tensor) -> Tensor:
    """The linear predictor is normal with mean a + mu and variance v + s^2."""
    mean, var = mean + records.at(law.loc), var + records.at(law.scale**2)
    return family.expected_log_prob(records.value, records.trials, mean, var)


@joint(dist.Gamma, LogAdditive, Poisson)
@joint(dist.Exponential, LogAdditive, Poisson)
@joint(dist.Weibull, LogAdditive, Poisson)
@joint(InverseGaussian, LogAdditive, Poisson)
def _(law: Any, predictor: LogAdditive, family: Poisson, records: Records, mean: Tensor, var: Tensor) -> Tensor:
    """y (a + E log z + log trials) - trials e^(a + v/2) E z - log y!, from the law's moments."""
    rate = safe_exp(mean + 0.5 * var + records.at(law.mean.log()))
    count = records.value * (mean + records.at(mean_log(law)))
    return count - records.trials * rate + family.log_base(records.value, records.trials)


@conditional(dist.Gamma, LogAdditive, Cloglog)
@conditional(dist.Exponential, LogAdditive, Cloglog)
@conditional(dist.Weibull, LogAdditive, Cloglog)
@conditional(InverseGaussian, LogAdditive, Cloglog)
def _(law: Any, predictor: LogAdditive, family: Cloglog, records: Records, affinity: Tensor) -> Tensor:
    """c E log(1 - e^-rz) - (trials - c) r E z + log binomial(trials, c), r = e^a (maths 5)."""

    def click(some: Records, a: Tensor) -> Tensor:
        rate = safe_exp(a)
        if law.mean.dtype == torch.float64:
            own = mapped(law, some.at)
            return some.value * expected_log_link(own, ProductSaturation(saturation=rate))  # type: ignore[arg-type]
        return some.value * average(law, lambda log_z: log_click(a + log_z, safe_exp(a + log_z)), some.index)

    clicks = records.where(records.value > 0, click, affinity)
    zeros = (records.trials - records.value) * safe_exp(affinity) * records.at(law.mean)
    return clicks - zeros + log_choose(records.trials, records.value)


@conditional(dist.Gamma, Odds, Bernoulli)
def _(law: dist.Gamma, predictor: Odds, family: Bernoulli, records: Records, affinity: Tensor) -> Tensor:
    """c (a + E log z) + trials E log sigma(-a - log z), the latter -E log(1 + z / C) with C = e^-a (maths 5)."""
    if law.mean.dtype != torch.float64:
        return by_quadrature(law, predictor, family, records, affinity)
    shape, rate = records.at(law.concentration), records.at(law.rate)
    no_click = -gamma_logs.log1p_over(shape, rate, torch.exp(-affinity))
    click = records.value * (affinity + records.at(mean_log(law)))
    return click + records.trials * no_click + log_choose(records.trials, records.value)


def _product(law: Any, predictor: Product, family: Bernoulli, records: Records, affinity: Tensor) -> Tensor:
    """c (log h + E log g) + (trials - c) E log(1 - h g) + log binomial(trials, c) (maths 5)."""
    click = records.value * (F.logsigmoid(affinity) + records.at(expected_log_link(law, predictor)))

    def no_click(some: Records, a: Tensor) -> Tensor:
        return (some.trials - some.value) * expected_log_unmatched(law, predictor, a, some.index)

    zeros = records.where(records.trials > records.value, no_click, affinity)
    return click + zeros + log_choose(records.trials, records.value)


for _law in (dist.Gamma, dist.Exponential, dist.LogNormal, dist.Weibull, InverseGaussian):
    for _predictor in (ProductSaturation, ProductRatio, ProductTanh):
        conditional(_law, _predictor, Bernoulli)(_product)
