"""Interaction logs: reading, splitting, batching, features, and where to find public ones."""

from __future__ import annotations

from pyrorec.data.batches import epoch_batches
from pyrorec.data.build import Rules, build_interactions, default_missing
from pyrorec.data.catalogue import DataSet, catalogue
from pyrorec.data.duplicates import Apart, Duplicates, Last, Sum, Trials, choose_rule
from pyrorec.data.embedded import embedded_log, embedded_truth
from pyrorec.data.entries import Entries
from pyrorec.data.errors import InputError
from pyrorec.data.feature_encoders import FeatureEncoders
from pyrorec.data.features import FeatureEncoder, FeatureMatrix, encode_features
from pyrorec.data.interactions import Entry, Interactions
from pyrorec.data.kind import Kind
from pyrorec.data.merge import merged
from pyrorec.data.missing import Missing, Unobserved, Weighted, Zero
from pyrorec.data.readers import Columns, read_features, read_interactions
from pyrorec.data.splits import (
    hold_out,
    hold_out_users,
    split,
    split_by_exposure,
    split_by_time,
    split_leave_last_out,
    split_random,
)

__all__ = [
    "Apart",
    "Columns",
    "DataSet",
    "Duplicates",
    "Entries",
    "Entry",
    "FeatureEncoder",
    "FeatureEncoders",
    "FeatureMatrix",
    "InputError",
    "Interactions",
    "Kind",
    "Last",
    "Missing",
    "Rules",
    "Sum",
    "Trials",
    "Unobserved",
    "Weighted",
    "Zero",
    "build_interactions",
    "catalogue",
    "choose_rule",
    "default_missing",
    "embedded_log",
    "embedded_truth",
    "encode_features",
    "epoch_batches",
    "hold_out",
    "hold_out_users",
    "merged",
    "read_features",
    "read_interactions",
    "split",
    "split_by_exposure",
    "split_by_time",
    "split_leave_last_out",
    "split_random",
]
