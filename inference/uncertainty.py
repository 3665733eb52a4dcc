"""What the uncertainty about a click is made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyrorec.data import InputError
from pyrorec.inference.intervention import Deconfound, Intervention
from pyrorec.inference.recommend import check_pairs, extended
from pyrorec.inference.run import Run
from pyrorec.inference.scores import Surface, pair_surface
from pyrorec.models.distributions import Scale
from pyrorec.models.families import Outcome
from pyrorec.models.quadrature import average

NODES = 32


@torch.no_grad()
def variance_parts(run: Run, pairs: pd.DataFrame, intervention: Intervention | None = None) -> pd.DataFrame:
    """Variance of a future click of each pair, split as S (1 - S) = epistemic + popularity + outcome (maths 7.4).

    `epistemic` is Var S over the posterior of the linear predictor, S the response averaged over popularity;
    `popularity` the expected variance that popularity's law under the intervention (Deconfound by default) adds, and
    `outcome` the coin toss that is left. `mean` is E S. Gauss-Hermite over the linear predictor, the law's rule over
    popularity. Raises InputError where the run predicts no clicks.
    """
    if run.posterior.response.outcome is not Outcome.CLICK:
        raise InputError("Only click probabilities are split; this run predicts counts or ratings.")
    check_pairs(pairs, "pairs")
    users, items = pd.Index(pairs["user_id"]), pd.Index(pairs["item_id"])
    posterior = extended(run, users.unique(), items.unique())
    codes = torch.as_tensor(posterior.users.get_indexer(users)), torch.as_tensor(posterior.items.get_indexer(items))
    cells = pair_surface(posterior, intervention or Deconfound(), *codes)
    first, second = over_normal(cells, cells.response), over_normal(cells, lambda eta: cells.response(eta) ** 2)
    square = over_normal(cells, lambda eta: mean_square(cells, eta))
    parts = {"mean": first, "epistemic": second - first**2, "popularity": square - second, "outcome": first - square}
    numbers = {name: value.double().clamp_min(0).numpy() for name, value in parts.items()}
    return pd.concat([pairs[["user_id", "item_id"]].reset_index(drop=True), pd.DataFrame(numbers)], axis=1)


def over_normal(cells: Surface, f: Callable[[Tensor], Tensor]) -> Tensor:
    """E f over the normal linear predictor, by 32-point Gauss-Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    sd = cells.variance.sqrt()
    weights = weights / weights.sum()
    return sum(w * f(cells.mean + x * sd) for x, w in zip(nodes.tolist(), weights.tolist(), strict=True))


def mean_square(cells: Surface, eta: Tensor) -> Tensor:
    """E p(eta, z)^2 over popularity's law; a point or none has no spread."""
    law, effect = cells.law.law, cells.posterior.item_effect
    if law is None or not hasattr(law, "stddev") or bool((law.variance == 0).all()):
        return cells.response(eta) ** 2

    def square(node: Tensor) -> Tensor:
        z = node if effect.predictor.scale is Scale.LOG else node.exp()
        return effect.predictor.mean(cells.posterior.response, eta, z) ** 2

    return average(law, square)
