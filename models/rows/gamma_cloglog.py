"""Click rows (complementary log-log) with their own Gamma frailty integrated out by quadrature."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.distributions.gamma import match_gamma
from pyrorec.models.families.bernoulli import log_choose
from pyrorec.models.families.cloglog import log1mexp
from pyrorec.models.mass import safe_exp
from pyrorec.models.rows.base import as_rows
from pyrorec.models.rows.frailty import FrailtyRows
from pyrorec.models.rows.sparse import SparseRows

NODES = 24
NEWTON_STEPS = 12
TINY = 1e-30


@lru_cache
def _gauss_hermite(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes x_j and log(w_j e^{x_j^2}) for the integral of exp(f) about its mode."""
    x, w = np.polynomial.hermite.hermgauss(nodes)
    return x, np.log(w) + x**2


class GammaCloglogRows(FrailtyRows):
    """c ~ Binomial(trials, 1 - exp(-z r)), r = e^eta, one z ~ Gamma(shape, shape) per row, z integrated out.

    In t = log z the integrand is log-concave: f(t) = a log a - log G(a) + a t - (a + S0) e^t + sum_clicks c
    log(1 - exp(-e^t r)), S0 the rates of what was not clicked. Adaptive Gauss-Hermite about its mode, in
    float64: relative error of the integral below 1e-4 for a single click at shape .1, 1e-7 from three clicks
    on (tests); a row without clicks is exact. Gradients differentiate the quadrature sum with its nodes held.
    """

    def log_prob(self, value: SparseRows | Tensor) -> Tensor:
        rows = as_rows(value)
        idle, rate, clicks = self._rates(rows)
        log_integral, _ = self._integrate(rows, idle, rate, clicks)
        a = self.frailty_shape.double()
        without = a * (a.log() - torch.log(a + idle))
        marginal = torch.where(rows.totals > 0, log_integral, without)
        choose = rows.sum_by_row(log_choose(rows.trials, rows.value))
        return marginal.to(self.factors.dtype) + choose

    @torch.no_grad()
    def frailty_posterior(self, value: SparseRows | Tensor, typical: Tensor | None = None) -> dist.Gamma:
        """The Gamma with the posterior's E z and E log z, both by the same quadrature; exact without clicks.

        What was not clicked enters by its expected rate, exactly; a click by `typical`: log(1 - exp(-z r)) is
        linear in log r where clicks are rare, and the expected rate would take every click for an easy one.
        """
        rows = as_rows(value)
        idle, rate, clicks = self._rates(rows)
        if typical is not None:
            rate = safe_exp(typical).double().clamp_min(TINY)
        log_integral, (t, log_terms) = self._integrate(rows, idle, rate, clicks)
        weight = torch.exp(log_terms - log_integral)
        fitted = match_gamma((weight * t.exp()).sum(0), (weight * t).sum(0))
        a, clicked = self.frailty_shape.double(), rows.totals > 0
        shape = torch.where(clicked, fitted.concentration, a)
        rate_ = torch.where(clicked, fitted.rate, a + idle)
        return dist.Gamma(shape.to(self.factors.dtype), rate_.to(self.factors.dtype))

    def _rates(self, rows: SparseRows) -> tuple[Tensor, Tensor, Tensor]:
        """Summed rate of what was not clicked (rows,), rate (cells,) and clicks (cells,), in float64."""
        mass, eta = self.row_mass(rows)
        rate = safe_exp(eta).double().clamp_min(TINY)
        clicks = rows.value.double()
        idle = mass.double() - rows.sum_by_row(clicks * rate)
        return idle.clamp_min(0.0), rate, clicks

    def _mode(self, rows: SparseRows, idle: Tensor, rate: Tensor, clicks: Tensor) -> tuple[Tensor, Tensor]:
        """Mode of f in t = log z and the sd of the normal that touches it there, by damped Newton."""
        a, n = self.frailty_shape.double(), rows.totals.double()
        # two lower bounds of the mode; the larger is within log(1 + n / a) of it however saturated the clicks
        t = torch.maximum((a + n) / (a + idle + rows.sum_by_row(clicks * rate)), a / (a + idle)).log()
        for _ in range(NEWTON_STEPS):
            x = torch.exp(t[rows.row]) * rate
            b = x / torch.expm1(x.clamp(max=500.0))
            first = a - (a + idle) * t.exp() + rows.sum_by_row(clicks * b)
            second = -(a + idle) * t.exp() + rows.sum_by_row(clicks * b * (1 - x - b))
            t = t - (first / second.clamp_max(-TINY)).clamp(-2.0, 2.0)
        return t, torch.rsqrt((-second).clamp_min(TINY))

    def _integrate(
        self, rows: SparseRows, idle: Tensor, rate: Tensor, clicks: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """log of the integral (rows,), with the nodes t and the log of each weighted term (nodes, rows)."""
        a = self.frailty_shape.double()
        with torch.no_grad():
            mode, sd = self._mode(rows, idle, rate, clicks)
            nodes, log_weights = (torch.as_tensor(v, device=mode.device) for v in _gauss_hermite(NODES))
            t = mode + (2**0.5) * sd * nodes[:, None]
            log_jacobian = log_weights[:, None] + (2**0.5 * sd).log()
        x = torch.exp(t[:, rows.row]) * rate
        clicked = torch.zeros_like(t).index_add(1, rows.row, clicks * log1mexp(x.clamp_min(TINY)))
        f = a * a.log() - torch.lgamma(a) + a * t - (a + idle) * t.exp() + clicked
        return torch.logsumexp(f + log_jacobian, 0), (t, f + log_jacobian)
