"""What stands beside the model in every table: popularity, EASE, and logistic models of clicks with true negatives."""

from pyrorec.baselines.base import Baseline, ClickScorer, Scorer, Unfit
from pyrorec.baselines.ease import Ease, EaseScorer, TooManyItems
from pyrorec.baselines.ips_mf import IpsMF, PopularityIpsMF
from pyrorec.baselines.logistic_mf import LogisticMF, LogisticScorer
from pyrorec.baselines.mixed_logistic import MixedLogistic, MixedScorer
from pyrorec.baselines.popularity import Popularity, PopularityScorer
from pyrorec.baselines.train import Train

__all__ = [
    "Baseline",
    "ClickScorer",
    "Ease",
    "EaseScorer",
    "IpsMF",
    "LogisticMF",
    "LogisticScorer",
    "MixedLogistic",
    "MixedScorer",
    "Popularity",
    "PopularityIpsMF",
    "PopularityScorer",
    "Scorer",
    "TooManyItems",
    "Train",
    "Unfit",
]
