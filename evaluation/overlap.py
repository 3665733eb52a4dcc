"""Whether a log can tell what a policy is worth: the weights by which its records stand for those of the policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pyrorec.data import InputError

Array = npt.NDArray[np.float64]


class NoOverlap(InputError):
    """The log holds too little of what the policy would do to tell what that is worth."""


@dataclass(frozen=True)
class Limits:
    """From where on an estimate is refused. These are conventions: no theorem says where trust ends.

    effective: the least effective sample size. unshown: the largest share of the policy's probability on actions that
    the logging policy could not show; with rewards between 0 and 1 an IPS estimate is low by at most that much.
    departure: by how many of its standard errors the mean weight may differ from one, its expectation.
    """

    effective: float = 30.0
    unshown: float = 0.01
    departure: float = 5.0


USUAL = Limits()
"""What holds where nothing else is asked for."""


@dataclass(frozen=True, eq=False)
class Decisions:
    """Logged decisions as a target policy sees them, one entry per record, (records,) each.

    reward: what came of the logged action, on any scale. propensity: pi0(a | x), with which the logging policy took it.
    target: pi(a | x), with which the target policy would have. unshown: the target's probability in x of actions that
    the logging policy could not take; None where nobody knows. cluster: a label of the independent unit, such as the
    user; every record by default.

    Raises ValueError for unequal shapes, no record, rewards that are not finite and numbers that are no probabilities,
    NoOverlap where the target could take a logged action whose propensity is zero or missing.
    """

    reward: npt.ArrayLike
    propensity: npt.ArrayLike
    target: npt.ArrayLike
    unshown: npt.ArrayLike | None = field(default=None, kw_only=True)
    cluster: npt.ArrayLike | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        numbers = {"reward": self.reward, "propensity": self.propensity, "target": self.target}
        if self.unshown is not None:
            numbers["unshown"] = self.unshown
        arrays = {name: np.asarray(given, dtype=np.float64) for name, given in numbers.items()}
        if self.cluster is not None:
            arrays["cluster"] = np.asarray(self.cluster)
        for name, array in arrays.items():
            if array.shape != arrays["reward"].shape or array.ndim != 1:
                raise ValueError(f"{name} has shape {array.shape}; give one number per record, as in reward.")
            object.__setattr__(self, name, array)
        if not len(arrays["reward"]):
            raise ValueError("There are no records; a policy's value needs at least one.")
        if not np.isfinite(arrays["reward"]).all():
            raise ValueError("Some reward is missing or infinite; leave out records of which nothing came to be known.")
        for name in ("target", "unshown"):
            if name in arrays and not ((arrays[name] >= 0) & (arrays[name] <= 1 + 1e-9)).all():
                raise ValueError(f"Some {name} is no probability between 0 and 1.")
        _refuse_impossible(arrays["propensity"], arrays["target"])

    @cached_property
    def weights(self) -> Array:
        """pi(a | x) / pi0(a | x), (records,); 0 where the target would never take the action."""
        target, propensity = np.asarray(self.target), np.asarray(self.propensity)
        return np.divide(target, propensity, out=np.zeros_like(target), where=target > 0)


@dataclass(frozen=True)
class Overlap:
    """How much of a log speaks of a policy.

    effective: (sum w)^2 / sum w^2, the number of equally weighted records that would tell as much (Kish, 1965).
    rewarded: the same of w |reward|, how many rewards the value rests on. mean_weight: its expectation is the share of
    the target's probability that the logging policy could show, hence one where both are as they are said to be;
    mean_weight_se is its standard error. unshown: mean share that is known not to be shown, NaN where nobody knows.
    """

    records: int
    effective: float
    rewarded: float
    largest_weight: float
    mean_weight: float
    mean_weight_se: float
    unshown: float

    @property
    def departure(self) -> float:
        """Standard errors by which the mean weight differs from one; infinite where all weights are another number."""
        apart = self.mean_weight - 1
        if abs(apart) < 1e-9:
            return 0.0
        return apart / self.mean_weight_se if self.mean_weight_se > 0 else float(np.copysign(np.inf, apart))


def overlap(decisions: Decisions) -> Overlap:
    """Read off the weights how much the records tell."""
    w, n = decisions.weights, len(decisions.weights)
    return Overlap(
        records=n,
        effective=effective_size(w),
        rewarded=effective_size(w * np.abs(np.asarray(decisions.reward))),
        largest_weight=float(w.max()),
        mean_weight=float(w.mean()),
        mean_weight_se=float(w.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan,
        unshown=np.nan if decisions.unshown is None else float(np.asarray(decisions.unshown).mean()),
    )


def effective_size(weights: npt.ArrayLike) -> float:
    """(sum w)^2 / sum w^2 of weights (records,) of at least zero; 0 where all are zero."""
    w = np.asarray(weights, dtype=np.float64)
    largest = w.max()
    if not largest > 0:
        return 0.0
    w = w / largest  # squares of huge or tiny weights would leave the numbers
    return float(w.sum() ** 2 / (w**2).sum())


def require_overlap(found: Overlap, limits: Limits) -> None:
    """Raise NoOverlap where too little of the policy is in the log, whatever the scale of the weights."""
    if found.unshown > limits.unshown:
        raise NoOverlap(
            f"{found.unshown:.1%} of the policy's probability is on actions that the logging policy could not show, "
            "of which the log says nothing: let the policy choose among the actions that were shown, or say "
            "which could be."
        )
    if not found.effective or found.effective < limits.effective:
        raise NoOverlap(
            f"The {found.records:,} records tell of the policy as much as {found.effective:.1f} of its own would, and "
            f"at least {limits.effective:g} are needed: judge a policy closer to the logging one (a higher "
            "temperature, a larger epsilon), or take a longer log."
        )


def require_honest_weights(found: Overlap, limits: Limits) -> None:
    """Raise NoOverlap where the mean weight is not one, as it is if propensities are right and show all of the target.

    Apart from `require_overlap`, because a self-normalised estimate does not depend on the scale of the propensities.
    """
    if abs(found.departure) > limits.departure:
        cause = (
            "the logging policy could not show all that the policy would" if found.mean_weight < 1 else "they are low"
        )
        raise NoOverlap(
            f"Weights average {found.mean_weight:.3g} (standard error {found.mean_weight_se:.2g}) and not 1: either "
            f"the propensities are not those by which the log came about, or {cause}; check the propensity column, and "
            "let the policy choose among what could be shown to each user."
        )


def _refuse_impossible(propensity: Array, target: Array) -> None:
    """Refuse propensities of actions the target might take that are missing, zero or above one."""
    needed = target > 0
    absent = needed & ~(propensity > 0)
    if absent.any():
        row = int(np.argmax(absent))
        raise NoOverlap(
            f"{int(absent.sum()):,} of {len(target):,} records, the first in row {row + 1}, have no propensity above "
            "zero for an action that the policy might take: log the probability of each action as it is shown, or "
            "leave such actions out of the policy."
        )
    if (propensity[needed] > 1 + 1e-9).any():
        raise ValueError("Some propensity is above one; give probabilities of the logged actions.")
