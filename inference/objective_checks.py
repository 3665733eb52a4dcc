"""What a model can be trained on and by which objectives, checked before anything is built."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from pyrorec.data import InputError, Interactions
from pyrorec.guides.covariances import Diagonal
from pyrorec.inference.objective import MAP, Analytic, Expected, Integrated, JaakkolaJordan, ScoreFunction, StoredSample
from pyrorec.inference.settings import Training
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.families.jaakkola_jordan import LOGIT
from pyrorec.models.joint import JointModel
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.posterior_families import InverseGaussianPosterior, LogNormalPosterior, NormalPosterior
from pyrorec.models.predictors import Offset
from pyrorec.models.rows.expected import EXPECTED_MASS

BILATERAL = Integrated | JaakkolaJordan | StoredSample
"""Objectives of the bilateral model alone."""

NORMAL_OFFSET = NormalPosterior | LogNormalPosterior
"""Posteriors under which the offset that popularity adds is normal."""


def check_items(model: BilateralModel | PopularityModel | JointModel, log: Interactions) -> None:
    """Raises InputError where the family was given fields by item, of other items than the log's."""
    if (reason := model.family.items_refusal(log.n_items)) is not None:
        raise InputError(reason)


@singledispatch
def check_objective(model: Any, log: Interactions, training: Training) -> None:
    """Raises InputError for an objective that this model, on this log, has no use or no formula for.

    The same for a family whose fields by item are not of the log's items.
    """


@check_objective.register
def _(model: PopularityModel, log: Interactions, training: Training) -> None:
    check_items(model, log)
    if isinstance(training.objective, BILATERAL):
        raise InputError(
            "Objectives integrated, jaakkola-jordan and stored-sample are for the bilateral model; take expected."
        )
    check_draws(model, training)


@check_objective.register
def _(model: JointModel, log: Interactions, training: Training) -> None:
    check_items(model, log)
    if isinstance(training.objective, BILATERAL | MAP | ScoreFunction):
        raise InputError("The joint model is trained by objective expected, analytic or monte-carlo.")
    if training.schedule != Training().schedule:
        raise InputError("The joint model trains both sides at once, so a schedule has no meaning: leave it out.")
    check_draws(model, training)


@check_objective.register
def _(model: BilateralModel, log: Interactions, training: Training) -> None:
    check_items(model, log)
    if isinstance(training.objective, Expected | ScoreFunction):
        raise InputError(
            "Objectives expected and score-function are for the popularity model (--model popularity); the bilateral "
            "one is trained by analytic, integrated, jaakkola-jordan, monte-carlo or map."
        )
    if isinstance(training.objective, StoredSample) and training.schedule.live:
        raise InputError(
            "Objective stored-sample keeps the other side still, which schedule joint moves: take analytic, or another "
            "schedule."
        )
    if isinstance(training.objective, Integrated):
        if (reason := model.family.absent_refusal(log.missing.weight)) is not None:
            raise InputError(reason)
        check_integrable(model, log.missing.weight, training.schedule.live)
    if isinstance(training.objective, JaakkolaJordan):
        check_boundable(model)
    check_draws(model, training)


def check_draws(model: PopularityModel | JointModel | BilateralModel, training: Training) -> None:
    """Raises InputError where the analytic ELBO would draw a popularity whose draws carry no gradient."""
    draws = isinstance(training.objective, Analytic | StoredSample)
    if draws and isinstance(model.posterior, InverseGaussianPosterior):
        raise InputError(
            "Draws of an inverse Gaussian carry no gradient, which objective analytic needs: use another posterior, or "
            "objective expected (the popularity model's)."
        )


def check_integrable(model: BilateralModel, missing_weight: float, live: bool) -> None:
    """Raises InputError where the other side cannot be integrated out of a row."""
    effects = ((model.popularity, model.predictor), (model.activity, model.activity_predictor))
    if any(model.integrates(effect, predictor) for effect, predictor in effects):
        raise InputError(
            f"Predictor {model.predictor.name} integrates a row's own frailty out, and the other side cannot be "
            "integrated beside it: take objective analytic, or predictor plain or additive."
        )
    normal = all(isinstance(model.posterior_of(*effect), NORMAL_OFFSET | None) for effect in effects)
    if not (normal and isinstance(model.predictor, Offset)):
        raise InputError(
            f"Popularity under predictor {model.predictor.name} adds no normal offset with this posterior, so the "
            "other side cannot be integrated: take objective analytic, posterior lognormal, or predictor additive."
        )
    if model.family.coupled or model.family.varies_by_item:
        raise InputError(
            f"Family {model.family.name} has no closed form with the other side integrated: take objective analytic."
        )
    if missing_weight and model.family.mass not in EXPECTED_MASS:
        raise InputError(
            f"Under family {model.family.name} the other side cannot be integrated out of missing cells that count as "
            f"zeros: take objective {'jaakkola-jordan or ' if isinstance(model.family, LOGIT) else ''}analytic, family "
            "poisson or gaussian, or missing unobserved."
        )
    if live and not isinstance(model.covariance, Diagonal | None):
        raise InputError(
            "A side with correlated factors cannot be integrated while it is trained: take objective analytic."
        )


def check_boundable(model: BilateralModel) -> None:
    """Raises InputError where the Jaakkola-Jordan bound does not apply to the rows."""
    if not isinstance(model.family, LOGIT):
        raise InputError(
            f"Objective jaakkola-jordan bounds clicks under a logit, and family {model.family.name} is none: take "
            "family bernoulli or binomial, or objective analytic."
        )
    if not isinstance(model.predictor, Offset):
        raise InputError(
            f"Objective jaakkola-jordan bounds a sum of logits, and predictor {model.predictor.name} multiplies: take "
            "predictor additive, odds or plain, or objective analytic."
        )
    if not isinstance(model.covariance, Diagonal | None):
        raise InputError(
            "Objective jaakkola-jordan takes factors of a row for independent: take covariance diagonal, or objective "
            "analytic."
        )
