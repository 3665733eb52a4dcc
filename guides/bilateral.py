"""Amortised guides of the bilateral model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from pyrorec.guides.anchor import anchor
from pyrorec.guides.covariances import Diagonal
from pyrorec.guides.effect import effect_law
from pyrorec.guides.encoder import APART, RowPosterior
from pyrorec.guides.encoders import Encoder, RowEncoding, Setting
from pyrorec.guides.posterior import SidePosterior
from pyrorec.models.affinities import log_mean_exp_factors
from pyrorec.models.bilateral import Batch, Bilateral
from pyrorec.models.component import Parts
from pyrorec.models.distributions import Scale
from pyrorec.models.moments import mean_log
from pyrorec.models.rows import SparseRows
from pyrorec.models.rows.decode import decode_stored, with_offsets
from pyrorec.models.rows.frailty import FrailtyRows
from pyrorec.models.side import Side

CHUNK_CELLS = 4_000_000
"""Dense cells decoded at once when a whole side is refreshed."""
CHUNK_STORED = 100_000
"""Stored cells at once, where a quadrature holds dozens of numbers for each."""
RATES_APART = 0.15
"""Where effects that are rates start, near their prior: z of e^3 to begin with would send the parameter of a product's
link, which makes up for the mean of z, to where no match is left to learn."""


class BilateralGuide(PyroModule):
    """q(user_factors | user's row) q(item_factors | item's row), and q of the effects.

    In a batch the active side's posterior comes from its encoder, with gradient; the passive side's is the
    one kept at the last `refresh`, sampled anew at every step (maths 6.2). Integrated effects have their
    conjugate posterior, computed at `refresh`; drawn ones are read off the row beside the factors (`guides/effect.py`).

    `rows` are what both sides observe; `varies` says by side whether an encoder reads values beside the pattern, by
    default where they vary.
    """

    def __init__(
        self,
        model: Bilateral,
        rows: dict[str, SparseRows],
        dropout: float = 0.0,
        varies: dict[str, bool] | None = None,
    ) -> None:
        super().__init__()
        encoding = model.spec.encoder or RowEncoding(hidden=model.spec.hidden)
        self.encoder = Parts()
        self.posterior = Parts()
        for side in (model.user, model.item):
            setting = Setting(
                rows[side.name], model.spec.family.outcome, None if varies is None else varies[side.name],
                side.factors, side.scale, start_apart(model, side), dropout, model.spec.covariance or Diagonal(),
            )  # fmt: skip
            self.encoder[side.name] = encoding.build(setting)
            kept = empty_posterior(side, side.size)
            if model.integrates(side):
                kept.set_effect(starting_frailty(rows[side.name].totals, float(side.effect.start.shape)))  # type: ignore[union-attr]
            if self.encoder[side.name].reads_others:
                kept.mean.normal_(std=side.scale)  # rows start apart, or every row of the other side would look alike
            self.posterior[side.name] = kept

    def law(self, q: dist.TorchDistribution) -> dist.TorchDistribution:
        """The law a site is drawn from."""
        return q

    def forward(self, batch: Batch, model: Bilateral) -> None:
        active, passive = model.sides(batch.side)
        factors, effect = self._passive(model, passive, batch)
        with pyro.plate(f"{passive.name}s", passive.size), batch.weighing_latents():
            pyro.sample(f"{passive.name}_factors", self.law(factors))
            if effect is not None:
                pyro.sample(passive.effect_name, self.law(effect))
        with (
            pyro.plate(f"{active.name}s", active.size, subsample=batch.ids),
            batch.weighing_latents(),
        ):
            q = self.encode(model, active, batch.rows, batch.ids)
            pyro.sample(f"{active.name}_factors", self.law(q.factors))
            if q.effect is not None:
                pyro.sample(active.effect_name, self.law(q.effect))

    def _passive(
        self, model: Bilateral, side: Side, batch: Batch
    ) -> tuple[dist.TorchDistribution, dist.TorchDistribution | None]:
        """q of factors and effect of the side that is not observed: as kept, or from its encoder where rows are given.

        An integrated effect has no encoder; its law is always the kept one.
        """
        kept = self._kept(side.name)
        if batch.passive_rows is None:
            return kept.factors, kept.effect
        q = self.encode(model, side, batch.passive_rows)
        return q.factors, kept.effect if q.effect is None else q.effect

    def encode(self, model: Bilateral, side: Side, rows: SparseRows, ids: Tensor | None = None) -> RowPosterior:
        """q of some rows of a side, as its encoder reads them: rows of the log, or any others on the same columns.

        `ids` are their numbers, of which one beyond the side's rows is a stranger; all rows of the side by default.
        """
        _, passive = model.sides(side.name)
        encoder: Encoder = self.encoder[side.name]  # type: ignore[assignment]
        others = self._kept(passive.name).mean if encoder.reads_others else None
        q: RowPosterior = encoder(rows, others)
        if q.effect is None:
            return q
        silent = None if model.missing_weight else rows.records == 0
        read: Any = q.effect
        return RowPosterior(q.factors, effect_law(side, read, side.everyone() if ids is None else ids, silent))

    @torch.no_grad()
    def refresh(self, model: Bilateral, side: str, rows: SparseRows) -> None:
        """Recomputes the kept posterior of a whole side, its centre, and the law of its effects.

        The centre is the mean of all rows' posterior means (maths 7.2), without gradient.
        """
        active, _ = model.sides(side)
        was_training, _ = self.training, self.eval()
        for ids in row_chunks(rows):
            self._keep_factors(model, active, rows.take(ids), ids, self._kept(side), ids)
        if active.centred:
            active.centre.copy_(self._kept(side).mean.mean(0))
            active.prior.recentre()
        self.refresh_effects(model, side, rows)
        self.train(was_training)

    @torch.no_grad()
    def refresh_effects(self, model: Bilateral, side: str, rows: SparseRows) -> None:
        """Recomputes the law of a side's integrated effects given the kept factors of both sides."""
        active, _ = model.sides(side)
        if not model.integrates(active):
            return
        kept = self._kept(side)
        for ids in row_chunks(rows):
            kept.set_effect(self.frailty_posterior(model, active, rows.take(ids), ids), ids)

    @torch.no_grad()
    def read(self, model: Bilateral, side: str, rows: SparseRows, numbers: Tensor | None = None) -> SidePosterior:
        """The posterior of rows of any number on one side, given what is kept of the other; nothing kept changes.

        `rows` have a column for each row of the other side; cells that the encoder cannot read reach the integrated
        effect only. The factors are not centred. `numbers` (rows,) are those of the rows in the model, beyond its own
        for rows that it does not hold, as all are by default.
        """
        active, _ = model.sides(side)
        numbers = torch.full((len(rows),), active.size, device=rows.start.device) if numbers is None else numbers
        was_training, _ = self.training, self.eval()
        found = empty_posterior(active, len(rows)).to(self._kept(side).mean)
        for ids in row_chunks(rows):
            part = rows.take(ids)
            legible = self.encoder[side].legible(part)  # type: ignore[operator]
            self._keep_factors(model, active, legible, numbers[ids], found, ids)
            if model.integrates(active):
                mine = found.mean[ids], found.sd[ids]
                found.set_effect(self._frailty(model, active, part, numbers[ids], *mine), ids)
        self.train(was_training)
        return found

    def anchor(self, model: Bilateral, side: str) -> None:
        """Moves the level of a side's effects into the intercept; see `pyrorec.guides.anchor`."""
        encoder: Encoder = self.encoder[side]  # type: ignore[assignment]
        anchor(model, model.sides(side)[0], self._kept(side), encoder.effect_head)

    def _kept(self, side: str) -> SidePosterior:
        return self.posterior[side]  # type: ignore[return-value]

    def _keep_factors(
        self, model: Bilateral, side: Side, rows: SparseRows, ids: Tensor, kept: SidePosterior, places: Tensor
    ) -> None:
        """Reads rows, numbers `ids` of a side, into `kept` at some places."""
        q = self.encode(model, side, rows, ids)
        kept.mean[places], kept.sd[places] = q.marginals
        if q.effect is not None:
            kept.set_effect(q.effect, places)

    def frailty_posterior(self, model: Bilateral, side: Side, rows: SparseRows, ids: Tensor) -> dist.Gamma:
        """q(z) of some rows, numbers `ids`, given the kept factors of both sides.

        Gamma with E exp(a) in place of exp(E a), and E z of the others.
        """
        kept = self._kept(side.name)
        return self._frailty(model, side, rows, ids, kept.mean[ids], kept.sd[ids])

    def _frailty(
        self, model: Bilateral, side: Side, rows: SparseRows, ids: Tensor, mean: Tensor, sd: Tensor
    ) -> dist.Gamma:
        """The same, given mean and sd of the rows' own factors, (rows, K)."""
        _, passive = model.sides(side.name)
        other = self._kept(passive.name)
        left, right = log_mean_exp_factors(mean - side.centre, sd, other.mean - passive.centre, other.sd)
        column = model.level.intercept.expand(passive.size)
        if other.effect is not None:
            column = column + other.effect.mean.log()
        law = model.make_rows(side, *with_offsets(left, right, None, column), ids)
        assert isinstance(law, FrailtyRows)
        return law.frailty_posterior(rows, lambda: self._typical(model, side, rows, mean))

    def _typical(self, model: Bilateral, side: Side, rows: SparseRows, mean: Tensor) -> Tensor:
        """Expected linear predictor of each stored cell, (cells,), of rows whose factors have this mean."""
        _, passive = model.sides(side.name)
        other = self._kept(passive.name)
        column = model.level.intercept.expand(passive.size)
        if other.effect is not None:
            column = column + mean_log(other.effect)
        left, right = with_offsets(mean - side.centre, other.mean - passive.centre, None, column)
        return decode_stored(left, right, rows)


