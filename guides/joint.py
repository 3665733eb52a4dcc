"""The guide of the joint model."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from pyrorec.guides.popularity import Draw, FreeForm, MeanField, recentre
from pyrorec.guides.popularity_anchor import anchor_effects
from pyrorec.models.bilateral import Batch
from pyrorec.models.component import Parts
from pyrorec.models.distributions import Scale
from pyrorec.models.joint import ExposureOutcome, every


class JointGuide(PyroModule):
    """q of the joint model: mean-field normal weights, and q(z_i) by free parameters.

    `log_counts` (items,) are the standardised log numbers of exposures, where popularity starts.
    """

    def __init__(self, model: ExposureOutcome, log_counts: Tensor, drawn: Draw) -> None:
        super().__init__()
        self.drawn = drawn
        self.weights = Parts()
        for block in model.blocks():
            for site, shape in block.shapes.items():
                self.weights[site] = MeanField(shape, float(block.log_scale[site].detach().exp()))
        self.weights["taste_effect"] = MeanField((1,), float(model.taste_effect.log_scale.detach().exp()))
        assert model.spec.posterior is not None
        with torch.no_grad():
            location, log_spread = model.spec.posterior.numbers(model.population().expand((model.item.size,)))
        self.popularity = Parts({"q": FreeForm(location + log_counts, log_spread)})

    def forward(self, batch: Batch, model: ExposureOutcome) -> None:
        with batch.weighing_latents():
            for site, block in self.weights.items():
                pyro.sample(site, block.law())  # type: ignore[operator]
            with pyro.plate("items", model.item.size):
                pyro.sample("popularity", self.drawn(self.popularity_law(model)))

    def popularity_law(self, model: ExposureOutcome) -> dist.TorchDistribution:
        """q(z) of every item, batch shape (items,)."""
        assert model.spec.posterior is not None
        return model.spec.posterior.law(*self.popularity["q"](every(model.item)))

    def laws(self) -> dict[str, dist.TorchDistribution]:
        """q of every block of weights."""
        return {site: block.law() for site, block in self.weights.items()}  # type: ignore[operator]

    @torch.no_grad()
    def refresh(self, model: ExposureOutcome) -> None:
        """Recomputes the centre of the users' factors, and sets what the likelihood leaves to the priors."""
        recentre(model.user_taste, {site: law.mean for site, law in self.laws().items()})
        for side in (model.user, model.item):
            anchor_effects(model.level.intercept, side, self.weights)
        anchor_effects(model.exposure_level.intercept, model.activity, self.weights)
        if model.spec.predictor.scale is Scale.LOG:
            self._anchor_popularity(model)

    def _anchor_popularity(self, model: ExposureOutcome) -> None:
        """The aggregated posterior of log-popularity gets mean 0 and variance 1 (maths 2.2, 3.6); both intercepts and
        both coefficients make up for it."""
        law = self.popularity_law(model)
        mean = law.mean.mean()
        sd = (law.variance + (law.mean - mean).square()).mean().clamp_min(1e-12).sqrt()
        for name, level in (("predictor", model.level), ("exposure_predictor", model.exposure_level)):
            log_effect = model.learned(name).log_values["popularity_effect"]
            level.intercept.add_(log_effect.exp() * mean)
            log_effect.add_(sd.log())
        q: FreeForm = self.popularity["q"]  # type: ignore[assignment]
        q.move(-mean)
        q.stretch(sd)
