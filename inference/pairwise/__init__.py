"""Pairwise (BPR) training, and popularity-bias deconfounding and adjusting (PD, PDA) trained by it."""

from pyrorec.inference.pairwise.bpr import PairwiseModel, PairwiseTraining, Triples, bpr_loss, train_pairwise
from pyrorec.inference.pairwise.pda import Pd, Pda, PdaScorer, PopularityFactors, elu_plus_one
from pyrorec.inference.pairwise.popularity import EarlierPeriods, LeaveOneOut, PopularityOfRecords, PopularityRule
from pyrorec.inference.pairwise.sampler import UniformNegatives

__all__ = [
    "EarlierPeriods",
    "LeaveOneOut",
    "PairwiseModel",
    "PairwiseTraining",
    "Pd",
    "Pda",
    "PdaScorer",
    "PopularityFactors",
    "PopularityOfRecords",
    "PopularityRule",
    "Triples",
    "UniformNegatives",
    "bpr_loss",
    "elu_plus_one",
    "train_pairwise",
]
