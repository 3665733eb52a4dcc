"""What the product form needs of a law of popularity: E g(z), E log g(z) and E log(1 - h g(z)).

One home for what the interventional marginals and the expected log-likelihoods of its links share (maths 4.3, 5): the
integrals of `pyrorec.models.integrals` where there are some, else the law's own rule (`pyrorec.models.quadrature`,
relative error stated there).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor

from pyrorec.models.integrals import gamma, gamma_logs, lognormal
from pyrorec.models.integrals.probability import LogProbability
from pyrorec.models.laws import parameters
from pyrorec.models.predictors import Product, ProductRatio, ProductSaturation
from pyrorec.models.quadrature import average


class LinkIntegrals(NamedTuple):
    """Integrals over one family of laws of one link, as functions of the law's parameters and the link's own.

    `probability` is E g, `log_link` E log g; `log_unmatched` E log(1 - h g) takes the affinity before the others.
    """

    probability: Callable[..., LogProbability]
    log_link: Callable[..., Tensor]
    log_unmatched: Callable[..., Tensor]


KNOWN: dict[tuple[type, type[Product]], LinkIntegrals] = {
    (dist.Gamma, ProductSaturation): LinkIntegrals(
        gamma.saturation, gamma_logs.log_saturation, gamma_logs.log_one_minus_match_saturation
    ),
    (dist.Gamma, ProductRatio): LinkIntegrals(gamma.ratio, gamma_logs.log_ratio, gamma_logs.log_one_minus_match_ratio),
    (dist.LogNormal, ProductSaturation): LinkIntegrals(
        lognormal.saturation, lognormal.log_saturation, lognormal.log_one_minus_match_saturation
    ),
    (dist.LogNormal, ProductRatio): LinkIntegrals(
        lognormal.ratio, lognormal.log_ratio, lognormal.log_one_minus_match_ratio
    ),
}


SMALLEST_SHAPE = 0.05
"""Below this shape of a Gamma the law's rule does not reach far enough down."""


def as_gamma(law: dist.TorchDistribution) -> dist.TorchDistribution:
    """An Exponential as the Gamma of shape one that it is; any other law unchanged."""
    return dist.Gamma(torch.ones_like(law.rate), law.rate) if isinstance(law, dist.Exponential) else law


def known(law: dist.TorchDistribution, predictor: Product) -> LinkIntegrals | None:
    """The integrals of a law and a link, None where the law's rule serves.

    In single precision it serves wherever it is valid: its error is that of the arithmetic, at a fraction of the cost.
    """
    wide = isinstance(law, dist.Gamma) and bool((law.concentration < SMALLEST_SHAPE).any())
    if law.mean.dtype != torch.float64 and not wide:
        return None
    return KNOWN.get((type(law), type(predictor)))


def expected_link(law: dist.TorchDistribution, predictor: Product) -> LogProbability:
    """E g(z) and its complement, batch shape of the law."""
    law = as_gamma(law)
    if (found := known(law, predictor)) is not None:
        return found.probability(*parameters(law), predictor.parameter)
    return LogProbability.from_both(
        average(law, lambda log_z: predictor.log_link(log_z).exp()),
        average(law, lambda log_z: predictor.log_unlinked(log_z).exp()),
    )


def expected_log_link(law: dist.TorchDistribution, predictor: Product) -> Tensor:
    """E log g(z), batch shape of the law."""
    law = as_gamma(law)
    if (found := known(law, predictor)) is not None:
        return found.log_link(*parameters(law), predictor.parameter)
    return average(law, predictor.log_link)


def expected_log_unmatched(
    law: dist.TorchDistribution, predictor: Product, affinity: Tensor, index: Tensor | None = None
) -> Tensor:
    """E log(1 - sigma(affinity) g(z)), elementwise; with an `index` each affinity meets the law it points at."""
    law = as_gamma(law)
    if (found := known(law, predictor)) is not None:
        own = parameters(law) if index is None else (parameter[index] for parameter in parameters(law))
        return found.log_unmatched(affinity, *own, predictor.parameter)
    log_rest, log_h = F.logsigmoid(-affinity), F.logsigmoid(affinity)
    return average(law, lambda log_z: predictor.log_unmatched(log_rest, log_h, log_z), index)


def link_moments(law: dist.TorchDistribution, predictor: Product) -> tuple[Tensor, Tensor]:
    """E g(z) and E g(z)^2, batch shape of the law; a point is allowed."""
    if isinstance(law, dist.Delta):
        log_g = predictor.log_link(law.v.log())
        return log_g.exp(), (2 * log_g).exp()
    return expected_link(law, predictor).value, average(law, lambda log_z: (2 * predictor.log_link(log_z)).exp())
