"""The joint model: who was exposed to what, and what came of it, with taste and popularity shared by both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrorec.models.affinities import Affinity, FeaturedDot, Linear
from pyrorec.models.bilateral import Batch, Level
from pyrorec.models.component import Learned, Parts
from pyrorec.models.distributions import PopularityDistribution, Scale
from pyrorec.models.expectations import expected_log_prob, integrates_affinity
from pyrorec.models.families import Bernoulli, Family, Outcome, Poisson
from pyrorec.models.inputs import Inputs, Laws, Values
from pyrorec.models.learned_parts import LearnedParts
from pyrorec.models.mass import ExpMass
from pyrorec.models.posterior_families import PosteriorFamily, default_posterior
from pyrorec.models.predictors import Additive, LogAdditive, Offset, UnfitPair
from pyrorec.models.rows import IndependentRows, SparseRows
from pyrorec.models.rows.decode import decode_dense, decode_stored, with_offsets


@dataclass(frozen=True)
class JointModel:
    """What the joint model is; how it is fitted and on which data stand elsewhere.

    Exposure of every cell: exposed ~ exposure_family(b_e + activity_u + offset(z_i) + s_ui), with taste s_ui =
    theta_u . beta_i of `taste.factors` factors, told by ids and, under `featured-dot`, features; users centred. Outcome
    of the exposed cells alone: y ~ family(predictor(b0 + x_ui + rho s_ui, z_i)), with x_ui as `affinity` says and one
    rho, the taste effect, whose prior is centred at zero (maths 2.6). Taste, popularity and their uncertainty are
    shared. `popularity` defaults to the predictor's own choice, `posterior` to the family that fits it. `binarise`
    turns values above zero into 1.

    Raises UnfitPair when the parts do not fit.
    """

    taste: Affinity = field(default_factory=lambda: FeaturedDot(4))
    affinity: Affinity = field(default_factory=Linear)
    family: Family = field(default_factory=Bernoulli)
    predictor: Offset = field(default_factory=Additive)
    popularity: PopularityDistribution | None = None
    posterior: PosteriorFamily | None = None
    exposure_family: Family = field(default_factory=Poisson)
    binarise: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.predictor, Offset) or self.predictor.scale is None:
            raise UnfitPair(
                f"the joint model takes predictors that add popularity to the outcome, not {self.predictor.name}: use "
                "predictor additive or log-additive"
            )
        self.predictor.check_family(self.family)
        if self.family.coupled:
            raise UnfitPair(f"family {self.family.name} couples a user's records: take the bilateral model for it")
        if not self.exposure_family.log_rate:
            raise UnfitPair(
                f"exposure is a rate, and family {self.exposure_family.name} has none: use poisson or cloglog"
            )
        if self.affinity.factors or self.taste.factors < 1 or self.taste.linear:
            raise UnfitPair(
                "factors belong to the taste of the joint model (dot or featured-dot, at least one); its affinity "
                "is linear"
            )
        if self.popularity is None:
            object.__setattr__(self, "popularity", self.predictor.default_popularity())
        assert self.popularity is not None
        if self.posterior is None:
            object.__setattr__(self, "posterior", default_posterior(self.popularity))
        for part in (self.popularity, self.posterior):
            if part.scale is not self.predictor.scale:  # type: ignore[union-attr]
                raise UnfitPair(
                    f"predictor {self.predictor.name} takes popularity as {self.predictor.scale.value}, not {part.name}"  # type: ignore[union-attr]
                )

    @property
    def factors(self) -> int:
        """Number of factors of taste."""
        return self.taste.factors

    @property
    def response(self) -> Family:
        """The family of what is predicted: the outcome given exposure."""
        return self.family

    @property
    def outcome(self) -> Outcome:
        return self.family.outcome

    @property
    def exposure_predictor(self) -> Offset:
        """How popularity enters exposure: as the rate it is, or as a logarithm with a coefficient of its own."""
        return LogAdditive() if self.predictor.scale is Scale.RATE else Additive()


class Coefficient(nn.Module):
    """The prior N(0, scale) of a coefficient; its scale is learned, so that one that the log does not support is shrunk
    away."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(start).log())

    def prior(self) -> dist.TorchDistribution:
        """As one event of one number."""
        scale = self.log_scale.exp().expand(1)
        return dist.Normal(torch.zeros_like(scale), scale).to_event(1)


