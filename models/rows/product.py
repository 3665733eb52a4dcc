"""Rows of clicks whose popularity multiplies the probability of a match, with a hand-written gradient of their zeros.

A cell that was not clicked contributes log(1 - h g), h = sigma(eta), of which a row needs the sum alone. With
log(1 - g), which an item has once, one pass over the dense row gives the sum and every derivative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyrorec.models.families import Family
from pyrorec.models.predictors import Product
from pyrorec.models.rows.base import RowDistribution, as_rows
from pyrorec.models.rows.decode import decode_stored
from pyrorec.models.rows.sparse import SparseRows

TINY = 1e-30
"""Stands for a probability of no click that single precision has rounded off."""


class ProductRows(RowDistribution):
    """c ~ Binomial(trials, sigma(eta) g(z)) in every cell, z that of the item, given (maths 1.2.8).

    `log_z` holds log z: (1, columns) where the columns are items, (rows, 1) where the rows are. Stored cells take the
    predictor's own log-probability (maths 5); absent ones are no click, `missing_weight` each.
    """

    def __init__(
        self,
        family: Family,
        factors: Tensor,
        loadings: Tensor,
        missing_weight: float,
        predictor: Product,
        log_z: Tensor,
    ) -> None:
        super().__init__(family, factors, loadings, missing_weight)
        self.predictor, self.log_z = predictor, log_z

    def log_prob(self, value: SparseRows | Tensor) -> Tensor:
        rows = as_rows(value)
        missing, eta = self.decode(rows)
        cells = self.predictor.log_prob_at(self.family, rows.value, rows.trials, eta, self._at(rows))
        stored = rows.sum_by_row(torch.where(rows.trials > 0, cells, torch.zeros_like(cells)))
        return stored if missing is None else stored - self.missing_weight * missing

    def decode(self, rows: SparseRows) -> tuple[Tensor | None, Tensor]:
        """Sum of -log(1 - h g) over the columns not stored in each row (None where they say nothing), eta where stored.

        Stored cells are left out before anything is summed, as in `decode_dense`.
        """
        if not self.missing_weight:
            return None, decode_stored(self.factors, self.loadings, rows)
        total, eta = _DenseProduct.apply(
            self.factors, self.loadings, self.predictor.log_unlinked(self.log_z), rows.flat
        )
        return total, eta

    def replicate(self, family: Family, eta: Tensor, trials: Tensor) -> Tensor:
        """Draws of the cells at given matches, popularity as in this law."""
        return self.predictor.sample(family, trials, eta, self.log_z.exp())

    def _at(self, rows: SparseRows) -> Tensor:
        """log z of each stored cell, (cells,)."""
        return self.log_z[rows.row, 0] if self.log_z.shape[1] == 1 else self.log_z[0, rows.column]


class _DenseProduct(torch.autograd.Function):
    """u = -log(1 - h g) with h = sigma(eta) and l = log(1 - g): du/d eta = h - s, du/dl = -s, s = sigma(eta + l).

    s is formed as h (1 - g) / (1 - h g), and h - s as h g (1 - h) / (1 - h g), so that neither cancels.
    """

    @staticmethod
    def forward(
        ctx: Any, factors: Tensor, loadings: Tensor, log_unlinked: Tensor, flat: Tensor
    ) -> tuple[Tensor, Tensor]:
        eta = factors @ loadings.T
        stored = eta.view(-1)[flat]
        rest, match = torch.sigmoid(-eta), eta.sigmoid_()
        clicked = match * -torch.expm1(log_unlinked)
        unlinked = match * log_unlinked.exp()
        idle = (rest + unlinked).clamp_min_(TINY)
        mass = torch.where(clicked < 0.5, -torch.log1p(-clicked.clamp_max(0.5)), -idle.log())
        mass.view(-1)[flat] = 0
        slope = clicked.mul_(rest).div_(idle)
        lost = unlinked.div_(idle)
        ctx.save_for_backward(factors, loadings, log_unlinked, slope, lost, flat)
        return mass.sum(-1), stored

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, grad_stored: Tensor) -> tuple[Tensor | None, ...]:
        factors, loadings, log_unlinked, slope, lost, flat = ctx.saved_tensors
        lost = lost * -grad_total[:, None]
        lost.view(-1)[flat] = 0
        grad = slope * grad_total[:, None]
        grad.view(-1)[flat] = grad_stored
        wants_factors, wants_loadings, wants_unlinked, _ = ctx.needs_input_grad
        along = 1 if log_unlinked.shape[1] == 1 else 0
        return (
            grad @ loadings if wants_factors else None,
            grad.T @ factors if wants_loadings else None,
            lost.sum(along, keepdim=True) if wants_unlinked else None,
            None,
        )
