"""One way to maximise a likelihood in a few unbounded parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize, root

from pyrorec.data import InputError

#: What a further Newton step may still gain in mean log-likelihood an item: a thousandth of a nat in a million items.
GAIN = 1e-9
#: Relative error of a log-likelihood of counts in the millions.
VALUE = 1e-6


class NoMaximum(InputError):
    """A likelihood that keeps rising, or cannot be evaluated."""


def maximise(objective: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray) -> np.ndarray:
    """The parameters (k,) at which a mean log-likelihood is largest, by BFGS with its gradient.

    `objective` gives value and gradient (k,). Raises NoMaximum where there is still something to gain at its end.
    """

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = objective(at)
        return -value, -slope

    found = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-8, "maxiter": 500})

    def at_maximum(slope: np.ndarray) -> bool:
        # BFGS reports failure when rounding stops it before gtol, so what is left to gain is judged.
        return bool(np.isfinite(found.fun) and slope @ found.hess_inv @ slope <= GAIN)

    if at_maximum(found.jac):
        return found.x
    # With counts in the millions the value is too coarse for a line search, while the gradient is still exact.
    zero = root(lambda at: objective(at)[1], found.x)
    if not at_maximum(zero.fun) or objective(zero.x)[0] < -found.fun - VALUE * abs(found.fun):
        raise NoMaximum("The likelihood of these counts has no maximum that could be found; use another rule.")
    return zero.x
