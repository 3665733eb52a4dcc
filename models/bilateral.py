"""The bilateral model: users and items meet in a dot product, with popularity and activity beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrorec.models.component import Learned, Parts
from pyrorec.models.distributions import PopularityDistribution, Prior
from pyrorec.models.encoding import Covariance, Encoding
from pyrorec.models.factor_priors import FactorPrior, Standard
from pyrorec.models.families import Cloglog, Family, Outcome, Poisson
from pyrorec.models.posterior_families import GammaPosterior, PosteriorFamily, default_posterior
from pyrorec.models.predictors import Additive, LogAdditive, Offset, Predictor, UnfitPair
from pyrorec.models.prior_source import LearnedPopulation, PriorSource
from pyrorec.models.rows import COUPLED, INTEGRATED, IndependentRows, ProductRows, RowDistribution, SparseRows
from pyrorec.models.rows.bounded import bounded_log_prob
from pyrorec.models.rows.decode import with_offsets
from pyrorec.models.rows.expected import NormalPredictor, expected_log_prob
from pyrorec.models.rows.frailty import FrailtyRows
from pyrorec.models.rows.predictor_moments import Moments, PredictorMoments
from pyrorec.models.side import Side, SideEffect

HIDDEN = (100,)
"""Widths of the row encoder where nobody says."""


@dataclass(frozen=True)
class BilateralModel:
    """What the model is; how it is fitted and on which data stand elsewhere.

    `popularity` and `activity` default to the predictor's own choice; `activity` is the mirrored effect of
    users. A product multiplies the match by popularity, and activity is then part of the match, as a normal added to
    it. Where `INTEGRATED` has a law for popularity's distribution, predictor and family, a row's own effect is
    integrated out of it; else effects are drawn, and `posterior` is the family of q, by default the one that fits the
    distribution. `source` says where the items' priors come from. `scale` is the prior sd of each factor on both sides,
    by default K^(-1/4), so that a dot product has variance one (maths 6.4). `encoder` is one of
    `pyrorec.guides.encoders`; `hidden` is short for the widths of the row encoder, the default; `covariance`, diagonal
    by default, is that of a row's factors in q, one of
    `pyrorec.guides.covariances`. `binarise` turns values above zero into 1 before anything else; a Poisson family then
    speaks of click probabilities. `user_prior` and `item_prior` are the priors of the factors, such as `Cap()`, whose
    mean is read off features.

    Raises UnfitPair when family, predictor and popularity do not fit.
    """

    factors: int = 20
    family: Family = field(default_factory=Poisson)
    predictor: Predictor = field(default_factory=LogAdditive)
    popularity: PopularityDistribution | None = None
    activity: PopularityDistribution | None = None
    posterior: PosteriorFamily | None = None
    source: PriorSource = field(default_factory=LearnedPopulation)
    scale: float | None = None
    binarise: bool = False
    hidden: tuple[int, ...] = HIDDEN
    encoder: Encoding | None = None
    covariance: Covariance | None = None
    user_prior: FactorPrior = field(default_factory=Standard)
    item_prior: FactorPrior = field(default_factory=Standard)

    def __post_init__(self) -> None:
        if self.encoder is not None and self.hidden != HIDDEN:
            raise UnfitPair("hidden is short for a row encoder of these widths: give them to the encoder instead")
        if self.factors < 1:
            raise UnfitPair(f"factors must be at least 1, not {self.factors}")
        if self.popularity is None:
            object.__setattr__(self, "popularity", self.predictor.default_popularity())
        if self.activity is None:
            object.__setattr__(self, "activity", self.activity_predictor.default_popularity())
        self.predictor.check_family(self.family)
        check_scale(self.popularity, self.predictor, "popularity")
        check_scale(self.activity, self.activity_predictor, "activity")
        if self.posterior is not None:
            self._check_posterior(self.posterior)
        if self.popularity is None and self.source != LearnedPopulation():
            raise UnfitPair(f"predictor {self.predictor.name} takes no popularity, so a prior source has no meaning")

    def _check_posterior(self, posterior: PosteriorFamily) -> None:
        check_scale(posterior, self.predictor, "posterior")
        if self.integrates(self.popularity, self.predictor) and not isinstance(posterior, GammaPosterior):
            raise UnfitPair(
                f"gamma popularity is integrated out of {self.predictor.name} {self.family.name} rows and has a gamma "
                "posterior: leave posterior out, or take another popularity distribution"
            )

    def integrates(self, effect: PopularityDistribution | None, predictor: Predictor) -> bool:
        """Whether a row's own effect with this law is integrated out of it."""
        return (type(effect), type(predictor), type(self.family)) in INTEGRATED

    def posterior_of(self, effect: PopularityDistribution | None, predictor: Predictor) -> PosteriorFamily | None:
        """The family of q of popularity or activity with this law: Gamma where it is integrated out, else the one
        given, where it is on the law's scale."""
        if effect is None:
            return None
        if self.integrates(effect, predictor):
            return GammaPosterior()
        given = self.posterior
        return given if given is not None and given.scale is effect.scale else default_posterior(effect)

    @property
    def activity_predictor(self) -> Offset:
        """How activity enters: as popularity does, or added to the match that popularity multiplies."""
        return self.predictor if isinstance(self.predictor, Offset) else Additive()

    @property
    def factor_scale(self) -> float:
        """Prior sd of each factor."""
        return self.scale if self.scale is not None else self.factors**-0.25

    @property
    def response(self) -> Family:
        """The family of what is predicted: clicks by cloglog for binarised Poisson counts, else the family."""
        return Cloglog() if self.binarise and isinstance(self.family, Poisson) else self.family

    @property
    def outcome(self) -> Outcome:
        return self.response.outcome


