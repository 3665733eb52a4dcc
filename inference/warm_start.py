"""A fit that starts from another run: what both know is taken over by id, the rest starts fresh."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from pyrorec.data import InputError, Interactions
from pyrorec.guides import BilateralGuide
from pyrorec.inference.bilateral_fitting import BilateralFitting, other
from pyrorec.inference.run import Run
from pyrorec.inference.train import Fitting
from pyrorec.models.bilateral import Bilateral, BilateralModel

COUNTED = ("parts.item.own", "parts.item.effect.")
"""What the counts of the log say of popularity, where priors come from counts: the new log's are not the old one's."""


@torch.no_grad()
def start_from(fitting: Fitting, log: Interactions, run: Run) -> None:
    """Puts the parameters of `run` in place of the starting values of a fit that has not begun.

    Entries that belong to a user or an item (embeddings of an encoder's columns, kept posteriors) go over by id; of
    those that `run` does not know the starting values stay, as do priors read off the new log's counts. Priors that
    read features read them by the encoders of `run`, which the fitting was built with
    (`factor_features.encoders_for`). Raises InputError where models or encoders are not alike.
    """
    if not (isinstance(fitting, BilateralFitting) and isinstance(run.model, Bilateral)):
        raise InputError("Only a bilateral model starts from another run, and from a run of a bilateral model.")
    check_alike(fitting.model.spec, run.model.spec)
    matches = {
        "user": matched(run.log.users, log.users),
        "item": matched(run.log.items, log.items),
    }
    assert isinstance(run.guide, BilateralGuide)
    family = fitting.model.spec.family
    by_item = {f"parts.family.log_values.{field}": matches["item"] for field in family.learned if family.varies_by_item}
    counted = {name for name in fitting.model.state_dict() if name.startswith(COUNTED)}
    take_over(fitting.model, run.model, by_item, counted if fitting.model.item.own_law is not None else set())
    take_over(fitting.guide, run.guide, tables(fitting.guide, matches), set())


def check_alike(new: BilateralModel, old: BilateralModel) -> None:
    """Refuses models that differ in more than where their learned fields start."""
    for field in dataclasses.fields(BilateralModel):
        ours, theirs = getattr(new, field.name), getattr(old, field.name)
        if field.name in ("family", "predictor", "popularity", "activity"):
            ours, theirs = type(ours).__name__, type(theirs).__name__
        if ours != theirs:
            raise InputError(
                f"The run to start from has {field.name} {theirs}, and this model {ours}: give the model of that run, "
                "or start afresh."
            )


def matched(old: pd.Index, new: pd.Index) -> tuple[Tensor, Tensor]:
    """Positions in the old and in the new index of the ids that both hold."""
    position = old.get_indexer(new)
    return torch.as_tensor(position[position >= 0]), torch.as_tensor((position >= 0).nonzero()[0])


def tables(guide: BilateralGuide, matches: dict[str, tuple[Tensor, Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
    """By name, the tensors of a guide that hold an entry for each user or item, and which entries go where."""
    found = {}
    for side, match in matches.items():
        for name in guide.posterior[side].state_dict():
            found[f"posterior.{side}.{name}"] = match
        if not guide.encoder[side].reads_others:
            found |= {f"encoder.{side}.{name}": matches[other(side)] for name in ("pattern", "value")}
    return found


def take_over(new: Any, old: Any, by_id: dict[str, tuple[Tensor, Tensor]], kept: set[str]) -> None:
    """Copies tensors of the old module into the new one, those of `by_id` entry by entry, but for those `kept`."""
    there, here = old.state_dict(), new.state_dict()
    if strange := sorted(there.keys() ^ here.keys()):
        raise InputError(
            f"Only one of the run to start from and this fit has {strange[0]}: start from a run on values that vary "
            "where these do."
        )
    for name, value in here.items():
        if name in kept:
            continue
        source = there[name].to(value.device)
        if name in by_id and source.shape[1:] == value.shape[1:]:
            old_rows, new_rows = (part.to(value.device) for part in by_id[name])
            value[new_rows] = source[old_rows]
        elif name not in by_id and source.shape == value.shape:
            value.copy_(source)
        else:
            raise InputError(
                f"The run to start from has {name} of shape {tuple(source.shape)}, and this fit of "
                f"{tuple(value.shape)}: start from a run of the same model."
            )
