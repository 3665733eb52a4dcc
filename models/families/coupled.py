"""Families in which a user's cells are one draw."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from pyrorec.models.families.base import SMALLEST_MEAN
from pyrorec.models.families.exponential_family import ExponentialFamily
from pyrorec.models.mass import safe_exp


class CoupledFamily(ExponentialFamily):
    """A family of whole rows of users: the last dimension of value and eta is the row, and log_prob is one a row.

    Items have no rows of their own, so it is trained on the side of users with both sides moving. `mean` and `link`
    are of a cell's weight e^eta, which ranks as its expected share does: the share is the weight over the sum of the
    row's weights. What adds to a whole row of eta, as the intercept and activity do, changes no share of a multinomial.
    """

    coupled: ClassVar[bool] = True
    practical_link: ClassVar[str] = "log of the weight"

    def mean(self, eta: Tensor) -> Tensor:
        """The weight e^eta."""
        return safe_exp(eta)

    def link(self, mean: float) -> float:
        """The logarithm."""
        return math.log(max(mean, SMALLEST_MEAN))
