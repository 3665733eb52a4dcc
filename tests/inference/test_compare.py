"""Held-out predictive densities against quadrature, and differences of runs against plain pandas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from scipy import special, stats

import pyrorec as pr
from pyrorec.data import Interactions
from pyrorec.inference import judged_cells
from pyrorec.inference.density import log_density
from pyrorec.inference.posterior import Posterior
from pyrorec.models.families import Bernoulli
from pyrorec.simulation import FrailtyWorld

WORLD = FrailtyWorld(users=50, items=30, mean_count=0.6, random_per_user=12).simulate(5)
TRAIN, TEST = pr.split_random(WORLD.train, 0.25, 0)
SHORT = pr.Training(epochs=12, validation_fraction=0.0)
QUIET = pr.Context(progress=False)
COUNTS = pr.BilateralModel(factors=2, hidden=(6,))


@pytest.fixture(scope="module")
def runs() -> dict[str, pr.Run]:
    clicks, _ = pr.split_random(WORLD.test, 0.3, 0)
    additive = pr.BilateralModel(factors=2, hidden=(6,), family=Bernoulli(), predictor=pr.Additive())
    specs = {
        "counts": (COUNTS, TRAIN),
        "plain": (replace(COUNTS, predictor=pr.Plain(), popularity=None, activity=None), TRAIN),
        "binarised": (replace(COUNTS, binarise=True), TRAIN),
        "clicks": (additive, clicks),
        "ratings": (replace(additive, family=pr.Gaussian()), TRAIN.with_missing(pr.Unobserved())),
    }
    return {name: pr.fit(spec, log, training=SHORT, context=QUIET) for name, (spec, log) in specs.items()}


def one_cell(posterior: Posterior, value: float) -> Interactions:
    """User 3 and item 4, once."""
    return Interactions(
        users=posterior.users, items=posterior.items, user=np.array([3]), item=np.array([4]),
        value=np.array([value]), trials=np.ones(1),
    )  # fmt: skip


def hermite(mean: float, sd: float, n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    x, w = np.polynomial.hermite_e.hermegauss(n)
    return mean + sd * x, w / w.sum()


def probability(posterior: Posterior, likelihood) -> float:  # type: ignore[no-untyped-def]
    """E likelihood(level + theta.beta) over both sides' factors (K = 2) of user 3 and item 4, by a product rule."""
    grids = [
        hermite(float(moment[row, k]), float(sd[row, k]), 16)
        for row, moment, sd in (
            (3, posterior.user_mean, posterior.user_sd),
            (4, posterior.item_mean, posterior.item_sd),
        )
        for k in (0, 1)
    ]
    (t0, w0), (t1, w1), (b0, v0), (b1, v1) = grids
    affinity = (t0[:, None] * b0)[:, None, :, None] + (t1[:, None] * b1)[None, :, None, :]
    weight = w0[:, None, None, None] * w1[None, :, None, None] * v0[None, None, :, None] * v1[None, None, None, :]
    return float((weight * likelihood(affinity + float(posterior.intercept))).sum())


# Densities


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_density_of_a_count_is_a_mixture_of_negative_binomials(runs: dict[str, pr.Run], value: float) -> None:
    """With activity a point w, y | eta ~ NB(a, b / (b + w e^eta)) exactly, z ~ Gamma(a, b) integrated out."""
    fitted = runs["counts"].posterior
    w = torch.linspace(0.4, 1.6, len(fitted.users))
    p = replace(fitted, user_effect=replace(fitted.user_effect, law=dist.Delta(w)))
    assert isinstance(p.popularity, dist.Gamma)
    a, b = float(p.popularity.concentration[4]), float(p.popularity.rate[4])
    exact = probability(p, lambda eta: stats.nbinom.pmf(value, a, b / (b + float(w[3]) * np.exp(eta))))
    found = [float(log_density(p, one_cell(p, value), 400, seed)[0]) for seed in range(8)]
    estimate = np.exp(found)
    assert abs(estimate.mean() - exact) < 4 * estimate.std(ddof=1) / np.sqrt(len(found))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_density_of_a_click_averages_the_logit_over_normal_effects(runs: dict[str, pr.Run], value: float) -> None:
    p = runs["clicks"].posterior
    location = spread = 0.0
    for effect, row in ((p.user_effect, 3), (p.item_effect, 4)):
        scale = float(effect.predictor.popularity_effect)  # type: ignore[attr-defined]
        location += scale * float(effect.law.mean[row])  # type: ignore[union-attr]
        spread += (scale * float(effect.law.stddev[row])) ** 2  # type: ignore[union-attr]
    offset, weight = hermite(location, spread**0.5)
    exact = sum(
        w * probability(p, lambda eta, x=x: special.expit(eta + x)) for x, w in zip(offset, weight, strict=True)
    )
    estimate = np.exp([float(log_density(p, one_cell(p, value), 400, seed)[0]) for seed in range(8)])
    wanted = exact if value else 1 - exact
    assert abs(estimate.mean() - wanted) < 4 * estimate.std(ddof=1) / np.sqrt(len(estimate))


