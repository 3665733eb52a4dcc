"""The records of every replicate as one distribution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.families import Bernoulli, Family, Poisson
from pyrorec.models.mass import Mass
from pyrorec.models.predictors import Offset, Predictor
from pyrorec.simulation.replicates.design import Design


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The values (R, N) of every replicate on a design, and what a linear predictor needs of them."""

    values: Tensor
    design: Design
    family: Family

    @cached_property
    def sums(self) -> Tensor:
        """Sum over records of value x column of the design, (R, 1 + P + I): sufficient under a canonical link."""
        return self.values @ self.design.matrix

    @cached_property
    def base(self) -> Tensor:
        """Sum of log base measures, (R,)."""
        return self.family.log_base(self.values, torch.ones_like(self.values)).sum(-1)  # type: ignore[attr-defined]


class Records(TorchDistribution):
    """value ~ family(predictor(affinity, popularity of the record's item)): batch shape (R,), event shape (N,).

    `coefficients` (R, 1 + P), intercept first; `popularity` (R, I) on the predictor's scale; fields of `predictor` may
    be tensors (R, 1).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = False

    def __init__(
        self, family: Family, predictor: Predictor, coefficients: Tensor, popularity: Tensor, design: Design
    ) -> None:
        self.family, self.predictor = family, predictor
        self.coefficients, self.popularity, self.design = coefficients, popularity, design
        super().__init__(coefficients.shape[:-1], torch.Size([len(design)]), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(self.family.support, 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Records:
        if torch.Size(batch_shape) == self.batch_shape:
            return self
        raise NotImplementedError("give as many coefficients as replicates instead of expanding")

    @property
    def affinity(self) -> Tensor:
        """Intercept and covariates' part of each record, (R, N)."""
        return self.coefficients @ self.design.affinity.T

    def log_prob(self, value: Outcomes | Tensor) -> Tensor:
        """Log-probability of each replicate, (R,)."""
        outcomes = value if isinstance(value, Outcomes) else Outcomes(value, self.design, self.family)
        if isinstance(self.predictor, Offset) and type(self.family) in (Bernoulli, Poisson):
            weights = torch.cat([self.coefficients, self.predictor.offset(self.popularity)], -1)
            mass = MassOfRecords.apply(weights, self.design.matrix, self.family.mass)
            return (weights * outcomes.sums).sum(-1) - mass + outcomes.base
        one = torch.ones_like(outcomes.values)
        shown = self.popularity[..., self.design.item]
        return self.predictor.log_prob(self.family, outcomes.values, one, self.affinity, shown).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        if sample_shape:
            raise NotImplementedError("replicates are draws already: give more coefficients instead of a sample shape")
        affinity, shown = self.affinity, self.popularity[..., self.design.item]
        return self.predictor.sample(self.family, torch.ones_like(affinity), affinity, shown)


class MassOfRecords(torch.autograd.Function):
    """Sum over records of u(eta), eta = weights @ matrix.T, with u' written over eta in the same pass (maths 6.6).

    weights (R, K), matrix (N, K), result (R,). Two matrix products a step; first derivatives by weights only.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, matrix: Tensor, mass: type[Mass]) -> Tensor:
        total, slope = mass.sum_and_slope(weights @ matrix.T)
        ctx.save_for_backward(slope, matrix)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        slope, matrix = ctx.saved_tensors
        return (slope @ matrix) * grads[0][:, None], None, None
