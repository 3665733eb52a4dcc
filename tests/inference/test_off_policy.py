"""`off_policy` on logs of a world whose truth is known: its arrays, its estimates and its refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import pyrorec as pr
from pyrorec.evaluation import Decisions, doubly_robust, ips, snips
from pyrorec.inference.off_policy import fitted_to
from pyrorec.inference.reward_model import rewards_of
from pyrorec.simulation import FrailtyWorld, interval_coverage, logged_impressions, policy_value, popularity_policy

TRUTH = FrailtyWorld(
    users=60, items=20, popularity_shape=2, popularity_in_outcome=0.5, random_rate=0.5, features=False
).simulate(3).truth  # fmt: skip
SHOWN = popularity_policy(TRUTH, 0.8, taste=0.3)
"""Popularity and taste decide who sees what, and both decide what is clicked."""


@pytest.fixture(scope="module")
def run() -> pr.Run:
    train = logged_impressions(TRUTH, SHOWN, 6_000, seed=100)
    model = pr.PopularityModel(affinity=pr.FactorisationMachine(factors=4))
    training = pr.Training(objective=pr.Expected(), epochs=8, learning_rate=0.03, validation_fraction=0)
    return pr.fit(model, train, training=training, context=pr.Context(progress=False))


@pytest.fixture(scope="module")
def log() -> pr.Interactions:
    return logged_impressions(TRUTH, SHOWN, 3_000, seed=0)


def test_the_table_is_the_array_functions_on_dense_arrays(
    run: pr.Run, log: pr.Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users in several chunks, candidates a part of the catalogue in another order."""
    monkeypatch.setattr("pyrorec.inference.off_policy.CHUNK_CELLS", 100)
    candidates = TRUTH.items[[5, 1, 17, 8, 2]]
    target = pr.policy(run, pr.Softmax(0.1), intervention=pr.Deconfound(), items=candidates)
    table = pr.off_policy(target, log, by_user=False)
    chances = target.probabilities(TRUTH.users)
    pairs = pd.MultiIndex.from_product([TRUTH.users, candidates], names=["user_id", "item_id"]).to_frame(index=False)
    rewards = run.score(pairs)["mean"].to_numpy().reshape(chances.shape)
    every = np.zeros((2, *SHOWN.shape))
    every[:, :, [5, 1, 17, 8, 2]] = chances, rewards
    decisions = Decisions(log.value, log.propensity, every[0][log.user, log.item])
    expected = (chances * rewards).sum(axis=1)[log.user]
    dense = [ips(decisions), snips(decisions), doubly_robust(decisions, every[1][log.user, log.item], expected)]
    assert list(table.index) == ["ips", "snips", "dr"]
    assert table["value"].to_list() == pytest.approx([estimate.value for estimate in dense], rel=1e-5)
    assert table["se"].to_list() == pytest.approx([estimate.se for estimate in dense], rel=1e-5)
    assert table["effective"].iloc[0] == pytest.approx(dense[0].overlap.effective)
    assert (table["unshown"] == 0).all()


def test_users_are_the_units_unless_records_are(run: pr.Run, log: pr.Interactions) -> None:
    target = pr.policy(run, pr.EpsilonGreedy(0.5))
    by_user, by_record = pr.off_policy(target, log), pr.off_policy(target, log, by_user=False)
    pd.testing.assert_series_equal(by_user["value"], by_record["value"])
    again = np.r_[np.arange(len(log)), np.arange(len(log))]
    twice = pr.off_policy(target, log.select(again)), pr.off_policy(target, log.select(again), by_user=False)
    assert twice[0]["se"].to_list() == pytest.approx(by_user["se"].to_list())
    assert (twice[1]["se"] < 0.75 * by_record["se"]).all()


@pytest.fixture(scope="module")
def replicates(run: pr.Run) -> tuple[float, dict[str, pd.DataFrame], list[float]]:
    """The true value of a policy that leans against popularity, its estimates from many logs, and the naive ones."""
    target = pr.policy(run, pr.EpsilonGreedy(0.4), intervention=pr.Deconfound())
    chances = target.probabilities(TRUTH.users)
    tables, naive = [], []
    for seed in range(150):
        log = logged_impressions(TRUTH, SHOWN, 3_000, seed)
        tables.append(pr.off_policy(target, log, by_user=False))
        liked = chances[log.user, log.item]
        naive.append(float(log.value @ liked / liked.sum()))
    found = {name: pd.DataFrame([table.loc[name] for table in tables]) for name in ("ips", "snips", "dr")}
    return policy_value(TRUTH, chances), found, naive


