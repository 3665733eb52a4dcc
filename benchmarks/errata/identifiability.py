"""Identifiability."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize

from benchmarks.errata.numerics import EXPIT, hermite, response
from benchmarks.errata.registry import Numbers, erratum


def rank(jacobian: np.ndarray) -> int:
    """Numerical rank of an information matrix scaled to unit diagonal (maths 2)."""
    information = jacobian.T @ jacobian
    scale = np.sqrt(np.diag(information))
    eigenvalues = np.linalg.eigvalsh(information / np.outer(scale, scale))
    return int((eigenvalues > 1e-11 * eigenvalues[-1]).sum())


def product_jacobian(levels: np.ndarray, item: np.ndarray, d: np.ndarray, g: np.ndarray, b: float = 1.0) -> np.ndarray:
    """Rows of d P / sqrt(P (1 - P)) by (b, d, log G) for P = G sigma(d + b t) (maths 2.1)."""
    h = EXPIT(d[item] + b * levels)
    p = g[item] * h
    hot = np.eye(len(d))[item]
    inner = (p * (1 - h))[:, None]
    columns = np.hstack([inner * levels[:, None], inner * hot, p[:, None] * np.eye(len(g))[item]])
    return np.asarray(columns / np.sqrt(p * (1 - p))[:, None])


def records_for_split(intercept: float) -> tuple[float, float]:
    """Mean click rate and the records that give log G an sd of .1: nine user levels, five items (maths 2.1)."""
    levels, item = np.tile(np.linspace(-2, 2, 9), 5), np.repeat(np.arange(5), 9)
    d, g = intercept + np.linspace(-0.5, 0.5, 5), np.linspace(0.5, 0.9, 5)
    jacobian = product_jacobian(levels, item, d, g)
    covariance = np.linalg.inv(jacobian.T @ jacobian / len(levels))
    return float((g[item] * EXPIT(d[item] + levels)).mean()), float(covariance[6, 6] / 0.01)


def per_record_rank() -> int:
    """Rank of 12 records, each with its own G, two of b, d shared (maths 2.1)."""
    levels, g = np.linspace(-2, 2, 12), np.linspace(0.3, 0.9, 12)
    own = product_jacobian(levels, np.arange(12), np.zeros(12), g)
    return rank(np.hstack([own[:, :1], own[:, 1:13].sum(1, keepdims=True), own[:, 13:]]))


@erratum("B22")
def product_split() -> Numbers:
    """Ranks of the product model, and how the sample it needs grows with rarity (maths 2.1)."""
    one = np.zeros(1)
    three, two = (
        rank(product_jacobian(np.array(t), np.zeros(len(t), int), one, one + 0.5)) for t in ((-1, 0, 1), (-1, 1))
    )
    rates, needed = np.array([records_for_split(b) for b in (-1.0, -3.0, -5.0, -7.0, -9.0)]).T
    return {
        "rank with a G a record, 14 parameters": (14, per_record_rank()),
        "rank with a G an item, 3 parameters, 2 user levels": (3, two),
        "the same, 3 user levels": (2, three),
        f"records for sd(log G) = .1 at click rate {rates[0]:.2f}": (None, needed[0]),
        f"the same at click rate {rates[2]:.3f}": (None, needed[2]),
        "power of the click rate with which they grow": (None, np.polyfit(np.log(rates[2:]), np.log(needed[2:]), 1)[0]),
    }


@erratum("B23")
def same_fit_other_ranking() -> Numbers:
    """h = (.50, .40), G = (.4, .8) and h = (.35, .50), G = (.5714, .64) (maths 1.3)."""
    one, other = np.array([[0.5, 0.4], [0.4, 0.8]]), np.array([[0.35, 0.5], [0.2 / 0.35, 0.64]])
    return {
        "greatest difference of the two fits": (0.0, float(np.abs(one.prod(0) - other.prod(0)).max().round(12))),
        "h of the first item less the second's": (float(one[0] @ [1, -1]), float(other[0] @ [1, -1])),
    }


def attenuated_slope() -> float:
    """The limit of logistic regression on x ~ N(0, 1) where logit P = -1 + 1.5 x + 2 e (maths 2.2)."""
    x, w = hermite()
    truth = np.array([response(-1 + 1.5 * value, 2.0) for value in x])

    def loss(b: np.ndarray) -> float:
        eta = b[0] + b[1] * x
        return float(w @ (np.logaddexp(0, eta) - truth * eta))

    return float(minimize(loss, [0.0, 1.0], tol=1e-12).x[1])


@erratum("B24")
def additive_is_not_enough() -> Numbers:
    """The orbit z -> 2 z + 1, and the slope that logistic regression finds if popularity is left out (maths 2.2)."""
    kappa, delta, a, effect, m, s = 2.0, 1.0, 0.3, 1.2, 0.5, 0.8
    first = response(a + effect * m, effect * s)
    moved = effect / kappa
    second = response(a - moved * delta + moved * (kappa * m + delta), moved * kappa * s)
    return {
        "P at gamma = 1.2 / at gamma = .6, z = 2 z + 1": (first, second),
        "slope found with popularity (gamma s = 2) left out": (attenuated_slope(), 1.5),
        "the same by 1.5 / sqrt(1 + pi 4 / 8)": (1.5 / math.sqrt(1 + math.pi * 4 / 8), 1.5),
    }


@erratum("B27")
def sign_of_the_effect() -> Numbers:
    """(gamma, z) = (1.2, .7) and (-1.2, -.7) at a = .3 (maths 1.3)."""
    return {"P at (1.2, .7) / at (-1.2, -.7)": (float(EXPIT(0.3 + 1.2 * 0.7)), float(EXPIT(0.3 + -1.2 * -0.7)))}
