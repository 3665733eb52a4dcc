"""Rows folded into a run: copies of known rows get their posterior, strangers the population's, and no other moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from conftest import Tiny
from small_popularity import fitted, tiny_impressions

import pyrorec as pr
from pyrorec.guides import DeltaGuide
from pyrorec.inference.bilateral_fitting import SETTLED
from pyrorec.inference.cold import extend
from pyrorec.inference.factor_features import strangers_features
from pyrorec.inference.posterior import Posterior
from pyrorec.models.families import Bernoulli, Family
from pyrorec.models.laws import parameters
from pyrorec.models.predictors import Predictor
from pyrorec.simulation import FrailtyWorld

WORLD = FrailtyWorld(users=40, items=25, mean_count=0.6, random_per_user=10).simulate(2)
LOGS = {"counts": WORLD.train, "clicks": WORLD.train, "plain": WORLD.train, "impressions": WORLD.test}
SPECS = {
    "counts": pr.BilateralModel(factors=2, hidden=(6,)),
    "clicks": pr.BilateralModel(factors=2, hidden=(6,), binarise=True),
    "plain": pr.BilateralModel(factors=2, hidden=(6,), predictor=pr.Plain()),
    "impressions": pr.BilateralModel(factors=2, hidden=(6,), family=Bernoulli(), predictor=pr.Additive()),
}
SHORT = pr.Training(epochs=8, validation_fraction=0.0)


@pytest.fixture(scope="module")
def runs() -> dict[str, pr.Run]:
    quiet = pr.Context(progress=False)
    return {name: pr.fit(spec, LOGS[name], training=SHORT, context=quiet) for name, spec in SPECS.items()}


@pytest.fixture(params=SPECS)
def run(runs: dict[str, pr.Run], request: pytest.FixtureRequest) -> pr.Run:
    return runs[request.param]


@pytest.fixture
def counts(runs: dict[str, pr.Run]) -> pr.Run:
    return runs["counts"]


def part(frame: pd.DataFrame, run: pr.Run) -> pr.Interactions:
    """Rows to be folded in, read as the run's own log was."""
    return pr.read_interactions(frame, duplicates=run.log.rule, to_fit=False)


def cells(run: pr.Run) -> pd.DataFrame:
    return run.log.to_frame()[["user_id", "item_id", "value"]]


def copies(run: pr.Run, column: str, ids: pd.Index) -> pd.DataFrame:
    """The rows of some users or items under new names."""
    frame = cells(run)
    frame = frame[frame[column].isin(ids)]
    return frame.assign(**{column: "copy of " + frame[column]})


def effect(posterior: Posterior, side: str, row: slice | list[int]) -> list[torch.Tensor]:
    law = getattr(posterior, f"{side}_effect").law
    return [] if law is None else [parameter[row] for parameter in parameters(law)]


# The guide


@pytest.mark.parametrize("side", ["user", "item"])
@pytest.mark.parametrize("guide", [None, DeltaGuide])
def test_reading_a_sides_own_rows_gives_what_is_kept(
    tiny: Callable[..., Tiny], predictor: Predictor, family: Family, side: str, guide: type | None
) -> None:
    fit = tiny(predictor, family, **({} if guide is None else {"guide": guide}))
    fit.guide.refresh(fit.model, side, fit.rows[side])
    kept = {name: buffer.clone() for name, buffer in fit.guide.posterior[side].named_buffers()}
    some = torch.tensor([4, 1, 1])
    found = fit.guide.read(fit.model, side, fit.rows[side].take(some))
    for name, buffer in found.named_buffers():
        torch.testing.assert_close(buffer, kept[name][some], rtol=1e-10, atol=1e-12)
        assert torch.equal(fit.guide.posterior[side].get_buffer(name), kept[name]), "reading keeps nothing"


# Copies


@pytest.mark.parametrize(("side", "column"), [("user", "user_id"), ("item", "item_id")])
def test_a_copy_of_a_known_row_gets_its_posterior(run: pr.Run, side: str, column: str) -> None:
    """Factors to float tolerance; an integrated effect as nearly as effects had settled when training ended."""
    known = getattr(run.log, f"{side}s")
    found = pr.fold_in(run, part(copies(run, column, known[[7, 3, 12]]), run)).posterior
    new = getattr(found, f"{side}s")[len(known) :]
    assert set(new) == {f"copy of {known[n]}" for n in (7, 3, 12)}
    place = known.get_indexer(new.str.removeprefix("copy of "))
    for moment in ("mean", "sd"):
        mine = getattr(found, f"{side}_{moment}")
        torch.testing.assert_close(mine[len(known) :], mine[place], rtol=1e-5, atol=1e-6)
    for parameter in effect(found, side, slice(None)):
        torch.testing.assert_close(parameter[len(known) :], parameter[place], rtol=2 * SETTLED, atol=1e-5)


