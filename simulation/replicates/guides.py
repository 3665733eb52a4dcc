"""Variational posteriors of replicates: each replicate has parameters of its own."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrorec.models.posterior_families import PosteriorFamily, default_posterior
from pyrorec.simulation.replicates.model import Latents, Replicates

START_SD = 0.3


class ReplicateGuide(PyroModule):
    """q of every latent of every replicate."""

    def __init__(self, model: Replicates) -> None:
        super().__init__()
        self.size = model.size

    @abstractmethod
    def draws(self, count: int) -> Latents:
        """Draws of every site with `count` in front, (count, R, K), without gradient."""


class MeanField(ReplicateGuide):
    """Independent laws: normal coefficients and log effects, popularity in the family that fits its prior."""

    def __init__(self, model: Replicates) -> None:
        super().__init__(model)
        assert model.spec.popularity is not None
        self.family: PosteriorFamily = default_posterior(model.spec.popularity)
        self.location, self.log_sd = nn.ParameterDict(), nn.ParameterDict()
        for name, law in model.priors().items():
            self.location[name] = nn.Parameter(starting_location(name, law, self.family))
            self.log_sd[name] = nn.Parameter(torch.full_like(self.location[name], START_SD).log())

    def laws(self) -> dict[str, dist.TorchDistribution]:
        """q of every site, batch shape (R,)."""
        found: dict[str, dist.TorchDistribution] = {}
        for name, location in self.location.items():
            spread = self.log_sd[name]
            law = self.family.law(location, spread) if name == "popularity" else dist.Normal(location, spread.exp())
            found[name] = law.to_event(1)
        return found

    def forward(self, outcomes: Any = None) -> None:
        with pyro.plate("replicates", self.size):
            for name, law in self.laws().items():
                pyro.sample(name, law)

    @torch.no_grad()
    def draws(self, count: int) -> Latents:
        return {name: law.sample((count,)) for name, law in self.laws().items()}


def middle(law: dist.TorchDistribution) -> Tensor:
    """Where a site starts: the mean of its prior."""
    return law.mean.clone()


def starting_location(name: str, law: dist.TorchDistribution, family: PosteriorFamily) -> Tensor:
    """The location of q at the prior's own."""
    if name != "popularity":
        return middle(law)
    return family.numbers(law.base_dist)[0].expand(law.batch_shape + law.event_shape).clone()
