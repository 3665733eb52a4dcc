"""A bilateral log whose rows are single draws, multinomial counts or Dirichlet shares, with the truth behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyrorec.simulation.family_world import FamilyWorld


@dataclass(frozen=True)
class RowWorld(FamilyWorld):
    """A user's row over all items ~ family(level + theta_u . beta_i), some of whose cells are then seen.

    What is seen of a multinomial's row is a multinomial given its own total, and shares seen of a Dirichlet's are one
    of the same concentrations once they are divided by their sum, because cells are chosen regardless of their values.
    A row has about `total` events, lognormally spread over users with `total_sd`; shares have a total of one. Raises
    ValueError for a family of single cells.
    """

    total: float = 80.0
    total_sd: float = 1.0

    def __post_init__(self) -> None:
        if not self.family.coupled:
            raise ValueError(f"RowWorld draws whole rows, and family {self.family.name} draws cells: take FamilyWorld")

    def _values(self, eta: Tensor, seed: int) -> Tensor:
        if self.family.outcome.graded:
            return self.family.sample(eta, torch.ones((), dtype=eta.dtype))
        spread = self.total_sd * np.random.default_rng([seed, 1]).standard_normal(self.users)
        events = np.ceil(self.total * np.exp(spread - self.total_sd**2 / 2))
        return self.family.sample(eta, torch.as_tensor(events))