def test_the_true_value_is_found_where_popularity_confounds(
    replicates: tuple[float, dict[str, pd.DataFrame], list[float]],
) -> None:
    truth, found, naive = replicates
    for name in ("ips", "dr"):
        values = found[name]["value"].to_numpy(float)
        assert abs(values.mean() - truth) < 3 * values.std(ddof=1) / len(values) ** 0.5, name
    assert found["snips"]["value"].mean() == pytest.approx(truth, abs=0.01)
    naive_error = np.mean(naive) - truth
    assert abs(naive_error) > 10 * np.std(naive) / len(naive) ** 0.5, "records are not what the policy would show"
    for name, table in found.items():
        bounds = (table[column].to_numpy(float) for column in ("lower", "upper"))
        assert 0.90 <= interval_coverage(*bounds, np.full(len(table), truth))[0] <= 0.99, name


def test_the_runs_own_rewards_lower_the_variance(
    replicates: tuple[float, dict[str, pd.DataFrame], list[float]],
) -> None:
    _, found, _ = replicates
    spread = {name: table["value"].std() for name, table in found.items()}
    assert spread["dr"] < 0.9 * spread["ips"]
    assert found["dr"]["se"].mean() == pytest.approx(spread["dr"], rel=0.15)


def test_cross_fitting_predicts_no_record_by_a_fit_that_saw_it(log: pr.Interactions) -> None:
    seen: list[np.ndarray] = []

    class Watched(pr.CrossFit):
        def _fitted(self, rest: pr.Interactions, log: pr.Interactions):  # type: ignore[no-untyped-def]
            seen.append(np.asarray(rest.timestamp))
            return lambda users, items: np.zeros((len(users), len(items)))

    numbered = replace(log, timestamp=np.arange(len(log)))
    parts = Watched(pr.PopularityModel(), folds=3).parts(numbered)
    assert sorted(np.concatenate([part.records for part in parts])) == list(range(len(log)))
    for part, fitted in zip(parts, seen, strict=True):
        assert not set(part.records) & set(fitted)
        assert len(part.records) + len(fitted) == len(log)


def test_cross_fitting_gives_a_row_of_its_own_to_a_policy_without_a_run(log: pr.Interactions) -> None:
    uniform = pr.uniform_policy(TRUTH.items)
    training = pr.Training(objective=pr.Expected(), epochs=4, learning_rate=0.03, validation_fraction=0)
    crossed = pr.off_policy(uniform, log, model=pr.CrossFit(pr.PopularityModel(), 2, training))
    bare = pr.off_policy(uniform, log)
    assert list(bare.index) == ["ips", "snips"]
    assert list(crossed.index) == ["ips", "snips", "dr"]
    assert crossed.loc["dr", "value"] == pytest.approx(
        policy_value(TRUTH, uniform.probabilities(TRUTH.users)), abs=3 * crossed.loc["dr", "se"]
    )


def test_a_run_stands_for_its_greedy_policy(run: pr.Run, log: pr.Interactions) -> None:
    pd.testing.assert_frame_equal(
        pr.off_policy(run, log), pr.off_policy(pr.policy(run, pr.EpsilonGreedy(0)), log, model=run)
    )


def test_notes_name_what_to_doubt(run: pr.Run, log: pr.Interactions) -> None:
    notes = pr.off_policy(pr.policy(run, pr.EpsilonGreedy(0.3)), log).attrs["notes"]
    assert notes[0].startswith(f"The log's own policy earned {log.value.mean():.4g}")
    assert not any("judged by what it learnt" in note for note in notes)
    undated = pr.off_policy(run, replace(log, timestamp=None)).attrs["notes"]
    assert any("judged by what it learnt" in note for note in undated)
    rare = replace(log, value=np.where(np.arange(len(log)) < 60, log.value, 0.0))
    assert any("effective rewards" in note for note in pr.off_policy(run, rare).attrs["notes"])
    stranger = replace(log, users=pd.Index([f"new{n}" for n in range(log.n_users)]))
    notes = pr.off_policy(run, stranger).attrs["notes"]
    assert any("users are unknown" in note for note in notes)
    assert not any("judged by what it learnt" in note for note in notes)


def test_a_dated_log_is_recognised_by_its_times(run: pr.Run, log: pr.Interactions) -> None:
    dated = replace(run, log=replace(run.log, timestamp=np.arange(len(run.log))))
    later = replace(log, timestamp=np.arange(len(log)) + 1_000_000)
    assert not fitted_to(dated, later).any()
    assert fitted_to(dated, dated.log).all()


