"""The missing pi/8, and other integrals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import special
from scipy.optimize import brentq
from torch import Tensor

from benchmarks.errata.numerics import EXPIT, double, hermite, number, response, response_square
from benchmarks.errata.registry import Numbers, erratum
from pyrorec.models.integrals import gamma, gamma_logs
from pyrorec.models.integrals.approximations import mackay, note_without_pi_over_8, probit_mixture
from pyrorec.models.integrals.normal import log_logistic_normal, logistic_normal

GRID_SDS = (0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
Approximation = Callable[[Tensor, Tensor], Tensor]


def no_correction(mean: Tensor, sd: Tensor) -> Tensor:
    """sigma(mean): the spread left out."""
    return torch.sigmoid(mean)


APPROXIMATIONS: dict[str, Approximation] = {
    "no correction": no_correction,
    "the note's, without pi/8": note_without_pi_over_8,
    "MacKay's, with pi/8": mackay,
    "probit mixture, 8 terms": probit_mixture,
}


def worst_error(approximation: Approximation, sd: float) -> float:
    """Greatest absolute error over means (maths 1.5)."""
    reach = max(25.0, 6 * sd)
    mean = torch.linspace(-reach, reach, 6001, dtype=torch.float64)
    spread = torch.full_like(mean, sd)
    return number((approximation(mean, spread) - logistic_normal(mean, spread)).abs().max())


def times_the_truth(approximation: Approximation, mean: float, sd: float) -> float:
    """Approximation over L(mean, sd), the latter by its logarithm (maths 1.5)."""
    at = double(mean, sd)
    return number(approximation(*at)) / math.exp(number(log_logistic_normal(*at)))


def break_even() -> float:
    """The s from which the note's formula has a smaller worst error than sigma(mu) (maths 1.5)."""
    return float(brentq(lambda s: worst_error(note_without_pi_over_8, s) - worst_error(no_correction, s), 0.5, 3.0))


@erratum("B25")
def missing_pi_over_8() -> Numbers:
    """The note's sigma(mu / sqrt(1 + s^2)) and MacKay's with pi / 8, against the exact L (maths 1.5)."""
    both = (note_without_pi_over_8, mackay)
    rows: Numbers = {}
    for sd in (1.0, 2.0, 10.0):
        rows[f"worst absolute error, s = {sd:g}"] = (worst_error(both[0], sd), worst_error(both[1], sd))
    for mean, sd in ((-6.0, 1.0), (-6.0, 2.0), (-10.0, 3.0)):
        rows[f"times the truth at mu = {mean:g}, s = {sd:g}"] = (
            times_the_truth(both[0], mean, sd), times_the_truth(both[1], mean, sd),
        )  # fmt: skip
    rows["the s from which it beats leaving the spread out"] = (break_even(), None)
    x = np.linspace(0, 10, 100_001)
    limits = [float(np.abs(EXPIT(c * x) - special.ndtr(x)).max()) for c in (1.0, math.sqrt(8 / math.pi))]
    return rows | {"worst error as s grows without bound": (limits[0], limits[1])}


@erratum("B18")
def more_than_monte_carlo() -> Numbers:
    """E sigma(-1 + 2 e) by 10,000 draws and by fixed nodes; E sigma(-1 + z), z ~ Exp(1), exactly (maths 1.3)."""
    value, variance = response(-1.0, 2.0), response_square(-1.0, 2.0) - response(-1.0, 2.0) ** 2
    x, w = hermite(200)
    error = abs(value - float(w @ EXPIT(-1 + 2 * x)))
    exact = float(special.hyp2f1(1.0, 1.0, 2.0, -math.exp(1.0)))
    return {
        "error of E sigma(-1 + 2 e): 10,000 draws / fixed nodes": (math.sqrt(variance / 1e4), round(error, 10)),
        "E sigma(-1 + z), z ~ Exp(1), by 2F1": (None, exact),
        "the same by pyrorec": (None, number(gamma.logistic(*double(-1.0, 1.0, 1.0, 1.0)).value)),
    }


@erratum("B19")
def closed_form_in_the_wrong_place() -> Numbers:
    """log(1 - h E g) in place of E log(1 - h g): h = .8, z ~ Exp(1), lambda = 1 (maths 1.3)."""
    eta = math.log(0.8 / 0.2)
    right = number(gamma_logs.log_one_minus_match_saturation(*double(eta, 1.0, 1.0, 1.0)))
    return {"E log(1 - h g), h = .8": (math.log(1 - 0.8 * 0.5), right)}


@erratum("B28")
def closed_forms_of_other_links() -> Numbers:
    """Three averages with an exact value (maths 4.3)."""
    ratio = 2 * math.exp(1.5) * float(special.expn(3, 1.5))
    return {
        "E z/(z+1.5), Gamma(2, 1), by a e^x E_(a+1)(x)": (None, ratio),
        "E z^.5, Gamma(2, 1)": (None, float(special.gamma(2.5) / special.gamma(2.0))),
        "E z/(z+1.5), LogNormal(0, 1), by L(-log 1.5, 1)": (None, response(-math.log(1.5), 1.0)),
    }
