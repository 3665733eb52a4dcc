"""What all replicates of a study share: the records, their covariates, and the item that each of them shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Design:
    """A fixed design: `covariates` (N, P) and `item` (N,), the number of the item of each record among `items`."""

    covariates: Tensor
    item: Tensor
    items: int

    @classmethod
    def drawn(cls, records: int, covariates: int, items: int, seed: int) -> Design:
        """Standard normal covariates; items are shown equally often, as nearly as they can be."""
        rng = np.random.default_rng([seed, 41])
        x = torch.as_tensor(rng.standard_normal((records, covariates)), dtype=torch.get_default_dtype())
        return cls(x, torch.arange(records) % items, items)

    def __len__(self) -> int:
        return len(self.item)

    @cached_property
    def affinity(self) -> Tensor:
        """The columns of the affinity: ones and covariates, (N, 1 + P)."""
        return torch.cat([torch.ones_like(self.covariates[:, :1]), self.covariates], 1)

    @cached_property
    def matrix(self) -> Tensor:
        """The columns of affinity, and one for each item, (N, 1 + P + I)."""
        shown = torch.nn.functional.one_hot(self.item, self.items).to(self.covariates)
        return torch.cat([self.affinity, shown], 1)

    def to(self, dtype: torch.dtype) -> Design:
        """The same design in another precision."""
        return Design(self.covariates.to(dtype), self.item, self.items)
