"""From a log to what the two sides of a model observe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from pyrorec.data import Entry, InputError, Interactions
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.joint import JointModel
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.rows import SparseRows

Rows = dict[str, SparseRows]
Spec = BilateralModel | PopularityModel | JointModel


@dataclass(frozen=True)
class Observations:
    """Rows of both sides: what the likelihood sees in training, and what the encoders may see after it.

    `fitting` masks the validation cells (zero trials), `all` does not. `validation` are the masked cells of
    the log, None where nothing is held out.
    """

    fitting: Rows
    all: Rows
    validation: Interactions | None


def observe(log: Interactions, spec: Spec, held_out: np.ndarray | None) -> Observations:
    """The rows of a checked log; `held_out` are the numbers of the validation cells among its cells."""
    value, trials = cells(log, spec)
    everything = both_sides(value, trials)
    if held_out is None or not len(held_out):
        return Observations(everything, everything, None)
    masked = sparse.csr_array((np.ones(len(held_out), bool), (log.user[held_out], log.item[held_out])), shape=log.shape)
    return Observations(mask(everything, masked), everything, log.select(held_out))


def cells(log: Interactions, spec: Spec) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Value and trials of every observed pair, users x items, on one pattern with zeros kept.

    Raises InputError when the values are not of the family's kind.
    """
    check_values(log, spec)
    seen = log.binarised() if spec.binarise else log
    value, trials = seen.matrix(Entry.VALUE), seen.matrix(Entry.TRIALS)
    value.sort_indices()
    trials.sort_indices()
    return value, trials


def check_values(log: Interactions, spec: Spec) -> None:
    """Refuses values and absent cells that the family cannot describe, or from which nothing can be learnt."""
    log = log.binarised() if spec.binarise else log
    if not log.missing.weight and bool((log.value == log.trials).all()):
        raise InputError(
            "Every observed value is 1 and missing cells are unobserved, so nothing tells clicks from the rest: keep "
            "the impressions without click in the log, or (but for the joint model) use --missing zero."
        )
    tried = log.trials > 0
    value, trials = (torch.as_tensor(cells[tried], dtype=torch.float64) for cells in (log.value, log.trials))
    reasons = (spec.family.refusal(value, trials), spec.family.absent_refusal(log.missing.weight))
    if (reason := next((given for given in reasons if given is not None), None)) is not None:
        raise InputError(reason)


def both_sides(value: sparse.csr_array, trials: sparse.csr_array) -> Rows:
    """User rows and item rows of the same cells."""
    return {"user": sparse_rows(value, trials), "item": sparse_rows(value.T.tocsr(), trials.T.tocsr())}


def sparse_rows(value: sparse.csr_array, trials: sparse.csr_array) -> SparseRows:
    """The rows of two arrays of one pattern, as tensors."""
    value.sort_indices()
    trials.sort_indices()
    return SparseRows(
        torch.as_tensor(value.indptr.astype(np.int64)),
        torch.as_tensor(value.indices.astype(np.int64)),
        torch.as_tensor(value.data.astype(np.float32)),
        torch.as_tensor(trials.data.astype(np.float32)),
        value.shape[1],
    )


def mask(rows: Rows, cells: sparse.csr_array) -> Rows:
    """The same rows with some pairs masked: stored, with no trials."""
    return {"user": _masked(rows["user"], cells), "item": _masked(rows["item"], cells.T.tocsr())}


def _masked(rows: SparseRows, cells: sparse.csr_array) -> SparseRows:
    coordinates = cells.tocoo()
    flat = torch.as_tensor(coordinates.row.astype(np.int64) * rows.columns + coordinates.col)
    keep = (~torch.isin(rows.flat, flat)).to(rows.value.dtype)
    return SparseRows(rows.start, rows.column, rows.value * keep, rows.trials * keep, rows.columns)


def level(rows: SparseRows, missing_weight: float) -> float:
    """Mean value of a cell: over all cells where missing ones are zeros, else over the observed trials."""
    cells = missing_weight * (len(rows) * rows.columns - float((rows.trials > 0).sum()))
    return float(rows.value.sum()) / max(1e-12, float(rows.trials.sum()) + cells)


def observed(rows: SparseRows) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and trials of the cells that are neither absent nor masked, (cells,) each."""
    seen = rows.trials > 0
    return rows.value[seen], rows.trials[seen]
