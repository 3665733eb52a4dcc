"""Bayesian personalised ranking: what a user took shall score above what was not taken (Rendle et al., 2009, UAI)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyrorec.inference.train import NonFiniteLoss


@dataclass(frozen=True)
class Triples:
    """User, item taken and item not taken, and the number of the record behind them; int64 tensors of shape (n,)."""

    user: Tensor
    taken: Tensor
    other: Tensor
    record: Tensor

    def __len__(self) -> int:
        return len(self.user)


class Sampler(Protocol):
    """Where triples come from."""

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Triples]:
        """Every record once, in random order, each with a freshly drawn item that was not taken."""


class PairwiseModel(nn.Module, ABC):
    """A ranking score that is trained by comparing two items of one user."""

    @abstractmethod
    def difference(self, triples: Triples) -> Tensor:
        """Score of the item taken minus score of the other, (n,)."""

    @abstractmethod
    def squares(self, triples: Triples) -> Tensor:
        """Sum of squares of the parameters behind each triple, (n,), which the ridge penalty shrinks."""


@dataclass(frozen=True)
class PairwiseTraining:
    """How a pairwise model is trained: Adam at `learning_rate`, `epochs` passes in batches of `batch_size` triples."""

    epochs: int = 60
    batch_size: int = 2048
    learning_rate: float = 0.005

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise ValueError(f"{self} cannot train: epochs and batch_size must be at least 1, the rate above 0.")


def bpr_loss(difference: Tensor, squares: Tensor, penalty: float) -> Tensor:
    """Mean over triples of -log sigmoid(difference) + penalty / 2 x squares."""
    return (softplus(-difference) + 0.5 * penalty * squares).mean()


def train_pairwise(
    model: PairwiseModel, sampler: Sampler, penalty: float, training: PairwiseTraining, rng: np.random.Generator
) -> None:
    """Minimises the BPR loss in place; all randomness comes from `rng`. Raises NonFiniteLoss when it diverges."""
    optimiser = torch.optim.Adam(model.parameters(), lr=training.learning_rate)
    for epoch in range(training.epochs):
        for triples in sampler.epoch(rng, training.batch_size):
            optimiser.zero_grad()
            loss = bpr_loss(model.difference(triples), model.squares(triples), penalty)
            if not torch.isfinite(loss):
                raise NonFiniteLoss(f"The BPR loss is {loss.item()} in epoch {epoch}; lower the learning rate.")
            loss.backward()
            optimiser.step()