def test_the_runs_own_rows_change_nothing(run: pr.Run) -> None:
    found = pr.fold_in(run, run.log)
    same(found.posterior, run.posterior, len(run.log.users), len(run.log.items))
    pd.testing.assert_frame_equal(cells(found), cells(run))


def same(found: Posterior, known: Posterior, users: int, items: int) -> None:
    """The first rows of both sides are those of the run, bit for bit."""
    for side, rows in (("user", users), ("item", items)):
        for moment in ("mean", "sd"):
            assert torch.equal(getattr(found, f"{side}_{moment}")[:rows], getattr(known, f"{side}_{moment}")[:rows])
        for mine, other in zip(effect(found, side, slice(rows)), effect(known, side, slice(rows)), strict=True):
            assert torch.equal(mine, other)
    assert found.level_shift == known.level_shift
    assert torch.equal(found.intercept, known.intercept)


def test_a_changed_row_is_read_anew_and_others_stay(counts: pr.Run) -> None:
    """User 0 takes over the whole row of user 9: cells of 0 that 9 has not are kept, so 9's row has to cover them."""
    frame, users = cells(counts), counts.log.users
    nine = frame[frame["user_id"] == users[9]]
    own = frame[frame["user_id"] == users[0]]
    changed = pd.concat([nine.assign(user_id=users[0]), own[~own["item_id"].isin(nine["item_id"])].assign(value=0)])
    found = pr.fold_in(counts, part(changed, counts)).posterior
    like = pr.fold_in(counts, part(changed.assign(user_id="new"), counts)).posterior
    torch.testing.assert_close(found.user_mean[0], like.user_mean[-1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.activity.mean[0], like.activity.mean[-1])  # type: ignore[union-attr]
    assert not torch.allclose(found.user_mean[0], counts.posterior.user_mean[0], atol=1e-3)
    assert torch.equal(found.user_mean[1:], counts.posterior.user_mean[1:])
    touched = counts.log.items.isin(changed["item_id"])
    moved = (found.item_mean != counts.posterior.item_mean).any(-1).numpy()
    assert moved.any()
    assert not moved[~touched].any()


# New rows


def test_the_frailty_of_a_new_user_is_conjugate(counts: pr.Run) -> None:
    """Gamma(a + n, a + sum_i E z_i E exp(b0 + theta.beta_i)) over the run's items; a new item does not count.

    E exp(theta.beta) is taken to the second cumulant, as in training.
    """
    p = counts.posterior
    new = pd.DataFrame({"user_id": "new", "item_id": [*p.items[:3], "novelty"], "value": [2, 1, 4, 50]})
    found = pr.fold_in(counts, part(new, counts)).posterior
    a, s, b, t = (x.double().numpy() for x in (found.user_mean[-1], found.user_sd[-1], p.item_mean, p.item_sd))
    expected = np.exp((a * b + (a**2 * t**2 + b**2 * s**2 + s**2 * t**2) / 2).sum(-1))
    assert isinstance(p.popularity, dist.Gamma)
    mass = (p.popularity.mean.double().numpy() * expected).sum() * np.exp(float(p.intercept))
    shape = float(p.user_effect.population.concentration)  # type: ignore[union-attr]
    np.testing.assert_allclose(effect(found, "user", [-1])[0], [shape + 7], rtol=1e-5)
    np.testing.assert_allclose(effect(found, "user", [-1])[1], [shape + mass], rtol=1e-4)


def test_one_after_the_other_is_all_at_once(counts: pr.Run) -> None:
    known = counts.log
    frames = [copies(counts, "user_id", known.users[[n]]) for n in (1, 2)]
    together = pr.fold_in(counts, part(pd.concat(frames), counts))
    apart = pr.fold_in(pr.fold_in(counts, part(frames[0], counts)), part(frames[1], counts))
    torch.testing.assert_close(together.posterior.user_mean, apart.posterior.user_mean)
    torch.testing.assert_close(effect(together.posterior, "user", [-1, -2]), effect(apart.posterior, "user", [-1, -2]))
    assert list(together.posterior.users) == list(apart.posterior.users)
    pd.testing.assert_frame_equal(cells(together), cells(apart))


def test_new_users_and_new_items_do_not_read_each_other(counts: pr.Run) -> None:
    """Their cells are seen, and neither side nor a known row moves by them."""
    known = counts.log
    users, items = copies(counts, "user_id", known.users[[1, 2]]), copies(counts, "item_id", known.items[[5]])
    both = pd.DataFrame({"user_id": users["user_id"].unique(), "item_id": items["item_id"].iloc[0], "value": 3})
    without = pr.fold_in(counts, part(pd.concat([users, items]), counts))
    with_them = pr.fold_in(counts, part(pd.concat([users, items, both]), counts))
    same(with_them.posterior, without.posterior, len(known.users) + 2, len(known.items) + 1)
    same(with_them.posterior, counts.posterior, len(known.users), len(known.items))
    assert len(with_them.log) == len(without.log) + 2


def test_a_second_fold_in_does_not_read_columns_of_the_first(counts: pr.Run) -> None:
    """An encoder has no weights for an item folded in, so the factors are as if the user had not had it."""
    item = copies(counts, "item_id", counts.log.items[[5]])
    larger = pr.fold_in(counts, part(item, counts))
    row = pd.DataFrame({"user_id": "new", "item_id": [*counts.log.items[:2]], "value": [1, 2]})
    more = pd.concat([row, pd.DataFrame({"user_id": ["new"], "item_id": item["item_id"].iloc[:1], "value": [9]})])
    without, with_it = (pr.fold_in(larger, part(frame, counts)).posterior for frame in (row, more))
    assert torch.equal(without.user_mean[-1], with_it.user_mean[-1])
    assert with_it.activity.mean[-1] > without.activity.mean[-1]  # type: ignore[union-attr]


def test_rows_without_a_known_column_are_strangers(counts: pr.Run, caplog: pytest.LogCaptureFixture) -> None:
    new = pd.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "value": [1, 2, 3]})
    with caplog.at_level("INFO", logger="pyrorec"):
        found = pr.fold_in(counts, part(new, counts)).posterior
    assert "3 cells of these users are with rows that the encoder was not trained with" in caplog.text
    features = strangers_features(counts, "user"), strangers_features(counts, "item")
    expected = extend(counts.posterior, pd.Index(["a", "b"]), pd.Index(["x", "y"]), *features)
    for name in ("user_mean", "user_sd", "item_mean", "item_sd"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    torch.testing.assert_close(found.popularity.mean, expected.popularity.mean)  # type: ignore[union-attr]
    assert found.appended_items == 0


def test_features_that_come_with_a_new_row_serve_it(counts: pr.Run) -> None:
    table = counts.log.item_features
    assert table is not None
    twin = table.loc[[counts.log.items[4]]].set_axis(pd.Index(["twin"], name="item_id"))
    new = replace(part(pd.DataFrame({"user_id": ["a"], "item_id": ["twin"]}), counts), item_features=twin)
    found = pr.fold_in(counts, new)
    listed = replace(counts, log=replace(counts.log, item_features=pd.concat([table, twin])))
    expected = extend(counts.posterior, pd.Index([]), pd.Index(["twin"]), None, strangers_features(listed, "item"))
    torch.testing.assert_close(found.posterior.item_mean[-1], expected.item_mean[-1])
    plain = extend(counts.posterior, pd.Index([]), pd.Index(["twin"]))
    assert not torch.allclose(expected.item_mean[-1], plain.item_mean[-1], atol=1e-4)


# What the new run answers


def test_the_new_run_answers_every_question(run: pr.Run) -> None:
    known = run.log.users
    got = pr.fold_in(run, part(copies(run, "user_id", known[[7]]), run))
    mine, other = (got.recommend(users=[u], k=5) for u in (f"copy of {known[7]}", known[7]))
    assert list(mine["item_id"]) == list(other["item_id"]), "what the copy has seen is left out"
    np.testing.assert_allclose(mine[["score", "lower", "upper"]], other[["score", "lower", "upper"]], rtol=5e-3)
    assert not mine.attrs["notes"], "the user is no stranger"
    scored = got.score(pd.DataFrame({"user_id": [f"copy of {known[7]}"], "item_id": [run.log.items[0]]}))
    assert np.isfinite(scored[["mean", "sd"]]).all(axis=None)
    assert np.isfinite(pr.evaluate(got, LOGS["impressions"], at=5, baselines=()).loc["observe", "ndcg@5"])


def test_the_new_run_is_saved_and_comes_back(counts: pr.Run, tmp_path: Path) -> None:
    new = pd.concat([copies(counts, "user_id", counts.log.users[:1]), copies(counts, "item_id", counts.log.items[:1])])
    found = pr.fold_in(counts, part(new, counts))
    found.save(tmp_path / "run")
    loaded = pr.load(tmp_path / "run")
    same(loaded.posterior, found.posterior, len(found.log.users), len(found.log.items))
    assert list(loaded.posterior.users) == list(found.posterior.users)
    row = part(pd.DataFrame({"user_id": "new", "item_id": [*counts.log.items[:2]], "value": [1, 2]}), counts)
    again, then = (pr.fold_in(some, row).posterior for some in (loaded, found))
    assert torch.equal(again.user_mean, then.user_mean)


def test_the_popularity_model_has_to_be_fitted_again() -> None:
    spec = pr.PopularityModel(affinity=pr.Linear())
    with pytest.raises(pr.InputError, match="pyrorec fit"):
        pr.fold_in(fitted(spec, tiny_impressions()), tiny_impressions())


def test_values_of_another_kind_are_refused(runs: dict[str, pr.Run]) -> None:
    run = runs["impressions"]
    four = pd.DataFrame({"user_id": ["a"], "item_id": [run.log.items[0]], "value": [4]})
    with pytest.raises(pr.InputError, match="clicks"):
        pr.fold_in(run, part(four, runs["plain"]))
