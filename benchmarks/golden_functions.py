"""Every function of the golden schema (maths 8), by name, as this library computes it.

Each takes the entry's parameters by keyword, tensors that broadcast, and returns one tensor in their dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from pyrorec.models import closed_forms
from pyrorec.models.distributions.divergence import closed_form_kl
from pyrorec.models.distributions.inverse_gaussian import InverseGaussian
from pyrorec.models.integrals import gamma, gamma_logs, inverse_gaussian, lognormal, normal
from pyrorec.models.moments import mean_power

Function = Callable[..., Tensor]


def weibull(shape: Any, scale: Any) -> dist.Weibull:
    """Weibull(k, l) in the order of the specification: torch takes the scale first."""
    return dist.Weibull(scale, shape)


DIVERGENCES: dict[str, Function] = {
    "kl_normal_normal": lambda m1, s1, m2, s2: closed_form_kl(dist.Normal(m1, s1), dist.Normal(m2, s2)),
    "kl_lognormal_lognormal": lambda m1, s1, m2, s2: closed_form_kl(dist.LogNormal(m1, s1), dist.LogNormal(m2, s2)),
    "kl_exponential_exponential": lambda r1, r2: closed_form_kl(dist.Exponential(r1), dist.Exponential(r2)),
    "kl_gamma_gamma": lambda a1, b1, a2, b2: closed_form_kl(dist.Gamma(a1, b1), dist.Gamma(a2, b2)),
    "kl_weibull_gamma": lambda k, lam, a, b: closed_form_kl(weibull(k, lam), dist.Gamma(a, b)),
    "kl_weibull_weibull": lambda k1, l1, k2, l2: closed_form_kl(weibull(k1, l1), weibull(k2, l2)),
    "kl_weibull_lognormal": lambda k, lam, mu, s: closed_form_kl(weibull(k, lam), dist.LogNormal(mu, s)),
    "kl_lognormal_gamma": lambda mu, s, a, b: closed_form_kl(dist.LogNormal(mu, s), dist.Gamma(a, b)),
    "kl_gamma_lognormal": lambda a, b, mu, s: closed_form_kl(dist.Gamma(a, b), dist.LogNormal(mu, s)),
    "kl_gamma_weibull": lambda a, b, k, lam: closed_form_kl(dist.Gamma(a, b), weibull(k, lam)),
    "kl_lognormal_weibull": lambda mu, s, k, lam: closed_form_kl(dist.LogNormal(mu, s), weibull(k, lam)),
    "kl_invgauss_invgauss": lambda m1, t1, m2, t2: closed_form_kl(InverseGaussian(m1, t1), InverseGaussian(m2, t2)),
}

PROBABILITIES: dict[str, Function] = {
    "g_gamma_expsat": lambda alpha, beta, lam: gamma.saturation(alpha, beta, lam).value,
    "g_exponential_expsat": lambda beta, lam: gamma.saturation(1.0, beta, lam).value,
    "g_invgauss_expsat": lambda m, t, lam: inverse_gaussian.saturation(m, t, lam).value,
    "g_gamma_ratio": lambda alpha, beta, C: gamma.ratio(alpha, beta, C).value,
    "g_exponential_ratio": lambda beta, C: gamma.ratio(1.0, beta, C).value,
    "g_lognormal_expsat": lambda mu, s, lam: lognormal.saturation(mu, s, lam).value,
    "g_lognormal_ratio": lambda mu, s, C: lognormal.ratio(mu, s, C).value,
    "logistic_normal": lambda mu, s: normal.logistic_normal_probability(mu, s).value,
    "log_logistic_normal": lambda mu, s: normal.log_logistic_normal(mu, s),
    "logistic_normal_sq": lambda mu, s: normal.logistic_normal_square(mu, s),
    "probit_normal": lambda mu, s: normal.probit_normal(mu, s).value,
    "probit_normal_sq": lambda a, b: normal.probit_normal_square(a, b),
    "odds_lognormal": lambda a, mu, s: lognormal.odds(a, mu, s).value,
    "odds_gamma": lambda a, alpha, beta: gamma.odds(a, alpha, beta).value,
    "cloglog_gamma": lambda a, alpha, beta: gamma.cloglog(a, alpha, beta).value,
    "gamma_logistic": lambda a, gam, alpha, beta: gamma.logistic(a, gam, alpha, beta).value,
}

POWERS_AND_RATES: dict[str, Function] = {
    "g_gamma_power": lambda alpha, beta, gam: mean_power(dist.Gamma(alpha, beta), gam),
    "g_lognormal_power": lambda mu, s, gam: mean_power(dist.LogNormal(mu, s), gam),
    "g_weibull_power": lambda k, lam, gam: mean_power(weibull(k, lam), gam),
    "poisson_rate_gamma": lambda a, gam, alpha, beta: closed_forms.log_poisson_rate_gamma(a, gam, alpha, beta).exp(),
    "poisson_rate_normal": lambda a, gam, m, s: closed_forms.log_poisson_rate_normal(a, gam, m, s).exp(),
    "exp_dot_normal": lambda m1, s1, m2, s2: closed_forms.log_mean_exp_dot(
        *(x.unsqueeze(-1) for x in (m1, s1, m2, s2))
    ),
}

LIKELIHOODS: dict[str, Function] = {
    "negbin_logpmf": lambda k, alpha, beta, E: closed_forms.negbin_log_prob(k, alpha, beta, E),
    "poisson_ell_normal": lambda k, a, gam, m, s: closed_forms.expected_poisson_normal(k, a, gam, m, s),
    "poisson_ell_logpop_lognormal": lambda k, a, gam, mu, s: closed_forms.expected_poisson_normal(k, a, gam, mu, s),
    "poisson_ell_gamma": lambda k, a, gam, alpha, beta: closed_forms.expected_poisson_gamma(k, a, gam, alpha, beta),
    "poisson_ell_logpop_gamma": lambda k, a, gam, alpha, beta: closed_forms.expected_poisson_log_gamma(
        k, a, gam, alpha, beta
    ),
    "bernpois_bound_gamma": lambda a, alpha, beta: closed_forms.conjugate_click_bound(a, alpha, beta),
}

EXPECTED_LOGS: dict[str, Function] = {
    "esoftplus_normal": lambda mu, s: normal.softplus_normal(mu, s),
    "elogsigmoid_normal": lambda mu, s: normal.log_sigmoid_normal(mu, s),
    "elog_expsat_lognormal": lambda mu, s, lam: lognormal.log_saturation(mu, s, lam),
    "elog_ratio_lognormal": lambda mu, s, C: lognormal.log_ratio(mu, s, C),
    "elog1m_hg_ratio_lognormal": lambda eta, mu, s, C: lognormal.log_one_minus_match_ratio(eta, mu, s, C),
    "elog1m_hg_expsat_lognormal": lambda eta, mu, s, lam: lognormal.log_one_minus_match_saturation(eta, mu, s, lam),
    "elog_expsat_gamma": lambda a, b, lam: gamma_logs.log_saturation(a, b, lam),
    "elog1m_hg_expsat_gamma": lambda eta, a, b, lam: gamma_logs.log_one_minus_match_saturation(eta, a, b, lam),
    "elog_ratio_gamma": lambda a, b, C: gamma_logs.log_ratio(a, b, C),
    "elog1p_gamma": lambda a, b, c: gamma_logs.log1p_over(a, b, c),
    "elog1m_hg_ratio_gamma": lambda eta, a, b, C: gamma_logs.log_one_minus_match_ratio(eta, a, b, C),
    "elog_expsat_exponential": lambda b, lam: gamma_logs.log_saturation_exponential(b, lam),
}

FUNCTIONS: dict[str, Function] = DIVERGENCES | PROBABILITIES | POWERS_AND_RATES | LIKELIHOODS | EXPECTED_LOGS

COUNTS = {"negbin_logpmf", "poisson_ell_normal", "poisson_ell_logpop_lognormal"} | {
    "poisson_ell_gamma",
    "poisson_ell_logpop_gamma",
}
"""Functions whose parameter k is a count, not a continuous parameter."""
