"""One side of the bilateral model; users and items are two objects of this class."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrorec.models.component import Learned
from pyrorec.models.distributions import PopularityDistribution
from pyrorec.models.factor_priors import FactorPrior
from pyrorec.models.predictors import Offset


class Side(nn.Module):
    """Prior of the rows of one side: factors, and an effect (popularity of items, activity of users).

    `name` is "user" or "item"; `size` the number of rows; `scale` where the prior sd of each of the K factors starts;
    `features` (rows, columns) are what `prior` reads, if it reads any;
    `centre` (K,) is taken off the factors before they meet the other side's (zero unless the side is centred,
    maths 2.3) and is a constant for the gradient.
    """

    centre: Tensor

    def __init__(
        self,
        name: str,
        effect_name: str,
        size: int,
        factors: int,
        scale: float,
        predictor: Offset,
        effect: PopularityDistribution | None,
        centred: bool,
        prior: FactorPrior,
        features: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.name, self.effect_name = name, effect_name
        self.size, self.factors, self.scale, self.centred = size, factors, scale, centred
        self.predictor = Learned(predictor)
        self.effect = None if effect is None else Learned(effect)
        self.prior = prior.build(factors, scale, features, centred)
        self.register_buffer("centre", torch.zeros(factors))

    def factor_prior(self, ids: Tensor | None = None) -> dist.TorchDistribution:
        """The prior of some rows' factors (of all by default), batch shape (rows,), event shape (K,)."""
        everyone = torch.arange(self.size, device=self.centre.device)
        law: dist.TorchDistribution = self.prior(everyone if ids is None else ids)
        return law

    def stranger(self, features: Tensor) -> dist.TorchDistribution:
        """The prior of the centred factors of rows that the side does not hold, from their features."""
        law = self.prior.of(features).base_dist
        return dist.Normal(law.loc - self.centre, law.scale).to_event(1)

    def effect_prior(self, rows: int) -> dist.TorchDistribution:
        """The population law of the effect for each row, batch shape (rows,)."""
        assert self.effect is not None
        return self.effect.value().population(like=self.centre).expand((rows,))

    def sample_effect(self, rows: int) -> Tensor:
        """The sample site of the effect."""
        return pyro.sample(self.effect_name, self.effect_prior(rows))

    def sample_factors(self, ids: Tensor | None = None) -> Tensor:
        """The sample site of the factors of some rows (of all by default), (rows, K), not yet centred."""
        return pyro.sample(f"{self.name}_factors", self.factor_prior(ids))

    def offset(self, effect: Tensor) -> Tensor:
        """What the effect adds to the linear predictor."""
        return self.predictor.value().offset(effect)