def test_a_log_without_propensities_or_with_merged_records_is_refused(run: pr.Run, log: pr.Interactions) -> None:
    with pytest.raises(pr.InputError, match=r"no propensities.*1 / items"):
        pr.off_policy(run, replace(log, propensity=None))
    frame = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 1, 2], "value": [0, 1, 1], "propensity": 0.5})
    with pytest.raises(pr.InputError, match=r"merged.*Apart"):
        pr.off_policy(run, pr.read_interactions(frame))


def test_items_that_were_never_shown_are_refused_and_can_be_vouched_for(run: pr.Run, log: pr.Interactions) -> None:
    never = int(np.argmax(log.item_counts))
    without = log.select(log.item != never)
    uniform = pr.uniform_policy(TRUTH.items)
    with pytest.raises(pr.NoOverlap, match=r"5\.0%.*could not show"):
        pr.off_policy(uniform, without)
    table = pr.off_policy(uniform, without, could_show=TRUTH.items, limits=pr.Limits(departure=np.inf))
    assert (table["unshown"] == 0).all()
    assert pr.off_policy(pr.uniform_policy(TRUTH.items.delete(never)), log).loc["ips", "unshown"] == 0


def test_a_logging_policy_that_hides_items_from_some_users_is_found_out() -> None:
    """Every item is shown to somebody, but no user sees the other half of the catalogue."""
    halves = np.zeros(SHOWN.shape)
    halves[::2, ::2] = halves[1::2, 1::2] = 1
    log = logged_impressions(TRUTH, halves / halves.sum(axis=1, keepdims=True), 3_000, seed=5)
    with pytest.raises(pr.NoOverlap, match=r"Weights average 0\.5"):
        pr.off_policy(pr.uniform_policy(TRUTH.items), log)


def test_a_policy_too_far_from_the_log_is_refused(log: pr.Interactions) -> None:
    rare = TRUTH.items[[int(SHOWN.mean(axis=0).argmin())]]
    with pytest.raises(pr.NoOverlap, match="longer log"):
        pr.off_policy(pr.uniform_policy(rare), log, limits=pr.Limits(effective=500))


def test_counts_and_ratings_are_rewards_too(log: pr.Interactions) -> None:
    """Values of any sign, a model that binarises none of them."""
    rng = np.random.default_rng(0)
    rated = replace(log, value=rng.normal(2 * log.value - 1, 0.5))
    uniform = pr.uniform_policy(TRUTH.items)
    table = pr.off_policy(uniform, rated, interval=pr.Bootstrap(0.9, 200))
    truth = 2 * policy_value(TRUTH, uniform.probabilities(TRUTH.users)) - 1
    assert (table["method"] == "bootstrap").all()
    assert table["value"].to_numpy() == pytest.approx([truth, truth], abs=0.15)


def test_the_reward_is_what_the_model_calls_one(log: pr.Interactions) -> None:
    model = pr.BilateralModel(factors=2, family=pr.Poisson(), binarise=True)
    train = log.with_missing(pr.Unobserved())
    fitted = pr.fit(model, train, training=pr.Training(epochs=2), context=pr.Context(progress=False))
    tripled = replace(log, value=3 * log.value)
    target = pr.policy(fitted, pr.EpsilonGreedy(0.5))
    pd.testing.assert_frame_equal(pr.off_policy(target, tripled), pr.off_policy(target, log))


def test_a_model_of_counts_predicts_clicks_by_the_probability_of_a_count(log: pr.Interactions) -> None:
    """A little below 1 - exp(-rate) of the expected rate, which it would be if nothing were uncertain."""
    model = pr.BilateralModel(factors=2, family=pr.Poisson())
    context = pr.Context(progress=False)
    counts = pr.fit(model, log.with_missing(pr.Zero()), training=pr.Training(epochs=2), context=context)
    users, items = log.users[:5], log.items[:4]
    found = rewards_of(counts, log)(users, items)
    of_counts = rewards_of(counts, replace(log, value=7 * log.value))(users, items)
    pairs = pd.MultiIndex.from_product([users, items], names=["user_id", "item_id"]).to_frame(index=False)
    rate = counts.score(pairs)["mean"].to_numpy().reshape(5, 4)
    np.testing.assert_allclose(of_counts, rate, rtol=1e-5)
    assert (found < 1 - np.exp(-rate)).all(), "Jensen: the mean of a concave function of the rate"
    assert (found > 0.7 * (1 - np.exp(-rate))).all()
