"""Folding rows into a fitted run: the posterior of new and changed rows by the run's own encoders, without training."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from pyrorec.data import InputError, Interactions, merged
from pyrorec.guides import BilateralGuide
from pyrorec.guides.bilateral import empty_posterior
from pyrorec.guides.posterior import SidePosterior
from pyrorec.inference.files import prefixed, without_prefix
from pyrorec.inference.observations import cells, sparse_rows
from pyrorec.inference.posterior import Posterior, read_posterior
from pyrorec.inference.recommend import extended
from pyrorec.inference.run import Run
from pyrorec.inference.store import empty_modules
from pyrorec.inference.train import module_local
from pyrorec.models.bilateral import Bilateral, BilateralModel
from pyrorec.models.laws import mapped
from pyrorec.models.prior_source import EarlierPeriods
from pyrorec.models.rows import SparseRows

logger = logging.getLogger("pyrorec")
Cells = tuple[sparse.csr_array, sparse.csr_array]
"""Value and trials, rows of one side x the other side."""


@torch.no_grad()
def fold_in(run: Run, log: Interactions) -> Run:
    """The run with the cells of a log put in (see `data.merge`): new users, new items and known rows that changed.

    Each such row gets the posterior that the run's encoder reads off its cells with the other side as the run knows
    it, and an integrated effect its conjugate posterior given both sides' factors (maths 2.5). Rows that both sides
    gain at once do not read each other, and an encoder never reads a row folded in before, for which it has no weights:
    such cells are left out, and their number logged. (A later fold-in does count earlier rows in integrated effects.) A
    new row without any other cell is taken from its features or from the population, as any stranger is; where the
    run's prior reads features, that is the prior. Known rows are read anew only where a cell that the run could have
    known has changed, and keep the features they have; nothing else moves, so folding in one user after the other gives
    the same as all at once.

    Nothing is trained, and features are encoded as they were in training. The new run answers every question that a run
    does, and its log holds the new cells and feature rows. Raises InputError for models other than the bilateral one,
    for values that the family cannot have produced, for a feature table that lacks a column of the run's, and where the
    items' priors were counted in an earlier part of the log.
    """
    if not isinstance(run.spec, BilateralModel):
        raise InputError(
            "Only runs of the bilateral model have encoders that read new rows: fit the others again on "
            "the whole log (pyrorec fit)."
        )
    run.feature_encoders.check(log)
    if isinstance(run.spec.source, EarlierPeriods):
        raise InputError(
            "New cells would move the line between the periods that were counted and those that were fitted: fit again "
            "on the whole log (pyrorec fit)."
        )
    together = merged(run.log, log)
    now = cells(together, run.spec)
    changed = changed_rows(cells(run.log, run.spec), now)
    with module_local():
        model, guide = grown(run, together)
        sides = {
            "user": (now, len(run.log.users), len(run.log.items), changed[0]),
            "item": ((now[0].T.tocsr(), now[1].T.tocsr()), len(run.log.items), len(run.log.users), changed[1]),
        }
        strangers = {side: fold_side(run, guide, side, *parts) for side, parts in sides.items()}
        put_strangers(run, together, model, guide, strangers)
        posterior = read_posterior(model, guide, together.users, together.items)
    old = run.posterior
    posterior = replace(posterior, level_shift=old.level_shift, recalibration=old.recalibration)
    return replace(run, log=together, model=model, guide=guide, posterior=posterior)


def changed_rows(before: Cells, now: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the known users and of the known items with a cell between the two that changed."""
    users, items = before[0].shape
    user, item = zip(
        *((new[:users, :items] - old).nonzero() for old, new in zip(before, now, strict=True)), strict=True
    )
    return np.unique(np.concatenate(user)), np.unique(np.concatenate(item))


