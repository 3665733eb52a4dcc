"""The popularity model: a latent popularity beside the affinity of user and item, on a log of records."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from pyrorec.models.affinities import Affinity, FactorisationMachine
from pyrorec.models.bilateral import Level, check_scale
from pyrorec.models.component import Learned, Parts
from pyrorec.models.distributions import PopularityDistribution, Prior
from pyrorec.models.expectations import expected_log_prob, integrates_affinity
from pyrorec.models.families import Bernoulli, Family, Outcome
from pyrorec.models.inputs import Inputs, Laws, Values
from pyrorec.models.laws import parameters
from pyrorec.models.learned_parts import LearnedParts
from pyrorec.models.observation import Observation
from pyrorec.models.posterior_families import PosteriorFamily, default_posterior
from pyrorec.models.predictors import Additive, Predictor, UnfitPair
from pyrorec.models.prior_source import LearnedPopulation, PriorSource
from pyrorec.models.sharing import PerItem, PerPeriod, Sharing


@dataclass(frozen=True)
class PopularityModel:
    """What the popularity model is; how it is fitted and on which data stand elsewhere.

    A record is y ~ family(predictor(affinity, popularity)). `popularity` (the population's law) defaults to the
    predictor's own choice, `posterior` (the variational family of q) to the one that fits it. `sharing` is the unit
    that has a popularity of its own, `source` says where its prior comes from. `amortised` popularity is read off the
    records by an encoder in place of free parameters. `affinity_first` fits affinity in the first half of training,
    popularity held where it starts, at its prior, and popularity, affinity held, in the second. `inverse_propensity`
    weights the likelihood by the propensities that the log brings. `binarise` turns values above zero into 1. Where the
    log holds no negatives, `negatives` absent pairs are drawn for each record at every epoch and weighted so that they
    stand for all absent pairs.

    Raises UnfitPair when family, predictor, popularity and posterior do not fit.
    """

    affinity: Affinity = field(default_factory=FactorisationMachine)
    family: Family = field(default_factory=Bernoulli)
    predictor: Predictor = field(default_factory=Additive)
    popularity: PopularityDistribution | None = None
    posterior: PosteriorFamily | None = None
    sharing: Sharing = field(default_factory=PerItem)
    source: PriorSource = field(default_factory=LearnedPopulation)
    amortised: bool = False
    affinity_first: bool = False
    binarise: bool = False
    inverse_propensity: bool = False
    negatives: float = 4.0

    def __post_init__(self) -> None:
        if self.popularity is None:
            object.__setattr__(self, "popularity", self.predictor.default_popularity())
        if self.posterior is None and self.popularity is not None:
            object.__setattr__(self, "posterior", default_posterior(self.popularity))
        self.predictor.check_family(self.family)
        if self.popularity is None and (self.amortised or self.affinity_first or self.source != LearnedPopulation()):
            raise UnfitPair(
                f"predictor {self.predictor.name} takes no popularity, so a prior source, an encoder of it and an "
                "order of fitting have no meaning: leave them out, or use another predictor"
            )
        if self.popularity is None and not isinstance(self.sharing, PerItem):
            raise UnfitPair(f"predictor {self.predictor.name} takes no popularity to share per {self.sharing.name}")
        if self.family.coupled:
            raise UnfitPair(f"family {self.family.name} couples a user's records: take the bilateral model for it")
        if self.affinity.factors < 0 or self.negatives <= 0:
            raise UnfitPair("factors must not be negative, and negatives must be above zero")
        check_scale(self.popularity, self.predictor, "popularity")
        check_scale(self.posterior, self.predictor, "posterior")

    @property
    def factors(self) -> int:
        """Number of factors of the affinity."""
        return self.affinity.factors

    @property
    def response(self) -> Family:
        """The family of what is predicted."""
        return self.family

    @property
    def outcome(self) -> Outcome:
        return self.family.outcome

    @property
    def has_item_effect(self) -> bool:
        """Whether items have a linear term of their own: only where something else anchors popularity (maths 2.3)."""
        return (
            self.popularity is None
            or not isinstance(self.source, LearnedPopulation)
            or isinstance(self.sharing, PerPeriod)
        )


@dataclass(frozen=True)
class RecordBatch:
    """Some records of a log: `ids` (records,) among `size` in all, and what was observed in them.

    `group` (records,) is the place of each record's popularity among `groups`, the numbers of the latents that the
    batch sees of `all_groups`. `weight` multiplies each record's log-likelihood, `kl_weight` every divergence.
    """

    ids: Tensor
    size: int
    user: Tensor
    item: Tensor
    group: Tensor
    groups: Tensor
    all_groups: int
    value: Tensor
    trials: Tensor
    weight: Tensor
    kl_weight: float = 1.0
    side: str = "record"

    def weighing_latents(self) -> AbstractContextManager[Any]:
        """The context in which latent sites count with `kl_weight`."""
        return nullcontext() if self.kl_weight == 1.0 else poutine.scale(scale=self.kl_weight)


class Popularity(LearnedParts):
    """The generative process of `spec`, as a Pyro model of a `RecordBatch`.

    Sites: a block of weights each for what `Inputs` holds of users and items, `popularity` (one per group, in plate
    `groups`) and `value` (the records). `item_prior` is each item's own prior where there is one, else all share the
    population's law. `item_of_group` (groups,) is the item of each. The site `value` carries, as infer["expected"], its
    expected log-likelihood under given posteriors of the latents, for the estimator that does not sample popularity.
    """

    item_of_group: Tensor
    item_prior: Tensor
    item_law: Any

    def __init__(
        self,
        spec: PopularityModel,
        user_features: Tensor,
        item_features: Tensor,
        item_of_group: Tensor,
        item_prior: Prior | None,
        level: float,
    ) -> None:
        super().__init__()
        self.spec, self.groups = spec, len(item_of_group)
        self.parts = Parts(
            {
                "family": Learned(spec.family.for_log(len(item_features))),
                "predictor": Learned(spec.predictor),
                "level": Level(level),
                "user": Inputs("user", user_features, spec.affinity, has_effect=True),
                "item": Inputs("item", item_features, spec.affinity, has_effect=spec.has_item_effect),
            }
        )
        if spec.popularity is not None:
            self.parts["popularity"] = Learned(spec.popularity)
        self.register_buffer("item_of_group", item_of_group)
        self.item_law = None if item_prior is None else type(item_prior.law)
        if item_prior is not None:
            self.register_buffer("item_prior", torch.stack(parameters(item_prior.law)).float())
            self.parts["popularity"].requires_grad_(False)  # the population is what the counts say

    @property
    def user(self) -> Inputs:
        """The users' side."""
        return self.parts["user"]  # type: ignore[return-value]

    @property
    def item(self) -> Inputs:
        """The items' side."""
        return self.parts["item"]  # type: ignore[return-value]

    def popularity_prior(self, groups: Tensor) -> dist.TorchDistribution:
        """The prior of some groups' popularity, batch shape (groups,)."""
        if self.item_law is None:
            return self.population().expand((len(groups),))
        law: dist.TorchDistribution = self.item_law(*self.item_prior[:, self.item_of_group[groups]])
        return law

    def forward(self, batch: RecordBatch) -> None:
        values: Values = {}
        with batch.weighing_latents():
            for side in (self.user, self.item):
                values |= {site: pyro.sample(site, side.prior(site)) for site in side.shapes}
        popularity = torch.zeros_like(batch.value)
        if self.spec.popularity is not None:
            with pyro.plate("groups", batch.all_groups, subsample=batch.groups), batch.weighing_latents():
                popularity = pyro.sample("popularity", self.popularity_prior(batch.groups))[batch.group]
        law = Observation(
            self.component("family").for_items(batch.item),
            self.component("predictor"),
            batch.trials,
            self.affinity(values, batch),
            popularity,
        )
        with pyro.plate("records", batch.size, subsample=batch.ids), poutine.scale(scale=batch.weight):
            expected: Any = {"expected": partial(self.expected, batch)}
            pyro.sample("value", law, obs=batch.value, infer=expected)

    def factor_variances(self) -> tuple[float, float]:
        """Prior variance of each factor of users' and of items' ids, as learned; 1 where there are no factors."""
        sides = ((self.user, "user_factors"), (self.item, "item_factors"))
        user, item = (float(s.log_scale[name].detach().exp()) ** 2 if s.factors else 1.0 for s, name in sides)
        return user, item

    def affinity(self, values: Values, batch: RecordBatch) -> Tensor:
        """b0 + a_ui of each record at given weights, (records,)."""
        return self.level.intercept + self._side_sum(values, batch, batch.user, batch.item)

    def _side_sum(self, values: Values, batch: RecordBatch, user: Tensor, item: Tensor) -> Tensor:
        (users, u), (items, i) = self.user.rows_of(user), self.item.rows_of(item)
        left, right = self.user.vectors(values, users), self.item.vectors(values, items)
        offsets = self.user.offsets(values, users)[u] + self.item.offsets(values, items)[i]
        return offsets + (left[u] * right[i]).sum(-1)

    def expected(self, batch: RecordBatch, laws: Laws, values: Values) -> Tensor:
        """E log p(value) of each record: popularity integrated over its posterior, factors at their drawn values.

        The linear weights are integrated as well where the pair allows it, else taken as drawn. `laws` and `values`
        hold posterior and draw of every latent site.
        """
        family, predictor = self.component("family").for_items(batch.item), self.component("predictor")
        popularity = laws.get("popularity")
        if not integrates_affinity(popularity, predictor, family):
            mean = self.affinity(values, batch)
            variance = torch.zeros_like(mean)
        else:
            linear = {site: laws[site].mean for site in laws if site.endswith(("effect", "weights"))}
            mean = self.affinity(values | linear, batch)
            variance = self.user.linear_variance(laws, batch.user) + self.item.linear_variance(laws, batch.item)
        return expected_log_prob(popularity, predictor, family, batch.value, batch.trials, mean, variance, batch.group)
