"""Neighbours against brute force in numpy, whatever the size of a chunk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate
from small_popularity import fitted, impressions, tiny_impressions

import pyrorec as pr
from pyrorec.inference import neighbours as module
from pyrorec.simulation import FrailtyWorld

WORLD = FrailtyWorld(users=30, items=22, mean_count=0.6).simulate(4)


@pytest.fixture(scope="module")
def run() -> pr.Run:
    short = pr.Training(epochs=4, validation_fraction=0.0)
    spec = pr.BilateralModel(factors=3, hidden=(6,))
    return pr.fit(spec, WORLD.train, training=short, context=pr.Context(progress=False))


def cosines(run: pr.Run, side: str, draws: int, seed: int) -> np.ndarray:
    """Every cosine of every draw, (rows, rows, draws), in double precision."""
    mean, sd = (getattr(run.posterior, f"{side}_{moment}").double().numpy() for moment in ("mean", "sd"))
    noise = np.random.default_rng([seed, int(side == "item")]).standard_normal((len(mean), draws, mean.shape[1]))
    drawn = mean[:, None] + sd[:, None] * noise
    unit = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    return np.einsum("imk,jmk->ijm", unit, unit)


@pytest.mark.parametrize("side", ["item", "user"])
@pytest.mark.parametrize("cells", [4_000_000, 50])
def test_neighbours_are_those_of_brute_force(
    run: pr.Run, side: str, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_CELLS", cells)
    found = pr.neighbours(run, side, k=4, draws=40, seed=3)
    every, known = cosines(run, side, 40, 3), getattr(run.posterior, f"{side}s")
    assert list(found.columns) == ["id", "neighbour", "rank", "similarity", "sd", "lower", "upper"]
    assert list(found["id"].unique()) == list(known)
    for code, row in enumerate(every):
        mean = row.mean(-1)
        mean[code] = -np.inf
        best = np.argsort(-mean)[:4]
        mine = found[found["id"] == known[code]]
        assert list(mine["neighbour"]) == list(known[best])
        assert list(mine["rank"]) == [1, 2, 3, 4]
        np.testing.assert_allclose(mine["similarity"], mean[best], atol=1e-5)
        np.testing.assert_allclose(mine["sd"], row[best].std(-1), atol=1e-5)
        np.testing.assert_allclose(mine["lower"], np.quantile(row[best], 0.05, axis=-1), atol=1e-5)
        np.testing.assert_allclose(mine["upper"], np.quantile(row[best], 0.95, axis=-1), atol=1e-5)


def test_the_mean_cosine_is_that_of_the_posterior(run: pr.Run) -> None:
    """Against quadrature: one coordinate is certain in both rows, the other uncertain in one of them."""
    a, b, s = 0.8, 0.3, 0.6
    rows = len(run.log.items)
    mean, sd = torch.zeros(rows, 2), torch.zeros(rows, 2)
    mean[0], mean[1], sd[1, 1] = torch.tensor([1.0, 0.0]), torch.tensor([a, b]), s
    mean[2:, 0] = -1.0
    posterior = replace(run.posterior, item_mean=mean, item_sd=sd)
    found = pr.neighbours(replace(run, posterior=posterior), ids=[run.log.items[0]], k=1, draws=20_000).iloc[0]

    def cosine(e: float) -> float:
        return a / np.hypot(a, b + s * e) * np.exp(-0.5 * e**2) / np.sqrt(2 * np.pi)

    exact = integrate.quad(cosine, -12, 12)[0]
    assert found["neighbour"] == run.log.items[1]
    assert abs(found["similarity"] - exact) < 4 * found["sd"] / 20_000**0.5


def test_asked_ids_alone_have_the_rows_that_all_ids_give(run: pr.Run) -> None:
    some = [run.log.items[7], run.log.items[2]]
    every, asked = pr.neighbours(run, k=3), pr.neighbours(run, ids=some, k=3)
    wanted = pd.concat([every[every["id"] == one] for one in some], ignore_index=True)
    pd.testing.assert_frame_equal(asked, wanted, atol=1e-6)
    n = len(run.log.items)
    assert len(pr.neighbours(run, k=99)) == n * (n - 1)
    assert not pr.neighbours(run, k=3, seed=1)["similarity"].equals(every["similarity"])


def test_rows_folded_in_leave_the_draws_of_others(run: pr.Run) -> None:
    """A copy of an item is its nearest neighbour or close to it, and similarities of the others do not move."""
    frame = WORLD.train.to_frame()
    copy = frame[frame["item_id"] == run.log.items[3]].assign(item_id="copy")[["user_id", "item_id", "value"]]
    larger = pr.fold_in(run, pr.read_interactions(copy, duplicates=run.log.rule, to_fit=False))
    before, after = pr.neighbours(run, k=50), pr.neighbours(larger, k=50)
    kept = after[(after["id"] != "copy") & (after["neighbour"] != "copy")]
    keys = ["id", "neighbour"]
    np.testing.assert_allclose(kept.sort_values(keys)["similarity"], before.sort_values(keys)["similarity"], atol=1e-5)


def test_the_popularity_models_offsets_are_no_taste() -> None:
    spec = pr.PopularityModel(affinity=pr.FactorisationMachine(factors=2))
    run = fitted(spec, impressions())
    moved = replace(run.posterior, item_mean=run.posterior.item_mean + torch.tensor([0.0, 0.0, 0.0, 9.0]))
    pd.testing.assert_frame_equal(pr.neighbours(run, k=3), pr.neighbours(replace(run, posterior=moved), k=3))
    with pytest.raises(pr.InputError, match="no factors"):
        pr.neighbours(fitted(pr.PopularityModel(affinity=pr.Linear()), tiny_impressions()))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"k": 0}, "at least one"),
        ({"draws": 0}, "at least one"),
        ({"side": "shop"}, "no side 'shop'"),
        ({"ids": ["nothing"]}, "'nothing'"),
        ({"ids": "i001"}, "as a list"),
        ({"ids": []}, "empty"),
    ],
)
def test_what_cannot_be_answered_is_refused(run: pr.Run, asked: dict, words: str) -> None:
    with pytest.raises(pr.InputError, match=words):
        pr.neighbours(run, **asked)