def check_scale(part: PopularityDistribution | PosteriorFamily | None, predictor: Predictor, what: str) -> None:
    """Raises UnfitPair for a law of popularity or activity that is not on the scale that its predictor takes."""
    if (None if part is None else part.scale) is predictor.scale:
        return
    wanted = "no popularity" if predictor.scale is None else f"popularity as {predictor.scale.value}"
    given = "none" if part is None else f"{part.name} ({part.scale.value})"
    raise UnfitPair(
        f"predictor {predictor.name} takes {wanted}, not {what} {given}: choose a {what} on that scale (--prior, "
        "--posterior), or another predictor"
    )


@dataclass(frozen=True)
class Batch:
    """Some rows of one side: `ids` (rows,) and what was observed in them.

    `kl_weight` scales every latent site of both sides (KL warm-up; 1 is the ELBO). `passive_rows` are all rows of the
    other side, where its posterior is to come from its encoder with gradient, and not from what is kept.
    """

    side: str
    ids: Tensor
    rows: SparseRows
    kl_weight: float = 1.0
    passive_rows: SparseRows | None = None

    def weighing_latents(self) -> AbstractContextManager[Any]:
        """The context in which latent sites count with `kl_weight`; none where that is 1, as handlers cost time."""
        return nullcontext() if self.kl_weight == 1.0 else poutine.scale(scale=self.kl_weight)


