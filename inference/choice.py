"""The documented rule by which `fit` chooses a model from the values it finds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pyrorec.data import Interactions, Kind, Missing, Unobserved, Zero
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.families import Bernoulli, Family, Gaussian, Outcome, Poisson
from pyrorec.models.predictors import Additive, LogAdditive, Predictor


@dataclass(frozen=True)
class Choice:
    """What a log was taken for: the model, the meaning of a missing cell, and why in one sentence."""

    model: BilateralModel
    missing: Missing
    reason: str


def choose(
    log: Interactions,
    base: BilateralModel | None = None,
    *,
    family: Family | None = None,
    predictor: Predictor | None = None,
    binarise: bool | None = None,
    missing: Missing | None = None,
) -> Choice:
    """Chooses whatever is not given.

    Values 0 and 1 with zeros present are clicks with true negatives (Bernoulli, additive, missing cells
    unobserved: better calibrated than cloglog on held-out impressions, docs/design.md).
    Integers within 1..5 are implicit clicks (binarised, Poisson, missing cells zero). Larger integers are counts
    (Poisson; missing cells zero, or unobserved where the log writes zeros out). Other reals are ratings
    (Gaussian, additive, missing cells unobserved).
    """
    found, default_family, default_binarise = RULES[log.kind]
    if binarise is None:
        binarise = default_binarise and (family is None or family.outcome is not Outcome.RATING)
    if family is None:
        family = default_family if not (binarise and isinstance(default_family, Gaussian)) else Poisson()
    if predictor is None:
        predictor = LogAdditive() if family.log_rate else Additive()
    if missing is None:
        missing = Unobserved() if family.outcome is Outcome.RATING and not binarise else log.missing
    base = base or BilateralModel()
    model = replace(base, family=family, predictor=predictor, binarise=binarise, popularity=None, activity=None)
    return Choice(model, missing, sentence(found, model, missing))


RULES: dict[Kind, tuple[str, Family, bool]] = {
    Kind.CLICKS: ("clicks with true negatives", Bernoulli(), False),
    Kind.IMPLICIT: ("integers within 1..5", Poisson(), True),
    Kind.COUNTS: ("counts", Poisson(), False),
    Kind.RATINGS: ("real-valued ratings", Gaussian(), False),
}


def sentence(found: str, model: BilateralModel, missing: Missing) -> str:
    """What was found and what was chosen, in one line."""
    absent = {Zero: "zeros", Unobserved: "unobserved"}.get(type(missing), f"zeros of weight {missing.weight:g}")
    values = "binarised values" if model.binarise else "values"
    return f"found {found}; model: family {model.family.name}, predictor {model.predictor.name}, {values}, missing cells {absent}"