def test_density_of_a_rating_is_normal_where_only_the_noise_is_uncertain(runs: dict[str, pr.Run]) -> None:
    p = runs["ratings"].posterior
    sure = replace(
        p, user_sd=0 * p.user_sd, item_sd=0 * p.item_sd,
        user_effect=replace(p.user_effect, law=dist.Delta(p.user_effect.law.mean)),  # type: ignore[union-attr]
        item_effect=replace(p.item_effect, law=dist.Delta(p.item_effect.law.mean)),  # type: ignore[union-attr]
    )  # fmt: skip
    pair = pd.DataFrame({"user_id": [p.users[3]], "item_id": [p.items[4]]})
    mean = replace(runs["ratings"], posterior=sure).score(pair)["mean"][0]
    found = log_density(sure, one_cell(p, 2.5), 3)
    np.testing.assert_allclose(found, stats.norm.logpdf(2.5, mean, float(p.response.sd)), rtol=1e-5)  # type: ignore[attr-defined]


# Sums, differences and their errors


def by_hand(runs: dict[str, pr.Run], held_out: Interactions) -> pd.DataFrame:
    """Log density of every held-out cell by run, with its user."""
    frame = {}
    for name, run in runs.items():
        user, item = held_out.recode(run.posterior.users, run.posterior.items)
        cells = replace(held_out, users=run.posterior.users, items=run.posterior.items, user=user, item=item)
        frame[name] = log_density(run.posterior, cells)
    return pd.DataFrame(frame).assign(user=held_out.user)


def test_sums_and_errors_are_those_of_pandas(runs: dict[str, pr.Run]) -> None:
    """Clicks with zeros: every held-out cell is judged once, users are the unit of every error but one."""
    worse = replace(runs["clicks"], posterior=replace(runs["clicks"].posterior, intercept=torch.tensor(-6.0)))
    both = {"worse": worse, "clicks": runs["clicks"]}
    held_out = WORLD.test.select(~np.isin(np.arange(len(WORLD.test)), indices(runs["clicks"].log)))
    found, cells = pr.compare(both, held_out), by_hand(both, held_out)
    assert list(found.index) == ["clicks", "worse"]
    assert (found["cells"] == len(held_out)).all()
    users = cells.groupby("user").sum()
    apart = users["worse"] - users["clicks"]
    for name in both:
        np.testing.assert_allclose(found.loc[name, "elpd"], cells[name].sum())
        np.testing.assert_allclose(found.loc[name, "elpd_se"], users[name].std() * len(users) ** 0.5)
        np.testing.assert_allclose(found.loc[name, "per_cell"], cells[name].mean())
    np.testing.assert_allclose(found.loc["worse", "difference"], apart.sum())
    np.testing.assert_allclose(found.loc["worse", "difference_se"], apart.std() * len(users) ** 0.5)
    single = cells["worse"] - cells["clicks"]
    np.testing.assert_allclose(found.loc["worse", "difference_se_cells"], single.std() * len(cells) ** 0.5)
    assert found.loc["clicks", "difference"] == found.loc["clicks", "difference_se"] == 0
    assert found.loc["worse", "difference"] < -2 * found.loc["worse", "difference_se"]


def indices(log: Interactions) -> np.ndarray:
    """Numbers of the cells of the world's test part whose pair a log holds."""
    pairs = log.user * log.n_items + log.item
    return np.flatnonzero(np.isin(WORLD.test.user * WORLD.test.n_items + WORLD.test.item, pairs))


def test_absent_cells_are_judged_as_zeros(runs: dict[str, pr.Run]) -> None:
    """Thirty items are fewer than a hundred, so every absent pair stands for itself."""
    pair = {name: runs[name] for name in ("counts", "plain")}
    found = pr.compare(pair, TEST)
    users = len(np.unique(TEST.user))
    assert found["cells"].iloc[0] == users * TEST.n_items - TRAIN.user_counts[np.unique(TEST.user)].sum()
    assert "absent pairs" in found.attrs["notes"][0]
    dense = np.zeros(TEST.shape)
    dense[TEST.user, TEST.item] = TEST.value
    open_ = np.ones(TEST.shape, bool)
    open_[TRAIN.user, TRAIN.item] = False
    open_[np.setdiff1d(np.arange(TEST.n_users), TEST.user)] = False
    user, item = np.nonzero(open_)
    bare = replace(TEST, timestamp=None, exposure=None, user_features=None, item_features=None)
    every = replace(bare, user=user, item=item, value=dense[user, item], trials=np.ones(len(user)))
    cells = by_hand(pair, every)
    for name in pair:
        np.testing.assert_allclose(found.loc[name, "elpd"], cells[name].sum())


