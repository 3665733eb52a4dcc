"""Posterior collapse, measured: which factors a fit uses, and how much a row's factors say of the row."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyrorec.data import InputError
from pyrorec.inference.run import Run
from pyrorec.models.bilateral import Bilateral
from pyrorec.models.distributions.divergence import closed_form_kl

ACTIVE = 0.01
"""A factor is active where its posterior means vary over rows by more than this share of its prior variance."""
MOST_ROWS = 2000
"""Rows that stand for a side in the estimate of mutual information."""
ROWS_AT_ONCE = 200


@torch.no_grad()
def collapse(run: Run, seed: int = 0) -> pd.DataFrame:
    """One row per side and factor: side, factor, mean_variance, prior_variance, active, kl, mutual_information.

    `mean_variance` is the variance over rows of the posterior means, `active` whether it exceeds 1 % of
    `prior_variance`, the squared scale about the prior's mean (Burda et al. 2016, 5.2). `kl` is KL(q || prior) in nats,
    averaged over rows (maths 6.1). `mutual_information` between row and factor is in nats, by one draw per row
    against the average of all rows' posteriors; it is at most the mean KL and the log of the number of rows, and
    what KL has beyond it is the distance of the averaged posterior from the prior.

    Raises InputError for anything but a bilateral model whose posterior has a spread.
    """
    parts = [side_table(side, *laws(run, side), seed) for side in ("user", "item")]
    return pd.concat(parts, ignore_index=True)


@torch.no_grad()
def collapse_summary(run: Run, seed: int = 0) -> pd.DataFrame:
    """One row per side: side, factors, active_units, kl, mutual_information, of all factors together; see `collapse`.

    Mutual information of all factors is not the sum over factors, as they share what they say.
    """
    lines = []
    for side in ("user", "item"):
        table, (q, _) = side_table(side, *laws(run, side), seed), laws(run, side)
        joint = float(mutual_information(q, seed, together=True))
        lines.append((side, len(table), int(table["active"].sum()), float(table["kl"].sum()), joint))
    return pd.DataFrame(lines, columns=["side", "factors", "active_units", "kl", "mutual_information"])


def laws(run: Run, side: str) -> tuple[torch.distributions.Normal, torch.distributions.Normal]:
    """Posterior and prior of a side's factors as they met in the ELBO, not centred: normals (rows, K)."""
    if not isinstance(run.model, Bilateral):
        raise InputError("Collapse is measured of bilateral models; this run is of another kind.")
    kept = run.guide.posterior[side]
    if not bool((kept.sd > 0).all()):  # type: ignore[operator,union-attr]
        raise InputError("A MAP fit keeps points, whose divergence from the prior is infinite: fit with Analytic().")
    q = torch.distributions.Normal(kept.mean, kept.sd)  # type: ignore[arg-type]
    return q, run.model.sides(side)[0].factor_prior().base_dist


def side_table(side: str, q: torch.distributions.Normal, p: torch.distributions.Normal, seed: int) -> pd.DataFrame:
    """The rows of `collapse` of one side."""
    spread, prior = q.loc.double().var(0, correction=0), p.scale.double().square().mean(0)
    return pd.DataFrame(
        {
            "side": side,
            "factor": np.arange(q.loc.shape[1]),
            "mean_variance": spread.numpy(),
            "prior_variance": prior.numpy(),
            "active": (spread > ACTIVE * prior).numpy(),
            "kl": closed_form_kl(q, p).double().mean(0).numpy(),
            "mutual_information": mutual_information(q, seed).numpy(),
        }
    )


def mutual_information(q: torch.distributions.Normal, seed: int, together: bool = False) -> Tensor:
    """E log q(x | row) - log mean over rows of q(x | row), one draw x per row: (K,), or () of all factors `together`.

    Over at most `MOST_ROWS` rows, drawn with the seed; an estimate below zero is zero.
    """
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.permutation(len(q.loc))[:MOST_ROWS])
    mean, sd = (x[torch.as_tensor(rows)].double() for x in (q.loc, q.scale))
    draws = mean + sd * torch.as_tensor(generator.standard_normal(tuple(mean.shape)))
    law = torch.distributions.Normal(mean, sd)
    total = torch.zeros(() if together else mean.shape[1:], dtype=torch.float64)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        x = draws[start : start + ROWS_AT_ONCE]
        density = law.log_prob(x[:, None])
        own = density[torch.arange(len(x)), torch.arange(start, start + len(x))]
        if together:
            density, own = density.sum(-1), own.sum(-1)
        total = total + (own - (torch.logsumexp(density, 1) - math.log(len(rows)))).sum(0)
    return (total / len(rows)).clamp_min(0)
