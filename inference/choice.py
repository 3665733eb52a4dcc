"""The documented rule by which `fit` chooses a model from the values it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from pyrorec.data import Interactions, Kind, Missing, Unobserved, Zero
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.distributions import PopularityDistribution, Scale
from pyrorec.models.families import Bernoulli, Cloglog, Family, Gaussian, Ordinal, Poisson
from pyrorec.models.joint import JointModel
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.posterior_families import PosteriorFamily
from pyrorec.models.predictors import Additive, LogAdditive, Offset, Predictor, UnfitPair
from pyrorec.models.prior_source import ExposureCounts, LearnedPopulation, PriorSource


@dataclass(frozen=True)
class Choice:
    """What a log was taken for: the model, the meaning of a missing cell, and why in one sentence."""

    model: BilateralModel | PopularityModel | JointModel
    missing: Missing
    reason: str


def choose(
    log: Interactions,
    base: BilateralModel | None = None,
    *,
    family: Family | None = None,
    predictor: Predictor | None = None,
    popularity: PopularityDistribution | None = None,
    activity: PopularityDistribution | None = None,
    binarise: bool | None = None,
    missing: Missing | None = None,
    **rest: Any,
) -> Choice:
    """Chooses whatever is not given; what is in `rest` goes in as given, and the rest of the model is that of `base`.

    Values 0 and 1 with zeros present are clicks with true negatives (Bernoulli, additive, missing cells
    unobserved: better calibrated than cloglog on held-out impressions, docs/design.md).
    Integers within 1..5 are implicit clicks (binarised, Poisson, missing cells zero). Larger integers are counts
    (Poisson; missing cells zero, or unobserved where the log writes zeros out). Other reals are ratings
    (Gaussian, additive, missing cells unobserved). What is given moves the rest to what fits it: a popularity
    its predictor, a predictor its family. Raises UnfitPair where what is given does not go together.
    """
    seen = observed(log, family, predictor, popularity, binarise, missing, default_family_for)
    model = replace(
        base or BilateralModel(),
        family=seen.family,
        predictor=seen.predictor,
        popularity=popularity,
        activity=users_law(seen.predictor, popularity, activity),
        binarise=seen.binarise,
        **rest,
    )
    return Choice(model, seen.missing, sentence(seen.found, model, seen.missing))


def choose_popularity(
    log: Interactions,
    base: PopularityModel | None = None,
    *,
    family: Family | None = None,
    predictor: Predictor | None = None,
    popularity: PopularityDistribution | None = None,
    posterior: PosteriorFamily | None = None,
    source: PriorSource | None = None,
    binarise: bool | None = None,
    missing: Missing | None = None,
    **rest: Any,
) -> Choice:
    """As `choose`, for the popularity model: affinity, sharing and whatever else is in `rest` go in as given.

    Clicks are Bernoulli and additive, counts Poisson and log-additive, ratings Gaussian and additive. Where absent
    cells are unobserved and popularity is on the log scale, its prior comes from the exposure counts; else it is
    learned.
    """
    seen = observed(log, family, predictor, popularity, binarise, missing, default_record_family_for)
    if source is None:
        given_exposure = not seen.missing.weight and seen.predictor.scale is Scale.LOG
        source = ExposureCounts() if given_exposure else LearnedPopulation()
    model = replace(
        base or PopularityModel(), family=seen.family, predictor=seen.predictor, popularity=popularity,
        posterior=posterior, source=source, binarise=seen.binarise, **rest,
    )  # fmt: skip
    return Choice(model, seen.missing, sentence(seen.found, model, seen.missing) + f", prior {source.name}")


def choose_joint(
    log: Interactions,
    base: JointModel | None = None,
    *,
    family: Family | None = None,
    predictor: Predictor | None = None,
    popularity: PopularityDistribution | None = None,
    posterior: PosteriorFamily | None = None,
    binarise: bool | None = None,
    missing: Missing | None = None,
    **rest: Any,
) -> Choice:
    """As `choose_popularity`, for the joint model.

    Outcomes in whole numbers of 1..5 are ratings here, since a log of clicks alone says nothing of an outcome. Absent
    cells were not exposed, so that their outcome is unobserved.
    """
    binarise = bool(binarise)
    family = family or outcome_family(log.kind, predictor, binarise)
    seen = observed(log, family, predictor, popularity, binarise, missing or Unobserved(), default_record_family_for)
    model = replace(
        base or JointModel(), family=seen.family, predictor=cast(Offset, seen.predictor), popularity=popularity,
        posterior=posterior, binarise=seen.binarise, **rest,
    )  # fmt: skip
    return Choice(model, seen.missing, sentence(seen.found, model, seen.missing) + ", that is not exposed")


class Observed(NamedTuple):
    """What is taken of a log for either kind of model: what it looks like, and how one cell of it comes about."""

    found: str
    family: Family
    predictor: Predictor
    binarise: bool
    missing: Missing


def observed(
    log: Interactions,
    family: Family | None,
    predictor: Predictor | None,
    popularity: PopularityDistribution | None,
    binarise: bool | None,
    missing: Missing | None,
    default_family: Callable[[Family, Predictor | None, bool], Family],
) -> Observed:
    """What is given, with the rest made to fit it and the log's values.

    `default_family` gives the family from the one that the values suggest, the predictor and whether they are
    binarised.
    """
    found, suggested, default_binarise = RULES[log.kind]
    if predictor is None and popularity is not None:
        predictor = LogAdditive() if popularity.scale is Scale.RATE else Additive()
    if binarise is None:
        binarise = default_binarise and (family is None or family.binarisable)
    if family is None:
        family = default_family(suggested, predictor, binarise)
    if predictor is None:
        predictor = LogAdditive() if family.log_rate else Additive()
    return Observed(found, family, predictor, binarise, missing or default_missing_for(log, family, binarise))


def users_law(
    predictor: Predictor, popularity: PopularityDistribution | None, activity: PopularityDistribution | None
) -> PopularityDistribution | None:
    """The law of activity, as given, else that of popularity; a product's activity is none that popularity could have
    and is left to the model where one law is named for both."""
    if isinstance(predictor, Offset):
        return activity or popularity
    return None if activity == popularity else activity


def clicks_for(predictor: Predictor | None) -> Family:
    """The family of clicks that a predictor feeds."""
    return Cloglog() if isinstance(predictor, Offset) and predictor.needs_log_rate else Bernoulli()


def default_family_for(suggested: Family, predictor: Predictor | None, binarise: bool) -> Family:
    """The family that the values suggest, or its sibling that the predictor and binarised values can go with."""
    if binarise and isinstance(suggested, Gaussian):
        suggested = Poisson()
    of_clicks = isinstance(suggested, Bernoulli) or (binarise and not feeds(predictor, suggested))
    return clicks_for(predictor) if of_clicks else suggested


def feeds(predictor: Predictor | None, family: Family) -> bool:
    """Whether a predictor, if one is given, goes with a family."""
    try:
        return predictor is None or predictor.check_family(family) is None
    except UnfitPair:
        return False


def default_record_family_for(suggested: Family, predictor: Predictor | None, binarise: bool) -> Family:
    """The same for single records, whose binarised values are clicks and not counts."""
    return clicks_for(predictor) if binarise or isinstance(suggested, Bernoulli) else suggested


def outcome_family(kind: Kind, predictor: Predictor | None, binarise: bool) -> Family:
    """The family of outcomes given exposure: clicks, ratings in whole steps, ratings, or counts."""
    if binarise or kind is Kind.CLICKS:
        return clicks_for(predictor)
    return {Kind.IMPLICIT: Ordinal(), Kind.RATINGS: Gaussian()}.get(kind, Poisson())


def default_missing_for(log: Interactions, family: Family, binarise: bool) -> Missing:
    """What the log says of an absent cell; ratings say nothing of it, and clicks without zeros must have some."""
    if binarise and bool((log.value > 0).all()):
        return log.missing if log.missing.weight else Zero()
    if family.outcome.graded or family.absent_refusal(log.missing.weight) is not None:
        return Unobserved()
    return log.missing


RULES: dict[Kind, tuple[str, Family, bool]] = {
    Kind.CLICKS: ("clicks with true negatives", Bernoulli(), False),
    Kind.IMPLICIT: ("implicit clicks (whole numbers in 1..5)", Poisson(), True),
    Kind.COUNTS: ("counts", Poisson(), False),
    Kind.RATINGS: ("ratings (real values)", Gaussian(), False),
}


def sentence(found: str, model: BilateralModel | PopularityModel | JointModel, missing: Missing) -> str:
    """What was found and what was chosen, in one line."""
    absent = {Zero: "zeros", Unobserved: "unobserved"}.get(type(missing), f"zeros of weight {missing.weight:g}")
    values = "binarised values" if model.binarise else "values"
    chosen = f"family {model.family.name}, predictor {model.predictor.name}"
    return f"found {found}; model: {chosen}, {values}, missing cells {absent}"
