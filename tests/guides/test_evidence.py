"""log p(X) = ELBO + KL(q || posterior), by quadrature, on one user who met one item.

The model's side is its own log-joint, read off a Pyro trace conditioned on the grid; the reference joint is
written with scipy. A whole grid is one trace: as many copies of the user and of the item as grid points, each
copy of the user having met its own copy of the item.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pyro import poutine
from scipy import special, stats

from pyrorec.inference.train import module_local
from pyrorec.models.bilateral import Batch, Bilateral, BilateralModel
from pyrorec.models.distributions import Gamma
from pyrorec.models.families import Poisson
from pyrorec.models.predictors import LogAdditive, Plain, Predictor
from pyrorec.models.rows import SparseRows

COUNT, LEVEL, SCALE, SHAPE = 2.0, -0.4, 0.9, 1.7
STEP = {"plain": 0.12, "log-additive": 0.22}
Grid = dict[str, np.ndarray]


def model_log_joint(predictor: Predictor, grid: Grid, side: str) -> np.ndarray:
    """The model's log p(latents, count) at every grid point."""
    points = len(grid["user_factors"])
    index = torch.arange(points)
    cells = (torch.full((points,), COUNT).double(), torch.ones(points).double())
    rows = SparseRows(torch.arange(points + 1), index, *cells, columns=points)
    frailty = {"popularity": Gamma(SHAPE), "activity": Gamma(SHAPE)} if predictor.scale else {}
    spec = BilateralModel(factors=1, family=Poisson(), predictor=predictor, scale=SCALE, **frailty)  # type: ignore[arg-type]
    values = {name: torch.as_tensor(v) for name, v in grid.items()}
    with module_local(), torch.no_grad():
        model = Bilateral(spec, points, points, missing_weight=0.0, level=LEVEL).double()
        given = poutine.condition(model, {n: v[:, None] if n.endswith("factors") else v for n, v in values.items()})
        trace = poutine.trace(given).get_trace(Batch(side, index, rows))
        sites = [trace.nodes[name] for name in (*grid, "value")]
        return sum(site["fn"].log_prob(site["value"]) for site in sites).numpy()  # type: ignore[union-attr]


def plain_reference(grid: Grid) -> np.ndarray:
    """N(theta) N(beta) Poisson(count; exp(b0 + theta beta))."""
    theta, beta = grid["user_factors"], grid["item_factors"]
    prior = stats.norm.logpdf(theta, 0, SCALE) + stats.norm.logpdf(beta, 0, SCALE)
    return prior + stats.poisson.logpmf(COUNT, np.exp(LEVEL + theta * beta))


def frailty_reference(effect: str) -> Callable[[Grid], np.ndarray]:
    """The same with a Gamma effect on the other side, and this side's own integrated: a negative binomial."""

    def log_joint(grid: Grid) -> np.ndarray:
        theta, beta, z = grid["user_factors"], grid["item_factors"], grid[effect]
        prior = stats.norm.logpdf(theta, 0, SCALE) + stats.norm.logpdf(beta, 0, SCALE)
        prior = prior + stats.gamma.logpdf(z, SHAPE, scale=1 / SHAPE)
        rate = z * np.exp(LEVEL + theta * beta)
        ways = special.gammaln(COUNT + SHAPE) - special.gammaln(SHAPE) - special.gammaln(COUNT + 1)
        return prior + ways + SHAPE * np.log(SHAPE / (SHAPE + rate)) + COUNT * np.log(rate / (SHAPE + rate))

    return log_joint


def product_grid(axes: dict[str, np.ndarray]) -> tuple[Grid, float]:
    """All points, and the log of the volume of a cell."""
    mesh = np.meshgrid(*axes.values(), indexing="ij")
    volume = sum(np.log(axis[1] - axis[0]) for axis in axes.values())
    return dict(zip(axes, (m.ravel() for m in mesh), strict=True)), float(volume)


def log_q(grid: Grid) -> np.ndarray:
    """A mean-field q that is not the posterior; Gamma for an effect, as a density in its logarithm."""
    out = stats.norm.logpdf(grid["user_factors"], 0.4, 0.5) + stats.norm.logpdf(grid["item_factors"], -0.3, 0.7)
    for name in set(grid) - {"user_factors", "item_factors"}:
        out = out + stats.gamma.logpdf(grid[name], 2.6, scale=1 / 2.1) + np.log(grid[name])
    return out


def axes(step: float, effect: str | None) -> dict[str, np.ndarray]:
    factors = np.arange(-7.0, 7.0 + step / 2, step) * SCALE
    found = {"user_factors": factors, "item_factors": factors.copy()}
    return found if effect is None else found | {effect: np.arange(-26.0, 4.5, step)}


CASES = {
    "plain": (Plain(), None, plain_reference, "user"),
    "log-additive, users": (LogAdditive(), "popularity", frailty_reference("popularity"), "user"),
    "log-additive, items": (LogAdditive(), "activity", frailty_reference("activity"), "item"),
}


def on_grid(step: float, effect: str | None) -> tuple[Grid, np.ndarray, float]:
    """Grid in (factors, effect), log Jacobian of the effect's logarithm, and log volume of a cell."""
    points, volume = product_grid(axes(step, effect))
    jacobian = np.zeros(len(points["user_factors"]))
    if effect is not None:
        jacobian = points[effect].copy()
        points[effect] = np.exp(points[effect])
    return points, jacobian, volume


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_evidence_is_elbo_plus_divergence(case: tuple) -> None:
    predictor, effect, reference, side = case
    points, jacobian, volume = on_grid(STEP[predictor.name], effect)
    true = reference(points) + jacobian
    evidence = special.logsumexp(true) + volume
    q_log = log_q(points)
    q = np.exp(q_log + volume)
    elbo = q @ (model_log_joint(predictor, points, side) + jacobian - q_log)
    divergence = q @ (q_log - (true - evidence))
    assert q.sum() == pytest.approx(1, rel=0, abs=1e-10)
    assert divergence > 0.01  # q is not the posterior, so both parts count
    assert elbo + divergence == pytest.approx(evidence, rel=0, abs=1e-8)


@pytest.mark.parametrize("case", list(CASES.values())[:2], ids=list(CASES)[:2])
def test_a_finer_grid_changes_nothing(case: tuple) -> None:
    predictor, effect, reference, _ = case
    coarse = STEP[predictor.name]

    def integrals(step: float) -> tuple[float, float]:
        points, jacobian, volume = on_grid(step, effect)
        true, q_log = reference(points) + jacobian, log_q(points)
        return special.logsumexp(true) + volume, np.exp(q_log + volume) @ (true - q_log)

    np.testing.assert_allclose(integrals(coarse), integrals(coarse / 2), rtol=0, atol=1e-10)


def test_user_rows_and_item_rows_have_one_evidence() -> None:
    """Integrating activity in the row and popularity on the grid, or the reverse, is one model."""
    found = []
    for effect, side in (("popularity", "user"), ("activity", "item")):
        points, jacobian, volume = on_grid(STEP["log-additive"], effect)
        found.append(special.logsumexp(model_log_joint(LogAdditive(), points, side) + jacobian) + volume)
    assert found[0] == pytest.approx(found[1], rel=0, abs=1e-10)
