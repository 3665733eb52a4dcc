"""The factorisation machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pyrorec.models.affinities.base import Affinity


@dataclass(frozen=True)
class FactorisationMachine(Affinity):
    """a = b0 + sum_j w_j x_j + sum_{j<l} (v_j . v_l) x_j x_l over ids and features of user and item together."""

    name: ClassVar[str] = "factorisation-machine"
    linear: ClassVar[bool] = True
    reads_features: ClassVar[bool] = True

    factors: int = 4


def pairwise_sum(x: Tensor, v: Tensor) -> Tensor:
    """sum_{j<l} (v_j . v_l) x_j x_l as (1/2) sum_f [(sum_j v_jf x_j)^2 - sum_j v_jf^2 x_j^2].

    x: (rows, inputs), v: (inputs, factors); returns (rows,). Linear in the number of inputs.
    """
    return 0.5 * ((x @ v).square() - x.square() @ v.square()).sum(-1)


def factorisation_machine(x: Tensor, intercept: Tensor, weights: Tensor, v: Tensor) -> Tensor:
    """b0 + x.w + `pairwise_sum`: x (rows, inputs), w (inputs,), v (inputs, factors); returns (rows,)."""
    return intercept + x @ weights + pairwise_sum(x, v)
