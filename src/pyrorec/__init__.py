"""pyrorec: Pyro models for interaction logs, with honest uncertainty about taste and popularity."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "pyrorec.baselines": ("Ease", "IpsMF", "LogisticMF", "MixedLogistic", "Popularity", "PopularityIpsMF"),
    "pyrorec.data": (
        "Columns", "InputError", "Interactions", "Unobserved", "Weighted", "Zero", "catalogue", "embedded_log",
        "embedded_truth", "hold_out", "hold_out_users", "read_interactions", "split", "split_by_exposure",
        "split_by_time", "split_leave_last_out", "split_random",
    ),
    "pyrorec.evaluation": ("Bootstrap", "Limits", "Linearised", "NoOverlap"),
    "pyrorec.guides.covariances": ("Diagonal", "Full", "LowRank"),
    "pyrorec.guides.encoders": ("RowEncoding", "SetEncoding"),
    "pyrorec.inference.annealing": ("Cyclical", "WarmUp"),
    "pyrorec.inference.choice": ("choose", "choose_joint", "choose_popularity"),
    "pyrorec.inference.collapse": ("collapse", "collapse_summary"),
    "pyrorec.inference.compare": ("compare",),
    "pyrorec.inference.diagnostics": ("diagnose",),
    "pyrorec.inference.evaluate": ("evaluate",),
    "pyrorec.inference.exposure": ("exposure_run",),
    "pyrorec.inference.fit": ("fit",),
    "pyrorec.inference.fold_in": ("fold_in",),
    "pyrorec.inference.intervention": ("Deconfound", "Intervention", "Observe", "SetPopularity", "Temper"),
    "pyrorec.inference.neighbours": ("neighbours",),
    "pyrorec.inference.objective": (
        "MAP", "Analytic", "Expected", "Integrated", "JaakkolaJordan", "MonteCarlo", "ScoreFunction", "StoredSample",
    ),
    "pyrorec.inference.off_policy": ("off_policy",),
    "pyrorec.inference.pairwise": ("Pd", "Pda"),
    "pyrorec.inference.policy": ("EpsilonGreedy", "Policy", "Softmax", "policy", "tabled_policy", "uniform_policy"),
    "pyrorec.inference.level": ("ShiftPrior",),
    "pyrorec.inference.rating_clicks": ("ratings_from",),
    "pyrorec.inference.recalibrate": ("level_by_propensity", "recalibrate", "shift_by_propensity"),
    "pyrorec.inference.reward_model": ("CrossFit",),
    "pyrorec.inference.run": ("Run",),
    "pyrorec.inference.schedule": ("ItemsThenUsers", "Joint", "UsersThenItems"),
    "pyrorec.inference.scores": ("PlugIn", "Predictive", "Quantile", "Thompson"),
    "pyrorec.inference.search_space": ("Space",),
    "pyrorec.inference.settings": ("Context", "Training"),
    "pyrorec.inference.store": ("load",),
    "pyrorec.inference.tuning": ("tune",),
    "pyrorec.inference.uncertainty": ("variance_parts",),
    "pyrorec.inference.validation_metrics": ("LogLikelihood", "Ndcg"),
    "pyrorec.models.affinities": ("Dot", "FactorisationMachine", "FeaturedDot", "Linear"),
    "pyrorec.models.bilateral": ("BilateralModel", "UnfitPair"),
    "pyrorec.models.distributions": ("Exponential", "Gamma", "LogNormal", "Normal", "Prior", "Scope", "Weibull"),
    "pyrorec.models.factor_priors": ("Cap", "LearnedScale", "Standard"),
    "pyrorec.models.families": (
        "Bernoulli", "Beta", "Binomial", "Cloglog", "Dirichlet", "ExponentialResponse", "GammaResponse", "Gaussian",
        "GaussianKnown", "GaussianPerItem", "HurdleGamma", "Multinomial", "NegativeBinomial", "Ordinal", "Poisson",
        "Probit",
    ),
    "pyrorec.models.joint": ("JointModel",),
    "pyrorec.models.marginals": ("adjust",),
    "pyrorec.models.popularity": ("PopularityModel",),
    "pyrorec.models.posterior_families": (
        "GammaPosterior", "InverseGaussianPosterior", "LogNormalPosterior", "NormalPosterior", "WeibullPosterior",
    ),
    "pyrorec.models.predictors": (
        "Additive", "LogAdditive", "Odds", "Plain", "ProductRatio", "ProductSaturation", "ProductTanh",
    ),
    "pyrorec.models.prior_source": ("EarlierPeriods", "ExposureCounts", "LearnedPopulation"),
    "pyrorec.models.sharing": ("PerInteraction", "PerItem", "PerPeriod"),
    "pyrorec.report": ("write_report",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Loads a public name on first use, so that `import pyrorec` and `pyrorec --help` do not wait for torch."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'pyrorec' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
