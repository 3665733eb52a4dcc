"""The guard against double use: item priors must not meet the clicks they were made of."""

from __future__ import annotations

from pyrorec.data import InputError, Interactions, Unobserved
from pyrorec.inference.empirical_bayes.base import Estimate
from pyrorec.inference.empirical_bayes.source import Uses


class DoubleUse(InputError):
    """Item priors and a likelihood made of the same cells."""


def check_not_fitted_twice(estimate: Estimate, log: Interactions) -> None:
    """Passes where the item priors of `estimate` may serve a fit of `log` (maths 3.7; 1.3, B14).

    They may where no cell of the log was counted, or where cells were counted for being there only and the log's
    absent cells are unobserved, so that its outcomes are values given exposure. The population prior may always serve.
    Raises DoubleUse with the remedies otherwise, and InputError where it is not known what was counted.
    """
    if estimate.source is None:
        raise InputError(
            "It is not known which cells these item priors were made of: build the counts from a log, or say "
            "Counts(..., source=OTHER_DATA) if they stem from other data."
        )
    given_exposure = estimate.uses is Uses.EXPOSURE and isinstance(log.missing, Unobserved)
    shared = 0 if given_exposure else estimate.source.shared_with(log)
    if shared:
        raise DoubleUse(_sentence(shared, len(log)) + _doubt(estimate, log))


def _sentence(shared: int, cells: int) -> str:
    return (
        f"{shared:,} of the log's {cells:,} cells are already in the counts behind these item priors; used twice they "
        "would make popularity look surer than it is (by the root of two where all are). Count an earlier period "
        "(split_by_time gives both parts), or use the population prior only, or exposure_counts with a log whose "
        "missing cells are unobserved."
    )


def _doubt(estimate: Estimate, log: Interactions) -> str:
    """What to say where the same pair at another time cannot be told from the same cell."""
    dated = estimate.source is not None and estimate.source.time is not None and log.timestamp is not None
    return (
        "" if dated else " Without timestamps cells are known by user and item: read them if these are other periods."
    )
