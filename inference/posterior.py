"""The posterior of a fitted bilateral model: named moments and draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.guides import BilateralGuide
from pyrorec.guides.posterior import SidePosterior
from pyrorec.models.affinities import dot_mean, dot_variance
from pyrorec.models.bilateral import Bilateral
from pyrorec.models.distributions import InverseGaussian
from pyrorec.models.families import Family
from pyrorec.models.laws import mapped
from pyrorec.models.predictors import Offset, Predictor
from pyrorec.models.side import Side


@dataclass(frozen=True)
class Effect:
    """Laws of one side's effect: of each row given the log (None: no effect), and of the population."""

    law: dist.TorchDistribution | None
    population: dist.TorchDistribution | None
    predictor: Predictor

    def map(self, change: Callable[[Tensor], Tensor]) -> Effect:
        """The effect with every parameter of its laws changed."""
        return replace(self, law=mapped(self.law, change), population=mapped(self.population, change))

    def matched_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of what the effect adds to the linear predictor, (rows,) each."""
        assert self.law is not None
        assert isinstance(self.predictor, Offset)
        return self.predictor.matched_moments(self.law)


@dataclass(frozen=True)
class Posterior:
    """q of a fitted model, mean-field: users' and items' factors are independent normals.

    `user_mean`, `user_sd` (U, K) and `item_mean`, `item_sd` (I, K) are centred where the model centres, so that
    affinity is `user_mean @ item_mean.T`. `intercept` is a point estimate, as are the learned fields in
    `response`, predictors and population laws. `level_shift` is added to the linear predictor so that click
    probabilities have the level of the log (see `pyrorec.inference.level`); `recalibration` is the part of it that a
    random sample, or propensities, have set.
    """

    users: pd.Index
    items: pd.Index
    user_mean: Tensor
    user_sd: Tensor
    item_mean: Tensor
    item_sd: Tensor
    intercept: Tensor
    user_effect: Effect
    item_effect: Effect
    response: Family
    level_shift: float = 0.0
    recalibration: float = 0.0
    appended_items: int = 0

    @property
    def known_items(self) -> int:
        """Number of the run's own items; rows of unknown ones may stand behind them."""
        return len(self.items) - self.appended_items

    @property
    def popularity(self) -> dist.TorchDistribution | None:
        """q(z_i) of every item, batch shape (items,); None where the model holds no popularity."""
        return self.item_effect.law

    @property
    def population(self) -> dist.TorchDistribution | None:
        """p(z), the law of an item drawn from the population."""
        return self.item_effect.population

    @property
    def activity(self) -> dist.TorchDistribution | None:
        """q(w_u) of every user, the mirror image of popularity."""
        return self.user_effect.law

    def to(self, device: torch.device | str) -> Posterior:
        """The same posterior on another device."""
        tensors = ("user_mean", "user_sd", "item_mean", "item_sd", "intercept")
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in tensors}
        effects = {name: getattr(self, name).map(lambda t: t.to(device)) for name in ("user_effect", "item_effect")}
        return replace(self, **moved, **effects)

    def linear_mean(self, users: Tensor, items: Tensor | slice = slice(None)) -> Tensor:
        """Mean of level + affinity + activity, popularity left out: (users, items) (maths 6.4)."""
        mean = self.intercept + self.level_shift + dot_mean(self.user_mean[users], self.item_mean[items])
        return mean if self.activity is None else mean + self.user_effect.matched_moments()[0][users, None]

    def linear_variance(self, users: Tensor, items: Tensor | slice = slice(None)) -> Tensor:
        """Variance of the same, (users, items)."""
        a, s, b, t = self.user_mean[users], self.user_sd[users], self.item_mean[items], self.item_sd[items]
        variance = dot_variance(a, s, b, t)
        return variance if self.activity is None else variance + self.user_effect.matched_moments()[1][users, None]

    def pair_mean(self, users: Tensor, items: Tensor) -> Tensor:
        """As `linear_mean`, for pairs: (pairs,)."""
        mean = self.intercept + self.level_shift + (self.user_mean[users] * self.item_mean[items]).sum(-1)
        return mean if self.activity is None else mean + self.user_effect.matched_moments()[0][users]

    def pair_variance(self, users: Tensor, items: Tensor) -> Tensor:
        """As `linear_variance`, for pairs: (pairs,)."""
        a, s, b, t = self.user_mean[users], self.user_sd[users], self.item_mean[items], self.item_sd[items]
        variance = ((a * t) ** 2 + (b * s) ** 2 + (s * t) ** 2).sum(-1)
        return variance if self.activity is None else variance + self.user_effect.matched_moments()[1][users]

    def draw(self, seed: int) -> Posterior:
        """One joint draw of every latent, as a posterior without spread.

        Each latent has a random stream of its own, read row by row, so rows appended for unknown users and items
        leave the draws of the others as they were.
        """
        streams = [np.random.default_rng([seed, number]) for number in range(4)]
        return replace(
            self,
            user_mean=drawn_normal(self.user_mean, self.user_sd, streams[0]),
            item_mean=drawn_normal(self.item_mean, self.item_sd, streams[1]),
            user_sd=torch.zeros_like(self.user_sd),
            item_sd=torch.zeros_like(self.item_sd),
            user_effect=drawn(self.user_effect, streams[2]),
            item_effect=drawn(self.item_effect, streams[3]),
        )

    def draws(self, n: int, seed: int = 0) -> dict[str, np.ndarray]:
        """n draws of every latent by name, first axis the draw: user_factors, item_factors, popularity, activity."""
        laws = {
            "user_factors": dist.Normal(self.user_mean, self.user_sd.clamp_min(1e-30)),
            "item_factors": dist.Normal(self.item_mean, self.item_sd.clamp_min(1e-30)),
            "activity": self.activity,
            "popularity": self.popularity,
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return {name: law.sample((n,)).cpu().numpy() for name, law in laws.items() if law is not None}

    def effects(self, side: str, level: float = 0.9) -> pd.DataFrame:
        """Mean, sd and equal-tailed interval of popularity ("item") or activity ("user"), indexed by id."""
        effect, ids = (self.item_effect, self.items) if side == "item" else (self.user_effect, self.users)
        if effect.law is None:
            raise ValueError(f"this model has no effect on the {side} side")
        lower, upper = quantiles(effect.law, (1 - level) / 2), quantiles(effect.law, (1 + level) / 2)
        columns = {"mean": effect.law.mean, "sd": effect.law.stddev, "lower": lower, "upper": upper}
        return pd.DataFrame({k: v.cpu().numpy() for k, v in columns.items()}, index=ids)


def drawn_normal(mean: Tensor, sd: Tensor, stream: np.random.Generator) -> Tensor:
    """A draw of independent normals, read off the stream row by row."""
    return mean + sd * torch.as_tensor(stream.standard_normal(tuple(mean.shape))).to(mean)


def drawn(effect: Effect, stream: np.random.Generator) -> Effect:
    """The effect fixed at one draw."""
    law = effect.law
    if law is None or isinstance(law, dist.Delta):
        return effect
    if isinstance(law, dist.Gamma):
        gamma = torch.as_tensor(stream.standard_gamma(law.concentration.double().cpu().numpy())).to(law.rate)
        return replace(effect, law=dist.Delta(gamma.clamp_min(torch.finfo(gamma.dtype).tiny) / law.rate))
    if isinstance(law, dist.Normal):
        return replace(effect, law=dist.Delta(drawn_normal(law.loc, law.scale, stream)))
    if isinstance(law, InverseGaussian):
        wald = stream.wald(law.loc.double().cpu().numpy(), law.concentration.double().cpu().numpy())
        return replace(effect, law=dist.Delta(torch.as_tensor(wald).to(law.loc)))
    uniform = torch.as_tensor(stream.uniform(1e-12, 1 - 1e-12, tuple(law.batch_shape)))
    return replace(effect, law=dist.Delta(mapped(law, Tensor.double).icdf(uniform).to(law.mean)))  # type: ignore[union-attr]


def quantiles(law: dist.TorchDistribution, p: float) -> Tensor:
    """The p-quantile of each law of an effect."""
    from scipy.special import gammaincinv
    from scipy.stats import invgauss

    if isinstance(law, dist.Gamma):
        shape = law.concentration.double().cpu().numpy()
        return torch.as_tensor(gammaincinv(shape, p)).to(law.rate) / law.rate
    if isinstance(law, InverseGaussian):
        m, t = (x.double().cpu().numpy() for x in (law.loc, law.concentration))
        return torch.as_tensor(invgauss.ppf(p, m / t, scale=t)).to(law.loc)
    if isinstance(law, dist.Delta):
        return law.v
    kept = mapped(law, Tensor.double)
    assert kept is not None
    return kept.icdf(torch.tensor(p, dtype=torch.float64)).to(law.mean.dtype)


@torch.no_grad()
def read_posterior(model: Bilateral, guide: BilateralGuide, users: pd.Index, items: pd.Index) -> Posterior:
    """The posterior as it stands in the guide after its last refresh."""
    kept: dict[str, SidePosterior] = {"user": guide.posterior["user"], "item": guide.posterior["item"]}  # type: ignore[dict-item]
    return Posterior(
        users=users,
        items=items,
        user_mean=(kept["user"].mean - model.user.centre).clone(),
        user_sd=kept["user"].sd.clone(),
        item_mean=(kept["item"].mean - model.item.centre).clone(),
        item_sd=kept["item"].sd.clone(),
        intercept=model.level.intercept.detach().clone(),
        user_effect=_effect(model.user, kept["user"]),
        item_effect=_effect(model.item, kept["item"]),
        response=model.spec.response if model.spec.response != model.spec.family else model.family.fixed(),
    )


def _effect(side: Side, kept: SidePosterior) -> Effect:
    population = None
    if side.effect is not None:
        population = side.effect.fixed().population(like=side.centre)
    return Effect(mapped(kept.effect, torch.clone), population, side.predictor.fixed())
