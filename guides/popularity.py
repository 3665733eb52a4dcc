"""Guides of the popularity model."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrorec.guides.popularity_anchor import anchor_effects, anchor_popularity
from pyrorec.guides.record_encoder import RecordEncoder
from pyrorec.models.component import Parts
from pyrorec.models.inputs import Inputs
from pyrorec.models.popularity import Popularity, RecordBatch

STARTING_SPREAD = 0.3
Draw = Callable[[dist.TorchDistribution], dist.TorchDistribution]


class MeanField(nn.Module):
    """Independent normals on one block of weights; starts near zero, narrower than its prior."""

    def __init__(self, shape: tuple[int, ...], scale: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(0.3 * scale * torch.randn(shape))
        self.log_sd = nn.Parameter(torch.full(shape, STARTING_SPREAD * scale).log())

    def law(self) -> dist.TorchDistribution:
        """N(mean, sd) on every weight, as one event."""
        return dist.Normal(self.mean, self.log_sd.exp()).to_event(self.mean.dim())


class FreeForm(nn.Module):
    """Location and log spread of every group's popularity as free parameters, started at its prior."""

    def __init__(self, location: Tensor, log_spread: Tensor) -> None:
        super().__init__()
        self.location = nn.Parameter(location.clone())
        self.log_spread = nn.Parameter(log_spread.clone())

    def forward(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        return self.location[groups], self.log_spread[groups]

    def move(self, shift: Tensor) -> None:
        """Adds to every location."""
        self.location.add_(shift)

    def stretch(self, sd: Tensor) -> None:
        """Divides every location and spread."""
        self.location.div_(sd)
        self.log_spread.sub_(sd.log())


class PopularityGuide(PyroModule):
    """q of the popularity model: mean-field normal weights, and q(z) by free parameters or by an encoder.

    `drawn` makes of a law what its site is drawn from: the law itself, or one without a reparameterised sampler.
    """

    def __init__(self, model: Popularity, encoder: RecordEncoder | None, drawn: Draw) -> None:
        super().__init__()
        self.drawn = drawn
        self.weights = Parts()
        for side in (model.user, model.item):
            for site, shape in side.shapes.items():
                self.weights[site] = MeanField(shape, float(side.log_scale[site].detach().exp()))
        self.popularity = Parts()
        if model.spec.popularity is not None:
            self.popularity["q"] = encoder if encoder is not None else FreeForm(*starting_numbers(model))

    def forward(self, batch: RecordBatch, model: Popularity) -> None:
        with batch.weighing_latents():
            for site, block in self.weights.items():
                pyro.sample(site, block.law())  # type: ignore[operator]
        if model.spec.popularity is not None:
            with pyro.plate("groups", batch.all_groups, subsample=batch.groups), batch.weighing_latents():
                pyro.sample("popularity", self.drawn(self.popularity_law(model, batch.groups)))

    def popularity_law(self, model: Popularity, groups: Tensor) -> dist.TorchDistribution:
        """q(z) of some groups, batch shape (groups,)."""
        assert model.spec.posterior is not None
        return model.spec.posterior.law(*self.popularity["q"](groups))

    def laws(self) -> dict[str, dist.TorchDistribution]:
        """q of every block of weights."""
        return {site: block.law() for site, block in self.weights.items()}  # type: ignore[operator]

    @torch.no_grad()
    def refresh(self, model: Popularity) -> None:
        """Recomputes the centre of the users' vectors, the mean of all posterior means (maths 7.2), and what ids
        explain."""
        if model.spec.popularity is not None and model.user.factors:
            recentre(model.user, {site: law.mean for site, law in self.laws().items()})
        if not model.spec.affinity_first:
            for side in (model.user, model.item):
                anchor_effects(model.level.intercept, side, self.weights)

    def anchor(self, model: Popularity) -> None:
        """Sets the level of popularity; see `pyrorec.guides.popularity_anchor`."""
        if model.spec.popularity is not None:
            anchor_popularity(model, self.popularity["q"])  # type: ignore[arg-type]


def recentre(side: Inputs, means: dict[str, Tensor]) -> None:
    """Takes the mean of all rows' vectors as the centre."""
    everyone = torch.arange(side.size, device=side.centre.device)
    side.centre.add_(side.vectors(means, everyone).mean(0))


@torch.no_grad()
def starting_numbers(model: Popularity) -> tuple[Tensor, Tensor]:
    """Location and log spread of every group at its prior, or at the member of q's family that resembles it."""
    assert model.spec.posterior is not None
    return model.spec.posterior.numbers(model.popularity_prior(torch.arange(model.groups)))
