"""How the features of a log's users and items become numbers: learned with a model, and kept with its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pyrorec.data.features import FeatureEncoder
from pyrorec.data.interactions import Interactions


@dataclass(frozen=True)
class FeatureEncoders:
    """The encoder of each side's feature table; None for a side without one.

    What a model learns of features speaks of the columns, means and categories of one encoding, so the encoders of the
    log that it was fitted on read every row it meets later.
    """

    user: FeatureEncoder | None = None
    item: FeatureEncoder | None = None

    @classmethod
    def fit(cls, log: Interactions) -> FeatureEncoders:
        """Learn the encodings of a log's tables. Raises InputError for infinite numbers."""
        return cls(**{side: FeatureEncoder.fit(table) for side, table in tables(log).items()})

    def of(self, side: str) -> FeatureEncoder | None:
        """The encoder of "user" or "item"."""
        return {"user": self.user, "item": self.item}[side]

    def encoded(self, log: Interactions, side: str) -> np.ndarray | None:
        """Features of the log's rows of a side, float32 (rows, columns), zeros for ids that its table lacks.

        None where the side has no encoder or the log no table. Raises InputError as `check` does.
        """
        encoder, table = self.of(side), tables(log).get(side)
        if encoder is None or table is None:
            return None
        return encoder.transform(table, {"user": log.users, "item": log.items}[side]).values

    def check(self, log: Interactions) -> None:
        """Raises InputError for a table of the log that lacks a column of an encoder or holds another kind."""
        for side, table in tables(log).items():
            if (encoder := self.of(side)) is not None:
                encoder.transform(table)

    def to_dict(self) -> dict[str, Any]:
        """The encoders as plain data, ready for JSON."""
        return {side: encoder.to_dict() for side in ("user", "item") if (encoder := self.of(side)) is not None}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> FeatureEncoders:
        """The encoders that `to_dict` wrote; InputError for anything else."""
        return cls(**{side: FeatureEncoder.from_dict(plain[side]) for side in ("user", "item") if side in plain})


def tables(log: Interactions) -> dict[str, pd.DataFrame]:
    """The feature tables that a log has, by side."""
    found = {"user": log.user_features, "item": log.item_features}
    return {side: table for side, table in found.items() if table is not None}
