"""Where the popularity prior comes from: rules of empirical Bayes from counts to priors (maths 3)."""

from pyrorec.inference.empirical_bayes.base import Estimate, Learned, Rates, Rule, Standardised
from pyrorec.inference.empirical_bayes.beta_binomial import BetaBinomial
from pyrorec.inference.empirical_bayes.choose import Choice, choose_rule, compare_rules
from pyrorec.inference.empirical_bayes.counts import (
    Counts,
    click_counts,
    counts_of,
    exposure_counts,
    interaction_counts,
)
from pyrorec.inference.empirical_bayes.gamma_poisson_ml import GammaPoissonML
from pyrorec.inference.empirical_bayes.gamma_poisson_moments import GammaPoissonMoments
from pyrorec.inference.empirical_bayes.gamma_poisson_truncated import GammaPoissonTruncated
from pyrorec.inference.empirical_bayes.guard import DoubleUse, check_not_fitted_twice
from pyrorec.inference.empirical_bayes.informative_exposure import InformativeExposure
from pyrorec.inference.empirical_bayes.m_step import gamma_m_step, lognormal_m_step
from pyrorec.inference.empirical_bayes.normal_log_counts import NormalLogCounts
from pyrorec.inference.empirical_bayes.optimise import NoMaximum
from pyrorec.inference.empirical_bayes.poisson_lognormal import PoissonLogNormal
from pyrorec.inference.empirical_bayes.share_rule import ShareRule
from pyrorec.inference.empirical_bayes.source import OTHER_DATA, Source, Uses

__all__ = [
    "OTHER_DATA",
    "BetaBinomial",
    "Choice",
    "Counts",
    "DoubleUse",
    "Estimate",
    "GammaPoissonML",
    "GammaPoissonMoments",
    "GammaPoissonTruncated",
    "InformativeExposure",
    "Learned",
    "NoMaximum",
    "NormalLogCounts",
    "PoissonLogNormal",
    "Rates",
    "Rule",
    "ShareRule",
    "Source",
    "Standardised",
    "Uses",
    "check_not_fitted_twice",
    "choose_rule",
    "click_counts",
    "compare_rules",
    "counts_of",
    "exposure_counts",
    "gamma_m_step",
    "interaction_counts",
    "lognormal_m_step",
]
