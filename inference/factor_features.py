"""Features that priors of the factors read: encoded once for a fit, and again for rows that its log does not hold."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrorec.data import InputError, Interactions
from pyrorec.inference.cold import SideFeatures
from pyrorec.models.bilateral import Bilateral, BilateralModel
from pyrorec.models.factor_priors import FactorPrior
from pyrorec.models.side import Side


def factor_features(spec: BilateralModel, log: Interactions) -> dict[str, Tensor]:
    """By side, (rows, columns): the encoded features of the log's rows, where the prior reads them.

    Raises InputError where a prior reads features and the log has none.
    """
    sides: dict[str, tuple[FactorPrior, Any, Any]] = {
        "user": (spec.user_prior, log.user_features, log.users),
        "item": (spec.item_prior, log.item_features, log.items),
    }
    return {side: encoded(side, table, ids) for side, (prior, table, ids) in sides.items() if prior.reads_features}


def encoded(side: str, table: Any, ids: Any) -> Tensor:
    """Features of some rows as float32 (rows, columns)."""
    features = SideFeatures.of(table)
    if features is None or not features.encoder.names:
        raise InputError(
            f"The prior of the {side}s' factors reads {side} features and the log has none that vary: give "
            f"--{side}-features, or take prior standard."
        )
    return torch.as_tensor(features.rows(ids)).float()


def strangers_features(model: Any, side: str, table: Any) -> SideFeatures | None:
    """What is known of a side's rows beyond the log, and the law that the run's prior reads off it, if it does."""
    features = SideFeatures.of(table)
    if features is None or not isinstance(model, Bilateral):
        return features
    own: Side = {"user": model.user, "item": model.item}[side]
    return features.with_law(own.stranger) if own.prior_reads_features else features
