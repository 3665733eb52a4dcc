"""What families with a logarithmic link have in common."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from pyrorec.models.families.base import SMALLEST_MEAN
from pyrorec.models.families.exponential_family import ExponentialFamily
from pyrorec.models.mass import safe_exp


class LogMean(ExponentialFamily):
    """A family whose mean is e^eta."""

    practical_link: ClassVar[str] = "log"

    def mean(self, eta: Tensor) -> Tensor:
        """e^eta."""
        return safe_exp(eta)

    def link(self, mean: float) -> float:
        """The logarithm."""
        return math.log(max(mean, SMALLEST_MEAN))