class Level(nn.Module):
    """The intercept b0 of the linear predictor."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.intercept = nn.Parameter(torch.tensor(start))


class Bilateral(PyroModule):
    """The generative process of `spec` for a given number of users and items, as a Pyro model of a `Batch`.

    Sites: `user_factors`, `item_factors`, `popularity`, `activity` and `value` (the rows of the batch's
    side). The effect of the batch's own side is no site where its row integrates it out. `missing_weight`
    is what a cell absent from the log weighs, taken as zero; `level` is where the intercept starts; `features` holds
    by side, (rows, columns), what a prior reads; `item_prior` each item's own prior of popularity, where other data
    tell them apart. Raises UnfitPair for a weight that the family cannot describe.
    """

    def __init__(
        self, spec: BilateralModel, users: int, items: int, missing_weight: float, level: float,
        features: dict[str, Tensor] | None = None, item_prior: Prior | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if (reason := spec.family.absent_refusal(missing_weight)) is not None:
            raise UnfitPair(reason.rstrip("."))
        given = features or {}
        self.spec, self.missing_weight = spec, missing_weight
        common = (spec.factors, spec.factor_scale)
        centred = spec.predictor.scale is not None
        activity, popularity = (
            SideEffect(site, law, predictor, spec.posterior_of(law, predictor), own)
            for site, law, predictor, own in (
                ("activity", spec.activity, spec.activity_predictor, None),
                ("popularity", spec.popularity, spec.predictor, item_prior),
            )
        )
        self.parts = Parts(
            {
                "family": Learned(spec.family.for_log(items)),
                "level": Level(level),
                "user": Side("user", users, *common, activity, centred, spec.user_prior, given.get("user")),
                "item": Side("item", items, *common, popularity, False, spec.item_prior, given.get("item")),
            }
        )

    @property
    def family(self) -> Learned[Family]:
        """The family with its learned fields."""
        return self.parts["family"]  # type: ignore[return-value]

    @property
    def level(self) -> Level:
        """The intercept."""
        return self.parts["level"]  # type: ignore[return-value]

    @property
    def user(self) -> Side:
        """The users' side."""
        return self.parts["user"]  # type: ignore[return-value]

    @property
    def item(self) -> Side:
        """The items' side."""
        return self.parts["item"]  # type: ignore[return-value]

    def sides(self, active: str) -> tuple[Side, Side]:
        """The side whose rows are observed, and the other."""
        return (self.user, self.item) if active == "user" else (self.item, self.user)

    def integrates(self, side: Side) -> bool:
        """Whether the effect of this side is integrated out of its rows."""
        return side.effect is not None and self.spec.integrates(side.effect.start, side.predictor.start)

    def forward(self, batch: Batch) -> RowDistribution:
        active, passive = self.sides(batch.side)
        with pyro.plate(f"{passive.name}s", passive.size), batch.weighing_latents():
            loadings = passive.sample_factors()
            other = passive.sample_effect() if passive.effect else None
        with pyro.plate(f"{active.name}s", active.size, subsample=batch.ids):
            with batch.weighing_latents():
                factors = active.sample_factors(batch.ids)
                own = None
                if active.effect and not self.integrates(active):
                    own = active.sample_effect(batch.ids)
            rows = self.row_distribution(active, factors, loadings, own, other, batch.ids)
            integrals = {
                "expected": partial(self.expected_log_prob, batch),
                "bounded": partial(self.bounded_log_prob, batch),
            }
            pyro.sample("value", rows, obs=batch.rows, infer=integrals)  # type: ignore[arg-type]
        return rows

    def expected_log_prob(
        self, batch: Batch, laws: dict[str, dist.TorchDistribution], drawn: dict[str, Tensor]
    ) -> Tensor:
        """Log-likelihood of a batch's rows given their own draws, the other side integrated over its laws, (rows,).

        eta is normal given the row (maths 6.4, 7.2). Raises UnfitPair where its own effect is integrated out of the
        row, which leaves no closed form.
        """
        active, passive = self.sides(batch.side)
        if self.integrates(active):
            raise UnfitPair(
                "the other side cannot be integrated out of a row whose own frailty is: take objective analytic, or "
                "predictor plain or additive"
            )
        if not isinstance(laws.get(passive.effect_name), dist.Normal | dist.LogNormal | None):
            raise UnfitPair("only a popularity that adds a normal offset can be integrated: take objective analytic")
        row = self.level.intercept.expand(len(batch.ids))
        if (offset := active.offset(drawn.get(active.effect_name))) is not None:
            row = row + offset
        factors = drawn[f"{active.name}_factors"] - active.centre
        eta = NormalPredictor.of(factors, factor_moments(passive, laws), row, effect_moments(passive, laws))
        return expected_log_prob(self.family.value(), self.missing_weight, eta, batch.rows)

    def bounded_log_prob(
        self, batch: Batch, laws: dict[str, dist.TorchDistribution], drawn: dict[str, Tensor]
    ) -> Tensor:
        """Lower bound of the expected log-likelihood of a batch's rows, both sides integrated, (rows,).

        By Jaakkola and Jordan's quadratic bound of clicks under a logit (maths 6.4); nothing `drawn` enters.
        """
        active, passive = self.sides(batch.side)
        level = self.level.intercept.expand(len(batch.ids))
        own = effect_moments(active, laws)
        row = (level, None) if own is None else (level + own[0], own[1])
        factors, loadings = factor_moments(active, laws), factor_moments(passive, laws)
        eta = PredictorMoments.of_product(factors, loadings, row, effect_moments(passive, laws))
        return bounded_log_prob(self.family.value(), self.missing_weight, eta, batch.rows)

    def row_distribution(
        self,
        active: Side,
        factors: Tensor,
        loadings: Tensor,
        own: Tensor | None,
        other: Tensor | None,
        ids: Tensor | None = None,
    ) -> RowDistribution:
        """The law of rows of `active`, numbers `ids` (all where None), given both sides' factors (uncentred) and
        effects."""
        _, passive = self.sides(active.name)
        # The intercept stands with the rows: the loadings then carry no gradient, which saves a dense product a step.
        row = self.level.intercept.expand(len(factors))
        if (offset := active.offset(own)) is not None:
            row = row + offset
        left, right = with_offsets(factors - active.centre, loadings - passive.centre, row, passive.offset(other))
        if self.item.adds:
            return self.make_rows(active, left, right, ids)
        popularity = own if active is self.item else other
        assert popularity is not None
        return self._product_rows(active, left, right, popularity)

    def _product_rows(self, active: Side, left: Tensor, right: Tensor, popularity: Tensor) -> RowDistribution:
        log_z = popularity.clamp_min(torch.finfo(popularity.dtype).tiny).log()
        log_z = log_z[:, None] if active is self.item else log_z[None]
        product: Any = self.item.predictor.value()
        return ProductRows(self.family.value(), left, right, self.missing_weight, product, log_z)

    def make_rows(self, active: Side, left: Tensor, right: Tensor, ids: Tensor | None = None) -> RowDistribution:
        """The row law whose linear predictor is left @ right.T, offsets included; rows `ids` of the side.

        Raises UnfitPair for items' rows of a family that couples those of users.
        """
        family = self.family.value()
        ids = torch.arange(len(left), device=left.device) if ids is None else ids
        items = ids if active is self.item else None
        if family.coupled:
            return self._coupled_rows(family, left, right, items)
        if not self.integrates(active):
            return IndependentRows(family, left, right, self.missing_weight, items)
        assert active.effect is not None
        kind: type[FrailtyRows] = INTEGRATED[(type(active.effect.start), type(self.spec.predictor), type(family))]
        prior: Any = active.effect_prior(ids)
        return kind(family, left, right, self.missing_weight, prior.concentration, prior.rate)

    def _coupled_rows(self, family: Family, left: Tensor, right: Tensor, items: Tensor | None) -> RowDistribution:
        if items is not None:
            raise UnfitPair(
                f"family {family.name} couples the cells of a user, so items have no rows of their own: train on the "
                "users' side with both sides moving (a joint schedule)"
            )
        return COUPLED[type(family)](family, left, right, self.missing_weight)

    def factor_variances(self) -> tuple[float, float]:
        """Prior variance of each factor of users and of items; where factors differ, their mean."""
        return self.user.prior.variance(), self.item.prior.variance()

    @contextmanager
    def only(self, side: str) -> Iterator[None]:
        """Holds the other side's own parameters still."""
        _, passive = self.sides(side)
        moving = [p for p in passive.parameters() if p.requires_grad]
        for p in moving:
            p.requires_grad_(False)
        try:
            yield
        finally:
            for p in moving:
                p.requires_grad_(True)


def factor_moments(side: Side, laws: dict[str, dist.TorchDistribution]) -> Moments:
    """Mean and variance of a side's centred factors, (rows, K) each. Raises UnfitPair where they are correlated."""
    law = laws[f"{side.name}_factors"]
    if not isinstance(law, dist.Normal):
        raise UnfitPair("a side with correlated factors cannot be integrated: take objective analytic")
    return law.mean - side.centre, law.variance


def effect_moments(side: Side, laws: dict[str, dist.TorchDistribution]) -> Moments | None:
    """Mean and variance of what a side's effect adds to eta, (rows,) each; None where it has none.

    Raises UnfitPair where the effect multiplies.
    """
    law = laws.get(side.effect_name)
    if not side.adds:
        raise UnfitPair("only a popularity that adds an offset can be integrated: take objective analytic")
    return None if law is None else side.predictor.value().offset_moments(law)  # type: ignore[attr-defined]