def test_drawn_zeros_stand_for_all(runs: dict[str, pr.Run], monkeypatch: pytest.MonkeyPatch) -> None:
    pair = {name: runs[name] for name in ("counts", "plain")}
    whole = pr.compare(pair, TEST)
    monkeypatch.setattr(judged_cells, "ZEROS_PER_USER", 8)
    few = [pr.compare(pair, TEST, seed=seed, draws=50) for seed in range(6)]
    assert all(np.allclose(table["cells"], whole["cells"]) for table in few)
    elpd = np.array([table.loc["counts", "elpd"] for table in few])
    assert abs(elpd.mean() - whole.loc["counts", "elpd"]) < 4 * elpd.std(ddof=1) / np.sqrt(len(elpd))
    assert elpd.std() > 0


def test_cells_that_a_run_was_trained_on_or_does_not_know_are_left_out(runs: dict[str, pr.Run]) -> None:
    """Judged on all of the log, of which the run's own cells and a stranger's fall away."""
    strange = pr.read_interactions(
        pd.concat([WORLD.test.to_frame(), pd.DataFrame({"user_id": ["x"], "item_id": ["i001"], "value": [1.0]})])[
            ["user_id", "item_id", "value"]
        ]
    )
    found = pr.compare({"clicks": runs["clicks"]}, strange)
    assert found.loc["clicks", "cells"] == len(WORLD.test) - len(runs["clicks"].log)
    notes = found.attrs["notes"]
    assert notes[0].startswith("1 of")
    assert notes[1].startswith(f"{len(runs['clicks'].log)} of")
    with pytest.raises(pr.InputError, match="No held-out cell"):
        pr.compare({"clicks": runs["clicks"]}, runs["clicks"].log)


def test_a_model_that_knows_more_wins(runs: dict[str, pr.Run]) -> None:
    """Items' posteriors dealt out at random predict worse, by more than two standard errors."""
    run = runs["binarised"]
    p = run.posterior
    order = torch.randperm(len(p.items), generator=torch.Generator().manual_seed(0))
    law = dist.Gamma(p.popularity.concentration[order], p.popularity.rate[order])  # type: ignore[union-attr]
    dealt = replace(p, item_mean=p.item_mean[order], item_effect=replace(p.item_effect, law=law))
    found = pr.compare({"dealt": replace(run, posterior=dealt), "fitted": run}, TEST, at=5)
    assert found.index[0] == "fitted"
    assert found.loc["dealt", "difference"] < -2 * found.loc["dealt", "difference_se"]
    assert found.loc["dealt", "ndcg@5_difference"] < 0


def test_rankings_are_those_of_evaluate(runs: dict[str, pr.Run]) -> None:
    pair = {name: runs[name] for name in ("counts", "plain")}
    found = pr.compare(pair, TEST, at=(5, 10))
    for name, run in pair.items():
        judged = pr.evaluate(run, TEST, at=(5, 10), baselines=())
        np.testing.assert_allclose(found.loc[name, "ndcg@5"], judged.loc["observe", "ndcg@5"])
        np.testing.assert_allclose(found.loc[name, "ndcg@10"], judged.loc["observe", "ndcg@10"])
    best, other = found.index
    gap = found.loc[other, "ndcg@10"] - found.loc[best, "ndcg@10"]
    np.testing.assert_allclose(found.loc[other, "ndcg@10_difference"], gap)
    assert found.loc[best, "ndcg@10_difference_se"] == 0 < found.loc[other, "ndcg@10_difference_se"]


# Refusals


@pytest.mark.parametrize(("first", "second"), [("counts", "clicks"), ("counts", "binarised"), ("ratings", "counts")])
def test_outcomes_on_other_scales_are_refused(runs: dict[str, pr.Run], first: str, second: str) -> None:
    with pytest.raises(pr.InputError, match="densities of different events"):
        pr.compare({first: runs[first], second: runs[second]}, TEST)


def test_values_seen_in_two_ways_are_refused(runs: dict[str, pr.Run]) -> None:
    clicked = replace(runs["clicks"], spec=replace(runs["clicks"].spec, binarise=True))
    twice = WORLD.test.select(~np.isin(np.arange(len(WORLD.test)), indices(runs["clicks"].log)))
    twice = replace(twice, trials=twice.trials * 2, exposure=None)
    with pytest.raises(pr.InputError, match="different events"):
        pr.compare({"a": runs["clicks"], "b": clicked}, twice)
    with pytest.raises(pr.InputError, match="binarise that log"):
        pr.compare({"a": runs["clicks"]}, replace(twice, value=twice.value + 3))
    with pytest.raises(pr.InputError, match="nothing to compare"):
        pr.compare({}, TEST)
