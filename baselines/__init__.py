"""Popularity and EASE: what stands beside the model in every table."""

from pyrorec.baselines.base import Baseline, Scorer
from pyrorec.baselines.ease import Ease, EaseScorer, TooManyItems
from pyrorec.baselines.popularity import Popularity, PopularityScorer

__all__ = ["Baseline", "Ease", "EaseScorer", "Popularity", "PopularityScorer", "Scorer", "TooManyItems"]
