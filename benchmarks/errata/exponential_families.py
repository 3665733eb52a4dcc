"""Exponential families."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import special, stats
from scipy.optimize import minimize_scalar
from torch import Tensor

from benchmarks.errata.numerics import number
from benchmarks.errata.registry import Numbers, erratum


@erratum("A1")
def derivative_written_as_ratio() -> Numbers:
    """A / eta in place of dA / d eta, Poisson (maths 1.3)."""
    return {"A'(.7) for A = e^eta": (math.exp(0.7) / 0.7, math.exp(0.7))}


@erratum("A2")
def strict_convexity() -> Numbers:
    """The Hessian of a multinomial in three natural parameters is singular (maths 1.3)."""
    p = special.softmax([0.0, 0.5, 1.0])
    rank = np.linalg.matrix_rank(np.diag(p) - np.outer(p, p))
    return {"rank of the 3 x 3 Hessian of a multinomial": (3, int(rank))}


def note_log_partition(eta: Tensor) -> Tensor:
    """The note's A of the Gaussian with both parameters free (maths 1.3)."""
    return -(eta[0] ** 2) / (4 * eta[1])


def log_partition(eta: Tensor) -> Tensor:
    """The whole A (maths 1.1)."""
    return note_log_partition(eta) - 0.5 * torch.log(-2 * eta[1])


@erratum("A3")
def gaussian_log_partition() -> Numbers:
    """Moments by differentiating A at mean 1.3, sd .7 (maths 1.3)."""
    eta = torch.tensor([1.3 / 0.49, -1 / 0.98], dtype=torch.float64)
    both = (note_log_partition, log_partition)
    moment = [number(torch.autograd.functional.jacobian(function, eta)[1]) for function in both]
    hessians = [torch.autograd.functional.hessian(function, eta) for function in both]
    det = [abs(round(number(torch.linalg.det(hessian)), 10)) for hessian in hessians]
    return {"dA/d eta2, which is to be E x^2": (moment[0], moment[1]), "det of the Hessian": (det[0], det[1])}


@erratum("A4")
def parentheses() -> Numbers:
    """A subtracted once in place of once an observation, Poisson counts 0, 1, 2 (maths 1.3)."""
    counts = np.array([0.0, 1.0, 2.0])
    best = [minimize_scalar(lambda eta, n=n: n * math.exp(eta) - counts.sum() * eta).x for n in (1, len(counts))]
    return {"estimated rate of counts 0, 1, 2": (math.exp(best[0]), math.exp(best[1]))}


@erratum("A5")
def dropped_normaliser() -> Numbers:
    """log(1 / s) dropped though s is free: 50 observations, squared deviations 87.4 (maths 1.3)."""
    n, squares = 50, 87.4
    kept = {s: -squares / (2 * s**2) for s in (1.0, 50.0)}
    full = {s: value - n * (math.log(s) + 0.5 * math.log(2 * math.pi)) for s, value in kept.items()}
    rows: Numbers = {f"objective at s = {s:g}": (kept[s], full[s]) for s in kept}
    return rows | {"the s that maximises it": (math.inf, math.sqrt(squares / n))}


@erratum("A6")
def output_equal_to_count() -> Numbers:
    """An output eta regressed on the count, read as log rate, against max E[k eta - e^eta] (maths 1.3)."""
    counts = np.array([0.0, 0.0, 1.0, 5.0])
    eta = minimize_scalar(lambda at: math.exp(at) - counts.mean() * at).x
    return {"rate learned from counts 0, 0, 1, 5": (math.exp(counts.mean()), math.exp(eta))}


@erratum("A7")
def statistics_that_add() -> Numbers:
    """Batches (0, 2) and (5) merged by averaging variances against adding n, sum x, sum x^2 (maths 1.3)."""
    batches = [np.array([0.0, 2.0]), np.array([5.0])]
    n, first, second = (sum(float((x**power).sum()) for x in batches) for power in (0, 1, 2))
    return {
        "variance of 0, 2, 5 from two batches": (np.mean([x.var() for x in batches]), second / n - (first / n) ** 2)
    }


@erratum("A13")
def negative_binomial() -> Numbers:
    """Number of statistics that a family of log-densities needs: rank after centring (maths 1.3)."""
    k = np.arange(31)
    fixed = [stats.nbinom.logpmf(k, 2.0, p) for p in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)]
    free = [stats.nbinom.logpmf(k, r, 0.5) for r in (0.5, 1, 2, 4, 8, 16)]
    ranks = []
    for table in (np.array(fixed), np.array(free)):
        centred = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
        ranks.append(int(np.linalg.matrix_rank(centred, tol=1e-6)))
    return {"statistics six negative binomials need, r fixed / free": (ranks[0], ranks[1])}
