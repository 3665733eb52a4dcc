"""What a candidate is judged by on a validation part of train: one number, higher is better, with its error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pyrorec.data import InputError, Interactions
from pyrorec.inference.density import DRAWS
from pyrorec.inference.judged_cells import by_row, judged
from pyrorec.inference.per_user import ndcg_by_user, standard_error
from pyrorec.inference.run import Run


class Score(NamedTuple):
    """A validation score and its standard error, users the unit."""

    mean: float
    se: float


class Metric(ABC):
    """A measure of a run on cells that its training did not see."""

    name: str
    compares_outcomes: bool
    """Whether only runs that predict the same event can be compared by it."""

    @abstractmethod
    def score(self, run: Run, validation: Interactions) -> Score:
        """The run's score on the validation part."""

    def check(self, log: Interactions) -> None:
        """Refuses a log that this metric cannot be computed on."""
        return


@dataclass(frozen=True)
class LogLikelihood(Metric):
    """Mean log predictive density of a validation cell, of rows given their total where they are one draw (see
    `compare`).

    With `inverse_propensity` each cell counts in proportion to 1 / propensity, so that the score is that of cells shown
    at random though the log's are self-selected (maths 2.6); it needs true negatives and propensities in the log.
    """

    inverse_propensity: bool = False
    name = "log-likelihood"
    compares_outcomes = True

    def check(self, log: Interactions) -> None:
        if self.inverse_propensity and log.propensity is None:
            raise InputError("Inverse-propensity validation needs a propensity column; give one, or leave it out.")

    def score(self, run: Run, validation: Interactions) -> Score:
        if self.inverse_propensity and by_row([run]):
            raise InputError(
                f"Rows of family {run.posterior.response.name} have one density each and no weights of single cells: "
                "leave inverse propensities out."
            )
        units, _ = judged([run], validation, seed=0)
        each = units.log_density(run, DRAWS, seed=0)
        weight = inverse_propensity_weights(units.log) if self.inverse_propensity else units.weight
        mean = weighted_mean(each, weight)
        _, user = np.unique(units.user, return_inverse=True)
        apart = np.bincount(user, weights=weight * (each - mean)) / weight.sum()
        return Score(mean, standard_error(apart))


@dataclass(frozen=True)
class Ndcg(Metric):
    """NDCG@k of the validation positives, by the protocol of `evaluate`."""

    k: int = 10
    compares_outcomes = False

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"ndcg@{self.k}"

    def score(self, run: Run, validation: Interactions) -> Score:
        found = ndcg_by_user(run, validation, self.k)
        if not len(found):
            raise InputError("No user has cells in both parts, so rankings cannot be judged: take another fraction.")
        return Score(float(found.mean()), standard_error(found.to_numpy()) / len(found))


def metric_named(name: str | None, log: Interactions, inverse_propensity: bool = False) -> Metric:
    """A metric by name; by default what early stopping would watch: NDCG@10 where missing cells are zeros, else the
    log-likelihood. Raises InputError for names that do not exist."""
    if name is None:
        name = "ndcg@10" if log.missing.weight and not inverse_propensity else "log-likelihood"
    kind, _, length = name.partition("@")
    if kind == "ndcg" and length.isdigit() and int(length) > 0 and not inverse_propensity:
        return Ndcg(int(length))
    if name != "log-likelihood":
        rest = " with inverse propensities" if inverse_propensity else " or ndcg@K"
        raise InputError(f"There is no metric '{name}'; there is log-likelihood{rest}.")
    return LogLikelihood(inverse_propensity)


def inverse_propensity_weights(cells: Interactions) -> np.ndarray:
    """1 / propensity of each cell, divided by its mean, (cells,). Raises InputError for a log without propensities."""
    if cells.propensity is None:
        raise InputError(
            "Inverse-propensity weights need propensities of cells that somebody saw: give a log with zeros."
        )
    weight = 1 / cells.propensity
    scaled: np.ndarray = weight / weight.mean()
    return scaled


def weighted_mean(each: np.ndarray, weight: np.ndarray) -> float:
    """sum w x / sum w."""
    return float(weight @ each / weight.sum())
