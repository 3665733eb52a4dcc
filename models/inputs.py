"""Ids and features of one side, as the popularity model's affinity reads them; users and items are two such."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrorec.models.affinities import Affinity

STARTING_SCALE = {"effect": 0.5, "weights": 0.1, "factors": 0.3, "feature_factors": 0.1}
Values = dict[str, Tensor]
Laws = dict[str, dist.TorchDistribution]


class Inputs(nn.Module):
    """One side's part of a factorisation machine: ids, and encoded features (rows, columns).

    A row has an offset, effect + features.weights + the interactions within the row, and a vector, factors + features
    @ feature_factors, which meets the other side's vector in a dot product. Every block of weights has a prior
    N(0, scale) with a scale of its own, learned. `centre` (K,) is taken off the vectors (maths 2.3) and carries no
    gradient. Without `has_effect` ids have no linear term.
    """

    features: Tensor
    centre: Tensor

    def __init__(self, name: str, features: Tensor, affinity: Affinity, has_effect: bool) -> None:
        super().__init__()
        self.name, self.size, self.factors = name, len(features), affinity.factors
        self.has_effect, self.linear = has_effect, affinity.linear
        columns = features.shape[1] if affinity.reads_features else 0
        wanted = {
            "effect": ((self.size,), affinity.linear and has_effect),
            "weights": ((columns,), affinity.linear and columns > 0),
            "factors": ((self.size, self.factors), self.factors > 0),
            "feature_factors": ((columns, self.factors), self.factors > 0 and columns > 0),
        }
        self.shapes = {f"{name}_{block}": shape for block, (shape, there) in wanted.items() if there}
        self.register_buffer("features", features[:, :columns].clone())  # files hold no two tensors of one memory
        self.register_buffer("centre", torch.zeros(self.factors))
        start = {site: STARTING_SCALE[site.removeprefix(f"{name}_")] for site in self.shapes}
        self.log_scale = nn.ParameterDict({site: nn.Parameter(torch.tensor(v).log()) for site, v in start.items()})

    def rows_of(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Distinct rows that hold all of `ids`, and the place of each id among them; all rows where these are few."""
        if self.size <= len(ids):
            return torch.arange(self.size, device=ids.device), ids
        return torch.unique(ids, return_inverse=True)

    def prior(self, site: str) -> dist.TorchDistribution:
        """N(0, scale) on every weight of a block, as one event."""
        shape = self.shapes[site]
        scale = self.log_scale[site].exp().expand(shape)
        return dist.Normal(torch.zeros_like(scale), scale).to_event(len(shape))

    def vectors(self, values: Values, ids: Tensor) -> Tensor:
        """(rows, K): what meets the other side, centred."""
        if not self.factors:
            return self.centre.new_zeros(len(ids), 0)
        vectors = values[f"{self.name}_factors"][ids]
        if (found := values.get(f"{self.name}_feature_factors")) is not None:
            vectors = vectors + self.features[ids] @ found
        return vectors - self.centre

    def offsets(self, values: Values, ids: Tensor) -> Tensor:
        """(rows,): everything that concerns this side alone."""
        total = self.interactions(values, ids)
        if (effect := values.get(f"{self.name}_effect")) is not None:
            total = total + effect[ids]
        if (weights := values.get(f"{self.name}_weights")) is not None:
            total = total + self.features[ids] @ weights
        return total

    def interactions(self, values: Values, ids: Tensor) -> Tensor:
        """(rows,): sum_{j<l} (v_j . v_l) x_j x_l within a row; one id is on, so without features there is none, and
        none belongs to an affinity without linear terms.

        Where ids have no linear term they have none of these either: an id's factors free to meet its own features
        would be an effect by another name.
        """
        found = values.get(f"{self.name}_feature_factors")
        if found is None or not self.linear:
            return self.centre.new_zeros(len(ids))
        x = self.features[ids]
        own = values[f"{self.name}_factors"][ids] if self.has_effect else self.centre.new_zeros(len(ids), self.factors)
        total = (own + x @ found).square() - own.square() - x.square() @ found.square()
        return 0.5 * total.sum(-1)

    def linear_variance(self, laws: Laws, ids: Tensor) -> Tensor:
        """(rows,): variance of the linear terms under independent normal weights."""
        total = self.centre.new_zeros(len(ids))
        if (effect := laws.get(f"{self.name}_effect")) is not None:
            total = total + effect.variance[ids]
        if (weights := laws.get(f"{self.name}_weights")) is not None:
            total = total + self.features[ids].square() @ weights.variance
        return total

    def vector_variance(self, laws: Laws, ids: Tensor) -> Tensor:
        """(rows, K): variance of the vectors under independent normal weights."""
        if not self.factors:
            return self.centre.new_zeros(len(ids), 0)
        total = laws[f"{self.name}_factors"].variance[ids]
        if (found := laws.get(f"{self.name}_feature_factors")) is not None:
            total = total + self.features[ids].square() @ found.variance
        return total

    def interaction_variance(self, laws: Laws, ids: Tensor) -> Tensor:
        """(rows,): variance of `interactions`, sum_j s_j^2 (S - m_j)^2 + (1/2) [(sum s^2)^2 - sum s^4] a factor,
        for independent inputs with means m_j, variances s_j^2 and S = sum m_j."""
        found = laws.get(f"{self.name}_feature_factors")
        if found is None or not self.linear:
            return self.centre.new_zeros(len(ids))
        x = self.features[ids]
        m0, v0 = (
            getattr(laws[f"{self.name}_factors"], moment)[ids] * self.has_effect for moment in ("mean", "variance")
        )
        m, v = x[:, :, None] * found.mean, x.square()[:, :, None] * found.variance
        total = m0 + m.sum(1)
        spread = v0 * (total - m0).square() + (v * (total[:, None] - m).square()).sum(1)
        squares = (v0 + v.sum(1)).square() - v0.square() - v.square().sum(1)
        return (spread + 0.5 * squares).sum(-1)