class ExposureOutcome(LearnedParts):
    """The generative process of `spec`, as a Pyro model of a `Batch` of user rows.

    Sites: blocks of weights of the outcome's effects and features (`user_effect`, `item_effect`, ...), of activity
    (`activity_effect`, ...) and of taste (`user_taste_factors`, `item_taste_factors`); `taste_effect`, which is rho;
    `popularity` in plate `items`; and, in plate `users`, `exposure` (every cell of a row) and `value` (its exposed
    cells). Both observed sites carry, as infer["expected"], their expected log-likelihood under given posteriors of the
    latents.
    """

    def __init__(
        self, spec: JointModel, user_features: Tensor, item_features: Tensor, level: float, exposure_level: float
    ) -> None:
        super().__init__()
        assert spec.popularity is not None
        self.spec = spec
        self.parts = Parts(
            {
                "family": Learned(spec.family.for_log(len(item_features))),
                "predictor": Learned(spec.predictor),
                "exposure_predictor": Learned(spec.exposure_predictor),
                "popularity": Learned(spec.popularity),
                "level": Level(level),
                "exposure_level": Level(exposure_level),
                "taste_effect": Coefficient(0.5),
                "user": Inputs("user", user_features, spec.affinity, has_effect=True),
                "item": Inputs("item", item_features, spec.affinity, has_effect=True),
                "activity": Inputs("activity", user_features, Linear(), has_effect=True),
                "user_taste": Inputs("user_taste", user_features, spec.taste, has_effect=False),
                "item_taste": Inputs("item_taste", item_features, spec.taste, has_effect=False),
            }
        )
        for taste in (self.user_taste, self.item_taste):
            for start in taste.log_scale.values():
                start.data.fill_(spec.factors**-0.25).log_()

    def block(self, name: str) -> Inputs:
        """One block of ids and features by name."""
        return self.parts[name]  # type: ignore[return-value]

    def blocks(self) -> Iterator[Inputs]:
        """Every block of weights."""
        return (part for part in self.parts.values() if isinstance(part, Inputs))

    @property
    def user(self) -> Inputs:
        """The users' part of the outcome."""
        return self.block("user")

    @property
    def item(self) -> Inputs:
        """The items' part of the outcome."""
        return self.block("item")

    @property
    def user_taste(self) -> Inputs:
        """The users' factors, centred."""
        return self.block("user_taste")

    @property
    def item_taste(self) -> Inputs:
        """The items' factors."""
        return self.block("item_taste")

    @property
    def activity(self) -> Inputs:
        """What makes users see more or less, whatever the item."""
        return self.block("activity")

    @property
    def exposure_level(self) -> Level:
        """The intercept of exposure."""
        return self.parts["exposure_level"]  # type: ignore[return-value]

    @property
    def taste_effect(self) -> Coefficient:
        """The prior of rho, what one unit of taste adds to the outcome's linear predictor."""
        return self.parts["taste_effect"]  # type: ignore[return-value]

    def factor_variances(self) -> tuple[float, float]:
        """Prior variance of each factor of users (as the outcome feels them) and of items, as learned."""
        user, item = (
            float(taste.log_scale[f"{taste.name}_factors"].detach().exp()) ** 2
            for taste in (self.user_taste, self.item_taste)
        )
        return user * float(self.taste_effect.log_scale.detach().exp()) ** 2, item

    def forward(self, batch: Batch) -> None:
        values: Values = {}
        with batch.weighing_latents():
            for block in self.blocks():
                values |= {site: pyro.sample(site, block.prior(site)) for site in block.shapes}
            values["taste_effect"] = pyro.sample("taste_effect", self.taste_effect.prior())
            with pyro.plate("items", self.item.size):
                popularity = pyro.sample("popularity", self.population().expand((self.item.size,)))
        with pyro.plate("users", self.user.size, subsample=batch.ids):
            for site, rows, expected in (
                ("exposure", exposed(batch.rows), self.expected_exposure),
                ("value", batch.rows, self.expected_outcome),
            ):
                law = self.rows(site, values, popularity, batch.ids)
                pyro.sample(site, law, obs=rows, infer={"expected": partial(expected, batch)})  # type: ignore[arg-type]

    def rows(self, site: str, values: Values, popularity: Tensor, ids: Tensor) -> IndependentRows:
        """The law of some users' rows of exposure or of outcome, everything known."""
        theta, beta = self.tastes(values, ids)
        if site == "exposure":
            row = self.exposure_level.intercept + self.activity.offsets(values, ids)
            column = self.component("exposure_predictor").offset(popularity)
            return IndependentRows(
                self.spec.exposure_family, *with_offsets(theta, beta, row, column), missing_weight=1.0
            )
        row = self.level.intercept + self.user.offsets(values, ids)
        column = self.item.offsets(values, every(self.item)) + self.component("predictor").offset(popularity)
        left, right = with_offsets(values["taste_effect"] * theta, beta, row, column)
        return IndependentRows(self.component("family"), left, right, missing_weight=0.0)

    def tastes(self, values: Values, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Centred factors of some users (rows, K), factors of every item (items, K)."""
        return self.user_taste.vectors(values, ids), self.item_taste.vectors(values, every(self.item_taste))

    def expected_exposure(self, batch: Batch, laws: Laws, values: Values) -> Tensor:
        """E log p(exposure) of each row at the users' drawn factors, (rows,); everything else integrated.

        Given theta the logarithm of a cell's rate is a sum of independent terms, so that its expected rate is exp of a
        product of factors once wider, [theta, theta^2 / 2] against [E beta, Var beta] (maths 5, 6.4).
        """
        theta, _ = self.tastes(values, batch.ids)
        mean, variance = self.item_taste_moments(laws)
        row, row_variance = self._moments(self.activity, laws, batch.ids)
        row = row + self.exposure_level.intercept
        predictor, popularity = self.component("exposure_predictor"), laws["popularity"]
        location, spread = predictor.matched_moments(popularity)
        rates = with_offsets(
            torch.cat([theta, 0.5 * theta.square()], -1),
            torch.cat([mean, variance], -1),
            row + 0.5 * row_variance,
            location + 0.5 * spread,
        )
        logs = with_offsets(theta, mean, row, predictor.offset_moments(popularity)[0])
        rows = exposed(batch.rows)
        unseen, log_mean = decode_dense(*rates, rows, ExpMass)
        mean_log = decode_stored(*logs, rows)
        seen = self.spec.exposure_family.expected_log_prob(
            rows.value, rows.trials, mean_log, 2 * (log_mean - mean_log).clamp_min(0)
        )
        return rows.sum_by_row(seen) - unseen

    def expected_outcome(self, batch: Batch, laws: Laws, values: Values) -> Tensor:
        """E log p(value) of each row's exposed cells at drawn users' factors and rho, (rows,); popularity integrated.

        Effects, features' weights and the items' factors are integrated as well where the pair allows it, else taken
        as drawn.
        """
        rows, predictor = batch.rows, self.component("predictor")
        family = self.component("family").for_items(rows.column)
        popularity = laws["popularity"]
        whole = integrates_affinity(popularity, predictor, family)
        known = {site: law.mean for site, law in laws.items()} if whole else values
        theta, _ = self.tastes(values, batch.ids)
        _, beta = self.tastes(known, batch.ids)
        row = self.level.intercept + self.user.offsets(known, batch.ids)
        column = self.item.offsets(known, every(self.item))
        mean = decode_stored(*with_offsets(values["taste_effect"] * theta, beta, row, column), rows)
        variance = torch.zeros_like(mean)
        if whole:
            spreads = (
                (values["taste_effect"] * theta).square(),
                self.item_taste_moments(laws)[1],
                self.user.linear_variance(laws, batch.ids),
                self.item.linear_variance(laws, every(self.item)),
            )
            variance = decode_stored(*with_offsets(*spreads), rows)
        cells = expected_log_prob(
            popularity, predictor, family, rows.value, rows.trials, mean, variance, index=rows.column
        )
        return rows.sum_by_row(cells)

    def item_taste_moments(self, laws: Laws) -> tuple[Tensor, Tensor]:
        """Mean and variance of every item's factors, (items, K) each."""
        side = self.item_taste
        means = {site: law.mean for site, law in laws.items()}
        return side.vectors(means, every(side)), side.vector_variance(laws, every(side))

    @staticmethod
    def _moments(side: Inputs, laws: Laws, ids: Tensor) -> tuple[Tensor, Tensor]:
        means = {site: law.mean for site, law in laws.items()}
        return side.offsets(means, ids), side.linear_variance(laws, ids)


def every(side: Inputs) -> Tensor:
    """The number of every row of a side."""
    return torch.arange(side.size, device=side.centre.device)


def exposed(rows: SparseRows) -> SparseRows:
    """What the rows say of exposure: 1 where there is an outcome, nothing where it is masked."""
    seen = (rows.trials > 0).to(rows.value.dtype)
    return replace(rows, value=seen, trials=seen)