class DeltaGuide(BilateralGuide):
    """Point masses at the encoders' means: maximum a posteriori of the same model.

    Integrated effects are drawn at their posterior mean. The kept sds are zero: a point has no uncertainty.
    """

    def law(self, q: dist.TorchDistribution) -> dist.TorchDistribution:
        return dist.Delta(q.mean, event_dim=len(q.event_shape))

    def _keep_factors(
        self, model: Bilateral, side: Side, rows: SparseRows, ids: Tensor, kept: SidePosterior, places: Tensor
    ) -> None:
        super()._keep_factors(model, side, rows, ids, kept, places)
        kept.sd[places] = 0.0
        if kept.effect is not None and not model.integrates(side):
            kept.set_effect(dist.Delta(kept.kind(kept.first[places], kept.second[places]).mean), places)


def start_apart(model: Bilateral, side: Side) -> float | None:
    """How far apart a side's drawn effects start; None where it has none."""
    if side.posterior is None or model.integrates(side):
        return None
    return RATES_APART if side.posterior.scale is Scale.RATE else APART


def empty_posterior(side: Side, rows: int) -> SidePosterior:
    """A posterior to be filled of so many rows of a side."""
    return SidePosterior(rows, side.factors, side.scale, side.posterior)


def row_chunks(rows: SparseRows) -> Iterator[Tensor]:
    """Consecutive row numbers in groups, each of at most so many dense cells and so many stored ones."""
    numbers = torch.arange(len(rows), device=rows.start.device)
    group = numbers * rows.columns // CHUNK_CELLS + rows.start[:-1] // CHUNK_STORED  # grows where either one does
    _, sizes = torch.unique_consecutive(group, return_counts=True)
    yield from numbers.split(sizes.tolist())


def starting_frailty(totals: Tensor, shape: float) -> dist.Gamma:
    """Before the first refresh: Gamma with the row's share of the total as its mean."""
    average = totals.mean().clamp_min(1e-6)
    return dist.Gamma(shape + totals, shape + average.expand_as(totals))
