"""A bilateral log of any family, with the truth behind it: what recovery and comparisons of families are tried on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyrorec.data import Interactions, Last, Unobserved
from pyrorec.models.families import Family


class FamilyLog(NamedTuple):
    """Observed cells, held-out cells under the same ids and codes, and the true linear predictor (users, items)."""

    train: Interactions
    test: Interactions
    eta: np.ndarray


@dataclass(frozen=True)
class FamilyWorld:
    """y ~ family(level + theta_u . beta_i) on some of the cells, the rest of which say nothing.

    `affinity_sd` is the sd of theta_u . beta_i over all cells, `observed` and `held_out` the shares of cells in train
    and test. Cells are drawn regardless of their values. Raises ValueError for a family that couples a user's cells.
    """

    family: Family
    users: int = 60
    items: int = 40
    factors: int = 2
    level: float = 0.0
    affinity_sd: float = 1.0
    observed: float = 0.6
    held_out: float = 0.3

    def __post_init__(self) -> None:
        if self.family.coupled:
            raise ValueError(f"FamilyWorld draws cell by cell, and family {self.family.name} draws rows: take RowWorld")

    def simulate(self, seed: int) -> FamilyLog:
        """One draw of the world."""
        rng = np.random.default_rng(seed)
        theta, beta = rng.standard_normal((self.users, self.factors)), rng.standard_normal((self.items, self.factors))
        affinity = theta @ beta.T
        eta = self.level + self.affinity_sd * affinity / affinity.std()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            value = self._values(torch.as_tensor(eta), seed).numpy()
        part = rng.random(eta.shape)
        train = self._cells(value, part < self.observed)
        return FamilyLog(train, self._cells(value, part > 1 - self.held_out), eta)

    def _values(self, eta: Tensor, seed: int) -> Tensor:
        """A draw of every cell, (users, items)."""
        family = self.family.for_items(torch.arange(self.items))
        return family.sample(eta, torch.ones((), dtype=eta.dtype))

    def _cells(self, value: np.ndarray, chosen: np.ndarray) -> Interactions:
        user, item = chosen.nonzero()
        return Interactions(
            users=pd.Index([f"u{n:03d}" for n in range(self.users)]),
            items=pd.Index([f"i{n:03d}" for n in range(self.items)]),
            user=user,
            item=item,
            value=value[chosen].astype(np.float64),
            trials=np.ones(len(user)),
            missing=Unobserved(),
            rule=Last(),
        )
