"""Click rows (complementary log-log) with their own Gamma frailty integrated out by quadrature."""

from __future__ import annotations

from typing import NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.distributions.gamma import match_gamma
from pyrorec.models.families.bernoulli import log_choose
from pyrorec.models.families.cloglog import log1mexp
from pyrorec.models.mass import safe_exp
from pyrorec.models.rows.base import as_rows
from pyrorec.models.rows.frailty import FrailtyRows, Typical
from pyrorec.models.rows.sparse import SparseRows

NODES = 48
DROP = 18.0
NEWTON_STEPS = 12
END_STEPS = 6
TINY = 1e-30


class Cells(NamedTuple):
    """Summed rate of what was not clicked (rows,), and rate and clicks of each stored cell (cells,)."""

    idle: Tensor
    rate: Tensor
    clicks: Tensor


class GammaCloglogRows(FrailtyRows):
    """c ~ Binomial(trials, 1 - exp(-z r)), r = e^eta, one z ~ Gamma(shape, rate) per row, z integrated out.

    In t = log z the integrand is log-concave: f(t) = a log b - log G(a) + a t - (b + S0) e^t + sum_clicks c
    log(1 - exp(-e^t r)), S0 the rates of what was not clicked. A trapezoid of 48 nodes
    between the points 18 below its mode, in float64: within 7e-5 nats over shapes .05 to 50 and rates up to
    saturation, 3e-9 in the median (tests); a row without clicks is exact. Gradients differentiate the quadrature
    sum with its nodes held.
    """

    def log_prob(self, value: SparseRows | Tensor) -> Tensor:
        rows = as_rows(value)
        cells = self._cells(rows)
        log_integral, _, _ = self._integrate(rows, cells)
        a, b = self._prior()
        without = a * (b.log() - torch.log(b + cells.idle))
        marginal = torch.where(rows.totals > 0, log_integral, without)
        choose = rows.sum_by_row(log_choose(rows.trials, rows.value))
        return marginal.to(self.factors.dtype) + choose

    @torch.no_grad()
    def frailty_posterior(self, value: SparseRows | Tensor, typical: Typical | None = None) -> dist.Gamma:
        """The Gamma with the posterior's E z and E log z, both by the same quadrature; exact without clicks.

        What was not clicked enters by its expected rate, exactly; a click by `typical`: log(1 - exp(-z r)) is
        linear in log r where clicks are rare, and the expected rate would take every click for an easy one.
        """
        rows = as_rows(value)
        cells = self._cells(rows)
        if typical is not None:
            cells = cells._replace(rate=safe_exp(typical()).double().clamp_min(TINY))
        log_integral, t, log_terms = self._integrate(rows, cells)
        weight = torch.exp(log_terms - log_integral)
        fitted = match_gamma((weight * t.exp()).sum(0), (weight * t).sum(0))
        (a, b), clicked = self._prior(), rows.totals > 0
        shape = torch.where(clicked, fitted.concentration, a)
        rate_ = torch.where(clicked, fitted.rate, b + cells.idle)
        return dist.Gamma(shape.to(self.factors.dtype), rate_.to(self.factors.dtype))

    def _prior(self) -> tuple[Tensor, Tensor]:
        """Shape a and rate b of z, in float64."""
        return self.frailty_shape.double(), self.frailty_rate.double()

    def _cells(self, rows: SparseRows) -> Cells:
        """What the integrand needs of the rows, in float64."""
        missing, eta = self.decode(rows)
        rate = safe_exp(eta).double().clamp_min(TINY)
        clicks = rows.value.double()
        idle = rows.sum_by_row((rows.trials.double() - clicks) * rate)
        return Cells(idle if missing is None else idle + self.missing_weight * missing.double(), rate, clicks)

    def _log_integrand(self, rows: SparseRows, cells: Cells, t: Tensor) -> Tensor:
        """f at several t per row: (nodes, rows)."""
        a, b = self._prior()
        x = torch.exp(t[:, rows.row]) * cells.rate
        clicked = torch.zeros_like(t).index_add(1, rows.row, cells.clicks * log1mexp(x.clamp_min(TINY)))
        return a * b.log() - torch.lgamma(a) + a * t - (b + cells.idle) * t.exp() + clicked

    def _slopes(self, rows: SparseRows, cells: Cells, t: Tensor) -> tuple[Tensor, Tensor]:
        """f' and f'' at several t per row: (nodes, rows) each."""
        a, prior_rate = self._prior()
        x = torch.exp(t[:, rows.row]) * cells.rate
        b = x / torch.expm1(x.clamp(max=500.0))
        summed = torch.zeros_like(t)
        first = a - (prior_rate + cells.idle) * t.exp() + summed.index_add(1, rows.row, cells.clicks * b)
        second = -(prior_rate + cells.idle) * t.exp() + summed.index_add(1, rows.row, cells.clicks * b * (1 - x - b))
        return first, second.clamp_max(-TINY)

    def _nodes(self, rows: SparseRows, cells: Cells) -> tuple[Tensor, Tensor]:
        """Equally spaced t between the points where f lies DROP below its mode, and their spacing, (nodes, rows).

        Newton on f (concave): first to the mode, from the larger of two lower bounds of it, then to both ends,
        where it converges monotonically once outside.
        """
        (a, b), n = self._prior(), rows.totals.double()
        easy = (a + n) / (b + cells.idle + rows.sum_by_row(cells.clicks * cells.rate))
        t = torch.maximum(easy, a / (b + cells.idle)).log()[None]
        for _ in range(NEWTON_STEPS):
            first, second = self._slopes(rows, cells, t)
            t = t - (first / second).clamp(-2.0, 2.0)
        top = self._log_integrand(rows, cells, t)
        reach = torch.rsqrt(-self._slopes(rows, cells, t)[1]) * (2 * DROP) ** 0.5
        ends = torch.cat([t - reach, t + reach])
        for _ in range(END_STEPS):
            ends = ends - (self._log_integrand(rows, cells, ends) - top + DROP) / self._slopes(rows, cells, ends)[0]
        spacing = (ends[1] - ends[0]) / (NODES - 1)
        return ends[0] + spacing * torch.arange(NODES, device=t.device)[:, None], spacing

    def _integrate(self, rows: SparseRows, cells: Cells) -> tuple[Tensor, Tensor, Tensor]:
        """log of the integral (rows,), the nodes t and the log of each weighted term (nodes, rows)."""
        with torch.no_grad():
            t, spacing = self._nodes(rows, cells)
        terms = self._log_integrand(rows, cells, t) + spacing.log()
        return torch.logsumexp(terms, 0), t, terms