def grown(run: Run, together: Interactions) -> tuple[Bilateral, BilateralGuide]:
    """The run's model and guide with room for every id of a longer log: tables gain rows of zeros at the end."""
    weights = prefixed("model", run.model.state_dict()) | prefixed("guide", run.guide.state_dict())
    model, guide = empty_modules(run.spec, run.training, together, run.feature_encoders, weights)
    for name, module in (("model", model), ("guide", guide)):
        known = without_prefix(name, weights)
        module.load_state_dict({key: padded(key, known[key], like) for key, like in module.state_dict().items()})
    return model, guide


def padded(name: str, known: Tensor, like: Tensor) -> Tensor:
    """A tensor with rows behind its own, as many as `like` has more: of zeros, for a family's fields by item, which
    are logarithms, of their mean, for items' own priors of the last, which is the population's."""
    if known.shape == like.shape:
        return known
    fill = known.new_zeros(known.shape[1:])
    if name.startswith("parts.family."):
        fill = known.mean(0)
    elif name == "parts.item.own":
        fill = known[-1]
    return torch.cat([known, fill.expand(len(like) - len(known), *known.shape[1:])])


def fold_side(
    run: Run, guide: BilateralGuide, side: str, now: Cells, known: int, columns: int, changed: np.ndarray
) -> np.ndarray:
    """Reads the new and the changed rows of a side into the grown guide; returns the codes of the new ones left unread.

    `known` of the rows and `columns` of the columns are the run's own.
    """
    codes = np.concatenate([changed, np.arange(known, now[0].shape[0])])
    value, trials = (part[codes] for part in now)
    rows = sparse_rows(value[:, :columns], trials[:, :columns])
    legible = run.guide.encoder[side].legible(rows)  # type: ignore[operator]
    told = legible.records > 0
    report(side, codes, known, int(np.sum(trials.data > 0)) - int(legible.records.sum()))
    read = torch.as_tensor(codes)[told]
    found = run.guide.read(run.model, side, take(rows, told), read)  # type: ignore[arg-type]
    put(guide.posterior[side], read, found)  # type: ignore[arg-type]
    return codes[~told.numpy() & (codes >= known)]


def take(rows: SparseRows, chosen: Tensor) -> SparseRows:
    """The rows that a truth value a row chooses."""
    return rows.take(torch.nonzero(chosen).squeeze(1))


def put(kept: SidePosterior, codes: Tensor, found: SidePosterior) -> None:
    """Keeps a posterior of some rows at their places."""
    for mine, other in zip(kept.buffers(), found.buffers(), strict=True):
        mine[codes] = other


def put_strangers(
    run: Run, together: Interactions, model: Bilateral, guide: BilateralGuide, strangers: dict[str, np.ndarray]
) -> None:
    """Gives rows that no encoder could read what `cold.extend` gives any stranger."""
    ids = together.users[strangers["user"]], together.items[strangers["item"]]
    posterior = extended(replace(run, log=together), *ids)
    for side in ("user", "item"):
        codes = torch.as_tensor(strangers[side])
        put(guide.posterior[side], codes, tail(posterior, model, side, len(codes)))  # type: ignore[arg-type]


def tail(posterior: Posterior, model: Bilateral, side: str, number: int) -> SidePosterior:
    """The last rows of a side, as a guide keeps them: not centred."""
    of, _ = model.sides(side)
    mean, sd = getattr(posterior, f"{side}_mean"), getattr(posterior, f"{side}_sd")
    first = len(mean) - number
    found = empty_posterior(of, number).to(mean)
    found.mean.copy_(mean[first:] + of.centre)
    found.sd.copy_(sd[first:])
    law = mapped(getattr(posterior, f"{side}_effect").law, lambda parameter: parameter[first:])
    if law is not None:
        found.set_effect(law)
    return found


def report(side: str, codes: np.ndarray, known: int, left_out: int) -> None:
    """Says how many rows were read and how many of their cells were not."""
    new = int(np.sum(codes >= known))
    if len(codes):
        logger.info("%s new %ss and %s changed ones folded in.", f"{new:,}", side, f"{len(codes) - new:,}")
    if left_out:
        logger.info(
            "%s cells of these %ss are with rows that the encoder was not trained with: they are seen, and not read.",
            f"{left_out:,}", side,
        )  # fmt: skip
