"""Records of a log as one draw of a distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.families import Family
from pyrorec.models.predictors import Predictor


class Observation(TorchDistribution):
    """The values of some records given affinity (intercept included) and popularity, batch shape (records,)."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = False

    def __init__(
        self, family: Family, predictor: Predictor, trials: Tensor, affinity: Tensor, popularity: Tensor
    ) -> None:
        self.family, self.predictor = family, predictor
        self.trials, self.affinity, self.popularity = trials, affinity, popularity
        super().__init__(affinity.shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return self.family.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Observation:
        shape = torch.Size(batch_shape)
        parts = (part.expand(shape) for part in (self.trials, self.affinity, self.popularity))
        return Observation(self.family, self.predictor, *parts)

    @property
    def mean(self) -> Tensor:
        """Expected value of one trial."""
        return self.predictor.mean(self.family, self.affinity, self.popularity)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each record."""
        return self.predictor.log_prob(self.family, value, self.trials, self.affinity, self.popularity)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of every record, sample_shape + (records,); no gradient."""
        shape = torch.Size(sample_shape) + self.batch_shape
        parts = (part.expand(shape) for part in (self.trials, self.affinity, self.popularity))
        with torch.no_grad():
            return self.predictor.sample(self.family, *parts)
