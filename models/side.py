"""One side of the bilateral model; users and items are two objects of this class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrorec.models.component import Learned
from pyrorec.models.distributions import PopularityDistribution, Prior
from pyrorec.models.factor_priors import FactorPrior
from pyrorec.models.laws import parameters
from pyrorec.models.posterior_families import PosteriorFamily
from pyrorec.models.predictors import Offset, Predictor


@dataclass(frozen=True)
class SideEffect:
    """What a row of a side adds of its own: popularity of an item, activity of a user.

    `site` is its name, `law` the population's (None: there is none), `predictor` how it enters, `posterior` the family
    of q. `own` are the laws of the rows, one each, where other data than the log's tell them apart (maths 3.7).
    """

    site: str
    law: PopularityDistribution | None
    predictor: Predictor
    posterior: PosteriorFamily | None
    own: Prior | None = None


class Side(nn.Module):
    """Prior of the rows of one side: factors, and an effect (popularity of items, activity of users).

    `name` is "user" or "item"; `size` the number of rows; `scale` where the prior sd of each of the K factors starts;
    `features` (rows, columns) are what `prior` reads, if it reads any;
    `centre` (K,) is taken off the factors before they meet the other side's (zero unless the side is centred,
    maths 2.3) and is a constant for the gradient. `own` (rows + 1, parameters) are the rows' own laws of the effect,
    the population's last; it is there only where rows have such laws, of class `own_law`.
    """

    centre: Tensor
    own: Tensor

    def __init__(
        self,
        name: str,
        size: int,
        factors: int,
        scale: float,
        effect: SideEffect,
        centred: bool,
        prior: FactorPrior,
        features: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.name, self.effect_name, self.posterior = name, effect.site, effect.posterior
        self.size, self.factors, self.scale, self.centred = size, factors, scale, centred
        self.predictor = Learned(effect.predictor)
        self.effect = None if effect.law is None else Learned(effect.law)
        self.prior = prior.build(factors, scale, features, centred)
        self.register_buffer("centre", torch.zeros(factors))
        self.own_law: Any = None if effect.own is None else type(effect.own.law)
        if effect.own is not None and self.effect is not None:
            self.register_buffer("own", self._table(effect.own))
            self.effect.requires_grad_(False)  # the population is what the counts say

    @torch.no_grad()
    def _table(self, own: Prior) -> Tensor:
        """Parameters of every row's law, and of the population's for whoever else there is."""
        population = parameters(self.population().expand((1,)))
        pairs = zip(parameters(own.law), population, strict=True)
        return torch.stack([torch.cat([of.to(one), one]) for of, one in pairs], -1)

    def factor_prior(self, ids: Tensor | None = None) -> dist.TorchDistribution:
        """The prior of some rows' factors (of all by default), batch shape (rows,), event shape (K,)."""
        law: dist.TorchDistribution = self.prior(self.everyone() if ids is None else ids)
        return law

    def stranger(self, features: Tensor) -> dist.TorchDistribution:
        """The prior of the centred factors of rows that the side does not hold, from their features."""
        law = self.prior.of(features).base_dist
        return dist.Normal(law.loc - self.centre, law.scale).to_event(1)

    def everyone(self) -> Tensor:
        """The numbers of all rows."""
        return torch.arange(self.size, device=self.centre.device)

    def population(self) -> dist.TorchDistribution:
        """The law of the effect of a row drawn at random, batch shape ()."""
        assert self.effect is not None
        law: dist.TorchDistribution = self.effect.value().population(like=self.centre)
        return law

    def effect_prior(self, ids: Tensor | None = None) -> dist.TorchDistribution:
        """The law of the effect for some rows (all by default), batch shape (rows,): their own, or the population's.

        A number beyond the side's rows stands for a stranger, who has the population's.
        """
        ids = self.everyone() if ids is None else ids
        if self.own_law is None:
            return self.population().expand(ids.shape)
        law: dist.TorchDistribution = self.own_law(*self.own[ids.clamp_max(self.size)].T)
        return law

    def sample_effect(self, ids: Tensor | None = None) -> Tensor:
        """The sample site of the effect of some rows (of all by default)."""
        return pyro.sample(self.effect_name, self.effect_prior(ids))

    def sample_factors(self, ids: Tensor | None = None) -> Tensor:
        """The sample site of the factors of some rows (of all by default), (rows, K), not yet centred."""
        return pyro.sample(f"{self.name}_factors", self.factor_prior(ids))

    @property
    def adds(self) -> bool:
        """Whether the effect adds to the linear predictor; that of a product multiplies the match instead."""
        return isinstance(self.predictor.start, Offset)

    def offset(self, effect: Tensor | None) -> Tensor | None:
        """What the effect adds to the linear predictor; None where it adds nothing."""
        return None if effect is None or not self.adds else self.predictor.value().offset(effect)  # type: ignore[attr-defined]
