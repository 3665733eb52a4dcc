"""The law of a row's cells given their total: how the total is spread, for the families of which that is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pyrorec.models.families import (
    Dirichlet,
    ExponentialResponse,
    Family,
    GammaResponse,
    Multinomial,
    NegativeBinomial,
    Poisson,
)
from pyrorec.models.rows.coupled import log_sum_exp_rows
from pyrorec.models.rows.dirichlet import log_dirichlet
from pyrorec.models.rows.multinomial import log_multinomial
from pyrorec.models.rows.sparse import SparseRows

HALVINGS = 45
"""Bisection to three parts in 10^14."""
Law = Callable[[Family, SparseRows, Tensor], Tensor]


def multinomial(family: Family, rows: SparseRows, eta: Tensor) -> Tensor:
    """Multinomial(total, softmax(eta)) of the cells, which Poisson cells given their total are as well (maths 6.5)."""
    return log_multinomial(rows, eta, log_sum_exp_rows(eta, rows, rows.trials > 0))


def dirichlet(family: Family, rows: SparseRows, eta: Tensor) -> Tensor:
    """Dirichlet(e^eta) of the cells' shares in their total: a part of a Dirichlet's cells has its concentrations."""
    return log_dirichlet(rows, eta)


def scaled_dirichlet(family: Family, rows: SparseRows, eta: Tensor) -> Tensor:
    """Shares of independent Gammas of shape a and means e^eta.

    log p = log G(m a) - m log G(a) + (a - 1) sum log r - a sum eta - m a log sum r e^-eta over m cells: the density of
    the amounts t r, times t^(m-1) for the change of variables, integrated over the total t. At equal means it is a
    Dirichlet. A row of one cell says nothing.
    """
    said = rows.trials > 0
    a = torch.as_tensor(getattr(family, "shape", 1.0), dtype=eta.dtype)
    m = rows.records.to(eta.dtype)
    log_share = (rows.value / rows.totals[rows.row]).where(said, 1.0).log()
    cells = rows.sum_by_row(((a - 1) * log_share - a * eta).where(said, 0.0))
    pull = log_sum_exp_rows(log_share - eta, rows, said)
    whole = cells + torch.lgamma(m * a) - m * torch.lgamma(a) - m * a * pull
    return whole.where(m > 1, 0.0)


def negative_binomials(family: Family, rows: SparseRows, eta: Tensor) -> Tensor:
    """log p(y_1) + ... + log p(y_m) - log (p_1 * ... * p_m)(n), the convolution of the cells' laws at their total."""
    assert isinstance(family, NegativeBinomial)
    eta = as_expected(family, rows, eta)
    said = rows.trials > 0
    cells = rows.sum_by_row(family.log_prob(rows.value, rows.trials, eta).where(said, 0.0))
    bounds = zip(rows.start[:-1].tolist(), rows.start[1:].tolist(), rows.totals.tolist(), strict=True)
    total = [log_total(family, eta[low:high][said[low:high]], int(n)) for low, high, n in bounds]
    return cells - torch.as_tensor(total, dtype=cells.dtype)


def as_expected(family: NegativeBinomial, rows: SparseRows, eta: Tensor) -> Tensor:
    """Linear predictors at which each row's expected total is its total, (cells,), and whose law given it is the same.

    A common factor t of all odds-like q = mu / (mu + r0), the exponentials of the natural parameters, changes no law
    given the total; sum r0 t q / (1 - t q) = n is solved by bisection in t over (0, 1 / max q). Nothing that is summed
    afterwards can then underflow.
    """
    said, r0 = rows.trials > 0, torch.as_tensor(family.dispersion, dtype=eta.dtype)
    q = torch.sigmoid(eta - r0.log()).where(said, 0.0)
    most = torch.zeros(len(rows), dtype=eta.dtype).scatter_reduce(0, rows.row, q, "amax")
    share = q / most.clamp_min(torch.finfo(eta.dtype).tiny)[rows.row]
    low, high = torch.zeros_like(most), torch.ones_like(most)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        part = middle[rows.row] * share
        above = rows.sum_by_row(r0 * part / (1 - part)) > rows.totals
        low, high = low.where(above, middle), middle.where(above, high)
    part = (0.5 * (low + high))[rows.row] * share
    return (r0 * part / (1 - part)).log().where(said, 0.0)


def log_total(family: Family, eta: Tensor, n: int) -> float:
    """log P(independent counts of linear predictors eta, one trial each, add up to n): positive terms, so that their
    sums lose no digits."""
    counts, one = torch.arange(n + 1, dtype=eta.dtype), torch.ones((), dtype=eta.dtype)
    sums = np.eye(1, n + 1)[0]
    for each in family.log_prob(counts, one, eta[:, None]).exp().numpy():
        sums = np.convolve(sums, each)[: n + 1]
    return float(np.log(sums[n]))


GIVEN_TOTAL: dict[type[Family], Law] = {
    Multinomial: multinomial,
    Poisson: multinomial,
    NegativeBinomial: negative_binomials,
    Dirichlet: dirichlet,
    GammaResponse: scaled_dirichlet,
    ExponentialResponse: scaled_dirichlet,
}
"""log p(cells of each row | their total), (rows,), base measure included, for cells of one trial each (none: masked):
of counts a probability, of amounts the density of all shares but the last. Arguments: the family, the rows in the type
of eta, and eta at their stored cells, (cells,)."""
