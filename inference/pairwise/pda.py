"""Popularity-bias deconfounding (PD) and adjusting (PDA): a ranking score of affinity times observed popularity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from pyrorec.baselines import Baseline, Train, Unfit
from pyrorec.baselines import Scorer as FittedBaseline
from pyrorec.baselines.base import ItemScores, Users
from pyrorec.data import Entry, Interactions, hold_out
from pyrorec.evaluation import evaluable_users, ranking_metrics, score_chunks, top_k
from pyrorec.inference.pairwise.bpr import PairwiseModel, PairwiseTraining, Triples, train_pairwise
from pyrorec.inference.pairwise.popularity import EarlierPeriods, LeaveOneOut, PopularityOfRecords, PopularityRule
from pyrorec.inference.pairwise.sampler import UniformNegatives

START_SD = 0.1
HELD_OUT = 0.1
WATCHED = 10


def elu_plus_one(x: Tensor) -> Tensor:
    """ELU'(x) = ELU(x) + 1: e^x below zero and x + 1 above, positive everywhere (maths 1.2, 6)."""
    return torch.where(x > 0, x + 1, x.clamp_max(0).exp())


class PopularityFactors(PairwiseModel):
    """score = ELU'(p_u . q_i) z^exponent, with factors `user` (users, k), `item` (items, k) and popularity `z`."""

    def __init__(
        self, shape: tuple[int, int], factors: int, exponent: float, z: PopularityOfRecords, rng: np.random.Generator
    ) -> None:
        super().__init__()
        start = (torch.as_tensor(START_SD * rng.normal(size=(n, factors)), dtype=torch.float32) for n in shape)
        self.user, self.item = (nn.Parameter(value) for value in start)
        self.exponent, self.z = exponent, z

    def difference(self, triples: Triples) -> Tensor:
        records = triples.record.numpy()
        user = self.user[triples.user]
        taken = elu_plus_one((user * self.item[triples.taken]).sum(1))
        other = elu_plus_one((user * self.item[triples.other]).sum(1))
        z_other = self.z.of_others(records, triples.other.numpy())
        return taken * self.power(self.z.of_taken(records)) - other * self.power(z_other)

    def squares(self, triples: Triples) -> Tensor:
        of = (self.user[triples.user], self.item[triples.taken], self.item[triples.other])
        return torch.stack([(rows**2).sum(1) for rows in of]).sum(0)

    def power(self, popularity: np.ndarray) -> Tensor:
        """z^exponent in the precision of the factors."""
        return torch.as_tensor(popularity**self.exponent, dtype=self.user.dtype)


@dataclass(frozen=True)
class PdaScorer(FittedBaseline):
    """Factors `user` (users, k) and `item` (items, k), and `weight` (items,), the power of popularity that multiplies.

    `exponent` is the one that was chosen.
    """

    user: Tensor
    item: Tensor
    weight: Tensor
    exponent: float

    def scores(self, users: Users) -> ItemScores:
        return (elu_plus_one(self.user[torch.as_tensor(users)] @ self.item.T) * self.weight).numpy()


@dataclass(frozen=True)
class Pda(Baseline):
    """PDA (Zhang et al., 2021, arXiv:2105.06067): ELU'(p_u . q_i) z_i^exponent, z the popularity forecast.

    A ranking score, not a probability: it has no upper bound, and it is trained by comparing items only. Trained by BPR
    with z as it stood before each interaction, by `popularity` (None: EarlierPeriods() where the log has timestamps,
    otherwise LeaveOneOut()). Exponent and ridge penalty are chosen from their grids by the NDCG@10 of a tenth of the
    positives held out, and the factors then trained on all; a grid of one value each fixes them. `seed` decides
    everything random. `fit` raises Unfit for fewer than two positives.
    """

    name: ClassVar[str] = "PDA"

    factors: int = 32
    exponents: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3)
    penalties: tuple[float, ...] = (0.01, 0.03)
    popularity: PopularityRule | None = None
    training: PairwiseTraining = field(default_factory=PairwiseTraining)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.factors < 1 or not self.exponents or not self.penalties:
            raise ValueError(f"{self.name} takes at least 1 factor, 1 exponent and 1 penalty.")
        if min(self.exponents + self.penalties) < 0:
            raise ValueError(f"Exponents and penalties of {self.name} must not be negative.")

    def fit(self, train: Train) -> PdaScorer:
        cells = train.clicks.pooled()
        positives = cells.select(cells.value > 0)
        if len(positives) < 2:
            raise Unfit(
                f"{self.name} skipped: it compares what users took, and the log has {len(positives)} positives."
            )
        model = self.trained(positives, cells, *self.chosen(positives, cells))
        return read_at(model, self.popularity_read(model.z))

    def chosen(self, positives: Interactions, cells: Interactions) -> tuple[float, float]:
        """Exponent and penalty of the best NDCG@10, with popularity in the score, on positives held out."""
        tried = [(exponent, penalty) for exponent in self.exponents for penalty in self.penalties]
        if len(tried) == 1:
            return tried[0]
        part, held_out = hold_out(positives, HELD_OUT, self.seed)
        out = np.isin(pair_codes(cells), pair_codes(held_out))
        rest = cells.select(~out)

        def ndcg(exponent: float, penalty: float) -> float:
            model = self.trained(part, rest, exponent, penalty)
            return ndcg_of(read_at(model, model.z.forecast()), rest, held_out)

        return max(tried, key=lambda settings: ndcg(*settings))

    def trained(
        self, positives: Interactions, cells: Interactions, exponent: float, penalty: float
    ) -> PopularityFactors:
        """Factors trained under this exponent and penalty."""
        rng = np.random.default_rng(self.seed)
        model = PopularityFactors(positives.shape, self.factors, exponent, self.rule(positives).count(positives), rng)
        train_pairwise(model, UniformNegatives(positives, cells), penalty, self.training, rng)
        return model

    def rule(self, positives: Interactions) -> PopularityRule:
        """How popularity is counted in this log."""
        if self.popularity is not None:
            return self.popularity
        return LeaveOneOut() if positives.timestamp is None else EarlierPeriods()

    def popularity_read(self, z: PopularityOfRecords) -> np.ndarray:
        """The popularity (items,) that scores are read at."""
        return z.forecast()


@dataclass(frozen=True)
class Pd(Pda):
    """PD: trained as `Pda`, its exponent and penalty included, and read without popularity: ELU'(p_u . q_i)."""

    name: ClassVar[str] = "PD"

    def popularity_read(self, z: PopularityOfRecords) -> np.ndarray:
        return np.ones_like(z.forecast())


def read_at(model: PopularityFactors, popularity: np.ndarray) -> PdaScorer:
    """The trained factors read at a popularity (items,)."""
    return PdaScorer(model.user.detach(), model.item.detach(), model.power(popularity), model.exponent)


def pair_codes(cells: Interactions) -> np.ndarray:
    """One number for each (user, item), int64 (cells,)."""
    return cells.user * cells.n_items + cells.item


def ndcg_of(scorer: FittedBaseline, cells: Interactions, held_out: Interactions) -> float:
    """Mean NDCG@10 of positives held out, among the items without a cell of the user in the rest."""
    seen, relevant = cells.matrix(Entry.PATTERN), held_out.matrix(Entry.PATTERN)
    chunks = score_chunks(scorer.scores, evaluable_users(seen, relevant))
    users, ranked = top_k(chunks, seen, cells.item_counts > 0, WATCHED)
    return float(ranking_metrics(ranked, users, relevant, at=(WATCHED,))[f"ndcg@{WATCHED}"])
