"""The posterior of a fitted joint model, in the form in which every question is asked."""

from __future__ import annotations

import pandas as pd
import torch

from pyrorec.guides.joint import JointGuide
from pyrorec.inference.popularity_posterior import joined, ones, rows_of, zeros
from pyrorec.inference.posterior import Effect, Posterior
from pyrorec.models.joint import ExposureOutcome
from pyrorec.models.laws import mapped, single
from pyrorec.models.predictors import Plain


@torch.no_grad()
def read_joint_posterior(model: ExposureOutcome, guide: JointGuide, users: pd.Index, items: pd.Index) -> Posterior:
    """The posterior of the outcome given exposure.

    A user's row is (rho taste, offset, 1), an item's (taste, 1, offset), so that the linear predictor is one product.
    Covariance between taste, offsets and popularity is left out, as in the guide.
    """
    laws = {site: single(law) for site, law in guide.laws().items()}
    user, item = rows_of(model.user, laws), rows_of(model.item, laws)
    theta, beta = rows_of(model.user_taste, laws), rows_of(model.item_taste, laws)
    rho = laws["taste_effect"]
    spread = (rho.mean**2 * theta.vectors_sd**2 + rho.variance * (theta.vectors_sd**2 + theta.vectors**2)).sqrt()
    return Posterior(
        users=users,
        items=items,
        user_mean=joined(rho.mean * theta.vectors, user.offsets, ones(user)),
        user_sd=joined(spread, user.offsets_sd, zeros(user)),
        item_mean=joined(beta.vectors, ones(item), item.offsets),
        item_sd=joined(beta.vectors_sd, zeros(item), item.offsets_sd),
        intercept=model.level.intercept.detach().clone(),
        user_effect=Effect(None, None, Plain()),
        item_effect=popularity_effect(model, guide, "predictor"),
        response=model.learned("family").fixed(),
    )


@torch.no_grad()
def read_exposure_posterior(model: ExposureOutcome, guide: JointGuide, users: pd.Index, items: pd.Index) -> Posterior:
    """The posterior of exposure, in the same form: a user's offset is activity, and items have popularity alone."""
    laws = {site: single(law) for site, law in guide.laws().items()}
    activity = rows_of(model.activity, laws)
    theta, beta = rows_of(model.user_taste, laws), rows_of(model.item_taste, laws)
    return Posterior(
        users=users,
        items=items,
        user_mean=joined(theta.vectors, activity.offsets),
        user_sd=joined(theta.vectors_sd, activity.offsets_sd),
        item_mean=joined(beta.vectors, ones(beta)),
        item_sd=joined(beta.vectors_sd, zeros(beta)),
        intercept=model.exposure_level.intercept.detach().clone(),
        user_effect=Effect(None, None, Plain()),
        item_effect=popularity_effect(model, guide, "exposure_predictor"),
        response=model.spec.exposure_family,
    )


def popularity_effect(model: ExposureOutcome, guide: JointGuide, predictor: str) -> Effect:
    """Popularity of every item, as one of the two predictors takes it."""
    population = model.learned("popularity").fixed().population(like=model.level.intercept)
    return Effect(mapped(guide.popularity_law(model), torch.clone), population, model.learned(predictor).fixed())
