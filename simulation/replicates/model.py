"""The small model that is replicated: covariates, and a popularity of every item."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.distributions import PopularityDistribution
from pyrorec.models.families import Bernoulli, Family
from pyrorec.models.predictors import Additive, Predictor, UnfitPair
from pyrorec.simulation.replicates.design import Design
from pyrorec.simulation.replicates.records import Outcomes, Records

Latents = dict[str, Tensor]


@dataclass(frozen=True)
class SmallModel:
    """value ~ family(predictor(b0 + x . b, z_item)), everything with a prior.

    b0 ~ N(`intercept`, `coefficient_sd`), each slope ~ N(0, `coefficient_sd`); z of every item from `popularity`, the
    predictor's own choice by default; each learned field of the predictor is log-normal about its value there with sd
    `effect_sd` of its logarithm. Raises UnfitPair for parts that do not fit, and a predictor without popularity.
    """

    predictor: Predictor = field(default_factory=lambda: Additive(popularity_effect=0.7))
    family: Family = field(default_factory=Bernoulli)
    popularity: PopularityDistribution | None = None
    intercept: float = -1.0
    coefficient_sd: float = 1.0
    effect_sd: float = 0.5

    def __post_init__(self) -> None:
        self.predictor.check_family(self.family)
        if self.popularity is None:
            object.__setattr__(self, "popularity", self.predictor.default_popularity())
        if self.popularity is None or self.popularity.scale is not self.predictor.scale:
            raise UnfitPair(
                f"predictor {self.predictor.name} takes popularity as "
                f"{self.predictor.scale.value if self.predictor.scale else 'nothing at all'}: choose a popularity "
                "distribution on that scale, and a predictor with popularity"
            )

    @property
    def effects(self) -> tuple[str, ...]:
        """Learned fields of the predictor; their latents are their logarithms."""
        return self.predictor.learned

    def fixed(self) -> SmallModel:
        """The same model with its predictor known: no field of it is a latent."""
        return replace(self, effect_sd=0.0)


class Replicates:
    """R replicates of a model on one design, as one Pyro model; called with `Outcomes`, or None to draw them.

    Sites, each with batch shape (R,): `coefficients` (1 + P,), `log_effects` (one for each learned field of the
    predictor, no site where there is none or `effect_sd` is zero), `popularity` (I,), `value` (N,).
    """

    def __init__(self, spec: SmallModel, design: Design, size: int) -> None:
        self.spec, self.design, self.size = spec, design, size

    def __call__(self, outcomes: Outcomes | None = None) -> Tensor:
        with pyro.plate("replicates", self.size):
            latents = {name: pyro.sample(name, law) for name, law in self.priors().items()}
            return pyro.sample("value", self.records(latents), obs=outcomes)  # type: ignore[arg-type]

    def priors(self) -> dict[str, dist.TorchDistribution]:
        """The prior of every latent site, batch shape (R,)."""
        assert self.spec.popularity is not None
        like = self.design.covariates
        columns = 1 + like.shape[1]
        centre = torch.zeros(columns).to(like)
        centre[0] = self.spec.intercept
        laws = {"coefficients": normal(centre, self.spec.coefficient_sd, self.size)}
        if self.spec.effects and self.spec.effect_sd:
            laws["log_effects"] = normal(self.log_effects.to(like), self.spec.effect_sd, self.size)
        population = self.spec.popularity.population(like=like)
        laws["popularity"] = population.expand((self.size, self.design.items)).to_event(1)
        return laws

    @property
    def log_effects(self) -> Tensor:
        """Logarithms of the predictor's learned fields as the model states them, (fields,)."""
        return torch.tensor([float(getattr(self.spec.predictor, name)) for name in self.spec.effects]).log()

    def records(self, latents: Latents) -> Records:
        """The law of the values given every latent."""
        predictor = self.spec.predictor
        if "log_effects" in latents:
            values = latents["log_effects"].exp().unbind(-1)
            predictor = replace(predictor, **{n: v[..., None] for n, v in zip(self.spec.effects, values, strict=True)})
        return Records(self.spec.family, predictor, latents["coefficients"], latents["popularity"], self.design)

    def draw(self, seed: int) -> tuple[Latents, Outcomes]:
        """Latents from their priors, and outcomes from them: a truth for each replicate, and its data."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            latents = {name: law.sample() for name, law in self.priors().items()}
            return latents, self.outcomes(self.records(latents).sample())

    def outcomes(self, values: Tensor) -> Outcomes:
        """Values (R, N) as observations of this model."""
        return Outcomes(values, self.design, self.spec.family)


def normal(centre: Tensor, sd: float, size: int) -> dist.TorchDistribution:
    """Independent normals about `centre` (K,), for each of `size` replicates."""
    return dist.Normal(centre, sd).expand((size, len(centre))).to_event(1)
