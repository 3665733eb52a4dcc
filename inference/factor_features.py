"""Features that priors of the factors read, and those of rows that a log does not hold, by a run's own encoders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrorec.data import FeatureEncoders, InputError, Interactions
from pyrorec.data.feature_encoders import tables
from pyrorec.inference.cold import SideFeatures
from pyrorec.inference.run import Run
from pyrorec.models.bilateral import Bilateral, BilateralModel


def sides_read(spec: Any) -> list[str]:
    """The sides whose factors have a prior that reads features."""
    if not isinstance(spec, BilateralModel):
        return []
    priors = {"user": spec.user_prior, "item": spec.item_prior}
    return [side for side, prior in priors.items() if prior.reads_features]


def encoders_for(spec: Any, log: Interactions, begun: Run | None) -> FeatureEncoders:
    """The encoders of a fit: fitted to its log, but those of the run it begins from for what that run's priors read."""
    fitted = FeatureEncoders.fit(log)
    if begun is None:
        return fitted
    known = {side: begun.feature_encoders.of(side) for side in sides_read(spec) if side in sides_read(begun.spec)}
    return replace(fitted, **known)


def factor_features(spec: BilateralModel, log: Interactions, encoders: FeatureEncoders) -> dict[str, Tensor]:
    """By side, float32 (rows, columns): the encoded features of the log's rows, where the prior reads them.

    Raises InputError where a prior reads features and the log has none.
    """
    return {side: encoded(side, encoders.encoded(log, side)) for side in sides_read(spec)}


def encoded(side: str, features: np.ndarray | None) -> Tensor:
    """The features that the prior of a side reads."""
    if features is None or not features.shape[1]:
        raise InputError(
            f"The prior of the {side}s' factors reads {side} features and the log has none that vary: give "
            f"--{side}-features, or take prior standard."
        )
    return torch.as_tensor(features)


def strangers_features(run: Run, side: str) -> SideFeatures | None:
    """What is known of a side's rows beyond the log, and the law that the run's prior reads off it, if it does."""
    features = SideFeatures.of(tables(run.log).get(side), run.feature_encoders.of(side))
    if features is None or side not in sides_read(run.spec):
        return features
    assert isinstance(run.model, Bilateral)
    return features.with_law(run.model.sides(side)[0].stranger)
