"""The expected log-likelihood of clicks under a logit by the Jaakkola-Jordan (Polya-Gamma) bound."""

from __future__ import annotations

from torch import Tensor

from pyrorec.models.families.base import Family
from pyrorec.models.families.bernoulli import Bernoulli
from pyrorec.models.families.binomial import Binomial
from pyrorec.models.integrals.jaakkola_jordan import softplus_bound

LOGIT = (Bernoulli, Binomial)
"""Families whose log-likelihood is y eta - n softplus(eta) and a constant."""


def jaakkola_jordan(family: Family, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """y m - n U(m, v) + log h: a lower bound of E log p(value), elementwise, natural logarithms (maths 5, 6.4).

    Never above the exact expectation, whatever the law of eta with this mean and variance: for normal eta
    `family.expected_log_prob` is that expectation, and the gap is n times that of `softplus_bound`, zero as the
    variance goes to zero. n is `trials`, times the size of a binomial. Raises NotImplementedError for a family other
    than `LOGIT`.
    """
    if not isinstance(family, LOGIT):
        raise NotImplementedError(
            f"the Jaakkola-Jordan bound is for clicks under a logit, family bernoulli or binomial, not {family.name}: "
            "take its expected_log_prob"
        )
    bound = softplus_bound(mean, variance)
    return value * mean + trials * family.zeros(bound, 1) + family.log_base(value, trials)
