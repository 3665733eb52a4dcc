"""`evaluate` against examples worked out by hand, and against plain formulas on a simulated world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from scipy import special

import pyrorec as pr
from pyrorec.inference.posterior import Posterior
from pyrorec.simulation import FrailtyWorld
from pyrorec.simulation.world import Simulated

QUIET = pr.Context(progress=False)
ITEMS = pd.Index(list("abcdef"))
USERS = pd.Index(["u1", "u2", "u3", "u4"])
LOG3 = float(np.log2(3))
CALIBRATION = ["log_loss", "shifted_log_loss", "brier", "auc", "within_user_auc", "expected_calibration_error"]


def cells(pairs: str, values: list[float] | None = None, **columns: object) -> pr.Interactions:
    """A log of pairs such as "u1a u2b", all of the hand world's ids known; values are 7 unless given."""
    user, item = USERS.get_indexer([p[:2] for p in pairs.split()]), ITEMS.get_indexer([p[2] for p in pairs.split()])
    value = np.full(len(user), 7.0) if values is None else np.array(values)
    trials = np.ones(len(user))
    return pr.Interactions(users=USERS, items=ITEMS, user=user, item=item, value=value, trials=trials, **columns)


def by_score(posterior: Posterior, scores: list[float]) -> Posterior:
    """The posterior under which every user ranks the items by the same scores."""
    loadings = torch.tensor(scores)[:, None]
    return replace(
        posterior,
        user_mean=torch.ones(len(posterior.users), 1),
        item_mean=loadings,
        item_effect=replace(posterior.item_effect, law=dist.Gamma(torch.ones(len(scores)), torch.ones(len(scores)))),
    )


@pytest.fixture(scope="module")
def hand() -> pr.Run:
    """Users rank f > a > b > c > d > e; nobody had f, and u3 had nothing."""
    train = cells("u1a u2b u4c u4d u4e")
    fitted = pr.fit(pr.BilateralModel(factors=1, hidden=(2,)), train, training=pr.Training(epochs=1), context=QUIET)
    return replace(fitted, posterior=by_score(fitted.posterior, [0.5, 0.4, 0.3, 0.2, 0.1, 0.6]))


@pytest.fixture(scope="module")
def world() -> Simulated:
    return FrailtyWorld(users=60, items=30, mean_count=0.5, random_per_user=10).simulate(3)


@pytest.fixture(scope="module")
def run(world: Simulated) -> pr.Run:
    spec, short = pr.BilateralModel(factors=3, hidden=(8,)), pr.Training(epochs=10, finish_epochs=3)
    return pr.fit(spec, world.train, training=short, context=QUIET)


def ndcg(scores: np.ndarray, seen: np.ndarray, relevant: np.ndarray, k: int) -> float:
    """Mean NDCG@k over users with a seen and a relevant item; candidates are unseen items that anybody had."""
    found = []
    for row, had, wanted in zip(scores, seen, relevant, strict=True):
        if not had.any() or not wanted.any():
            continue
        candidates = [i for i in range(len(row)) if not had[i] and seen[:, i].any()]
        best = sorted(candidates, key=lambda i: (-row[i], i))[:k]
        gain = sum(1 / np.log2(place + 2) for place, i in enumerate(best) if wanted[i])
        found.append(gain / sum(1 / np.log2(place + 2) for place in range(min(k, int(wanted.sum())))))
    return float(np.mean(found))


def dense(log: pr.Interactions, positive: bool = False) -> np.ndarray:
    pattern = np.zeros(log.shape, bool)
    pattern[log.user, log.item] = log.value > 0 if positive else True
    return pattern


def observed(run: pr.Run, test: pr.Interactions, **options: object) -> pd.Series:
    """The row of the run under Observe alone."""
    table = pr.evaluate(run, test, interventions={"observe": pr.Observe()}, baselines=(), **options)  # type: ignore[arg-type]
    assert list(table.index) == ["observe"]
    return table.loc["observe"]


def test_ranking_metrics_of_an_example_by_hand(hand: pr.Run) -> None:
    """Lists of three: u1 b c d, u2 a c d, u4 a b; u3 has no row in train, f none at all, u4's b is a zero.

    u1 wants b and f, which cannot be recommended and counts; u2 wants c and e; u4 wants a.
    """
    row = observed(hand, cells("u1b u1f u2c u2e u3a u4a u4b", [1, 1, 1, 1, 1, 1, 0]), at=(3,))
    best_of_two = 1 + 1 / LOG3
    assert row["ndcg@3"] == pytest.approx((1 / best_of_two + 1 / LOG3 / best_of_two + 1) / 3)
    assert row["recall@3"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert row["map@3"] == pytest.approx((1 / 2 + 1 / 2 / 2 + 1) / 3)
    assert row["precision@3"] == pytest.approx(1 / 3)
    assert row["mrr@3"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert row["item_coverage@3"] == pytest.approx(4 / 6)
    assert row["arp@3"] == 1.0


def test_an_item_never_seen_in_train_counts_in_the_ideal(hand: pr.Run) -> None:
    with_, without = observed(hand, cells("u1b u1f"), at=(3,)), observed(hand, cells("u1b"), at=(3,))
    assert without["ndcg@3"] == 1.0
    assert with_["ndcg@3"] == pytest.approx(1 / (1 + 1 / LOG3))
    assert (without["recall@3"], with_["recall@3"]) == (1.0, 0.5)


def test_a_pair_of_the_runs_own_log_counts_as_missed_and_is_noted(hand: pr.Run) -> None:
    test = cells("u1a u1b u2c")
    row = observed(hand, test, at=(1,))
    assert row["recall@1"] == pytest.approx((1 / 2 + 0) / 2)
    notes = pr.evaluate(hand, test, at=1, baselines=()).attrs["notes"]
    assert any(note.startswith("1 of 3 test cells are in the run's own log") for note in notes)
    assert not any("own log" in note for note in pr.evaluate(hand, cells("u1b"), at=1, baselines=()).attrs["notes"])


def test_an_explicit_zero_of_train_is_seen_and_no_positive(hand: pr.Run) -> None:
    """u1 was shown b in vain: b is not offered to u1 again, and does not count for b's popularity."""
    run = replace(hand, log=cells("u1a u1b u2b u2c u4c u4d u4e", [7, 0, 7, 7, 7, 7, 7]))
    table = pr.evaluate(
        run, cells("u1b u1c"), at=1, interventions={"observe": pr.Observe()}, baselines=[pr.Popularity()]
    )
    assert list(table["recall@1"]) == [0.5, 0.5]
    assert list(table["arp@1"]) == [2.0, 2.0]


def test_baselines_rank_by_their_formulas(run: pr.Run, world: Simulated) -> None:
    x, seen, relevant = dense(world.train).astype(float), dense(world.train), dense(world.test, positive=True)
    inverse = np.linalg.inv(x.T @ x + 40 * np.eye(x.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    popularity = np.tile(x.sum(0), (len(x), 1))
    table = pr.evaluate(run, world.test, at=(3, 7), baselines=(pr.Popularity(), pr.Ease(penalty=40)))
    assert list(table.index) == ["observe", "deconfound", "temper 0.5", "popularity", "EASE"]
    assert table.index.name == "model"
    for k in (3, 7):
        assert table.loc["popularity", f"ndcg@{k}"] == pytest.approx(ndcg(popularity, seen, relevant, k))
        assert table.loc["EASE", f"ndcg@{k}"] == pytest.approx(ndcg(x @ weights, seen, relevant, k))


def test_interventions_rank_as_recommend_does(run: pr.Run, world: Simulated) -> None:
    asked = {"as seen": pr.Observe(), "taste": pr.Deconfound()}
    table = pr.evaluate(run, world.test, at=(5,), interventions=asked, baselines=())
    for name, intervention in asked.items():
        lists = run.recommend(k=30, intervention=intervention)
        scores = np.full(world.train.shape, -np.inf)
        users = world.train.users.get_indexer(lists["user_id"])
        scores[users, world.train.items.get_indexer(lists["item_id"])] = -lists["rank"]
        expected = ndcg(scores, dense(world.train), dense(world.test, positive=True), 5)
        assert table.loc[name, "ndcg@5"] == pytest.approx(expected)
    assert table.loc["as seen", "arp@5"] > table.loc["taste", "arp@5"]


def test_ease_is_left_out_above_its_limit_with_a_note(run: pr.Run, world: Simulated) -> None:
    table = pr.evaluate(run, world.test, at=5, baselines=(pr.Popularity(), pr.Ease(max_items=10)))
    assert list(table.index) == ["observe", "deconfound", "temper 0.5", "popularity"]
    n = world.train.n_items
    assert [note for note in table.attrs["notes"] if "EASE skipped" in note] == [
        f"EASE skipped: {n} items, and its dense item-item matrix is inverted for 10 at most."
    ]


def test_popularity_and_ease_stand_beside_every_run(run: pr.Run, world: Simulated) -> None:
    table = pr.evaluate(run, world.test, at=5)
    assert list(table.index) == ["observe", "deconfound", "temper 0.5", "popularity", "EASE"]
    assert table.loc["popularity", ["auc", "within_user_auc", "ndcg@5"]].notna().all()
    assert table.loc[["popularity", "EASE"], ["log_loss", "brier", "expected_calibration_error"]].isna().all(axis=None)


def test_a_single_length_is_a_tuple_of_one(run: pr.Run, world: Simulated) -> None:
    one, tuple_ = (pr.evaluate(run, world.test, at=at, baselines=()) for at in (4, (4,)))
    pd.testing.assert_frame_equal(one, tuple_)
    assert {c.split("@")[1] for c in one.columns if "@" in c} == {"4"}


def test_every_length_asked_for_is_there_longer_than_the_catalogue_too(run: pr.Run, world: Simulated) -> None:
    row = observed(run, world.test, at=(2, 500))
    assert row["precision@500"] < row["precision@2"]
    assert {c.split("@")[1] for c in row.index if "@" in c} == {"2", "500"}


def test_unknown_users_and_items_are_counted_in_a_note(hand: pr.Run) -> None:
    frame = pd.DataFrame({"user_id": ["u1", "u1", "new", "u2", "new"], "item_id": ["b", "x", "a", "c", "x"]})
    test = pr.read_interactions(frame)
    table = pr.evaluate(hand, test, at=1, baselines=())
    assert "2 of 5 test cells name users unknown to the run and are left out." in table.attrs["notes"]
    assert any(note.startswith("1 of 5 test cells name items unknown to the run") for note in table.attrs["notes"])
    assert table.loc["observe", "recall@1"] == pytest.approx(0.25)  # u1 is offered b of {b, x}, u2 a in vain


def test_a_test_log_of_strangers_is_refused(hand: pr.Run) -> None:
    frame = pd.DataFrame({"user_id": ["x", "y"], "item_id": ["a", "b"]})
    with pytest.raises(pr.InputError, match="No test cell names a user and an item that the run knows"):
        pr.evaluate(hand, pr.read_interactions(frame))


def test_implicit_tests_have_no_calibration_and_say_why(hand: pr.Run) -> None:
    table = pr.evaluate(hand, cells("u1b u2c", [1, 1]), at=1)
    assert table[CALIBRATION].isna().all(axis=None)
    assert (
        "Calibration is NaN: the test log holds implicit clicks, not clicks with true negatives."
        in (table.attrs["notes"])
    )


def test_unobserved_cells_are_remarked_upon(hand: pr.Run) -> None:
    missing = replace(hand, log=hand.log.with_missing(pr.Unobserved()))
    said = [pr.evaluate(r, cells("u1b"), at=1, baselines=()).attrs["notes"] for r in (missing, hand)]
    assert [any("Missing cells are unobserved" in note for note in notes) for notes in said] == [True, False]


def click_probability(p: Posterior, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """E [1 - (1 + e^eta / b)^-a], eta normal about level + affinity + log activity, by Gauss-Hermite."""
    a, s, b, t = (x.double().numpy() for x in (p.user_mean, p.user_sd, p.item_mean, p.item_sd))
    a, s, b, t = a[users], s[users], b[items], t[items]
    assert isinstance(p.activity, dist.Gamma)
    assert isinstance(p.popularity, dist.Gamma)
    shape, rate = (x.double().numpy()[users] for x in (p.activity.concentration, p.activity.rate))
    variance = ((a * t) ** 2 + (s * b) ** 2 + (s * t) ** 2).sum(1) + np.log1p(1 / shape)
    mean = float(p.intercept) + p.level_shift + (a * b).sum(1) + np.log(shape / rate) - np.log1p(1 / shape) / 2
    z_shape, z_rate = (x.double().numpy()[items] for x in (p.popularity.concentration, p.popularity.rate))
    nodes, weights = np.polynomial.hermite.hermgauss(60)
    at_node = [1 - (1 + np.exp(mean + 2**0.5 * x * variance**0.5) / z_rate) ** -z_shape for x in nodes]
    return np.array(weights) @ np.array(at_node) / np.pi**0.5


def auc_by_pairs(p: np.ndarray, click: np.ndarray) -> float:
    """Share of (one, zero) pairs in the right order, ties one half."""
    apart = p[click > 0][:, None] - p[click == 0][None, :]
    return float(((apart > 0) + 0.5 * (apart == 0)).mean())


@pytest.mark.parametrize("binarise", [False, True])
def test_calibration_on_random_impressions_by_plain_formulas(run: pr.Run, world: Simulated, binarise: bool) -> None:
    """Probabilities of a count above zero, or of a click, which for a binarised run have the level of the log."""
    asked = run
    if binarise:
        response = replace(run.spec, binarise=True).response
        asked = replace(run, posterior=replace(run.posterior, response=response, level_shift=0.3))
    test = world.test
    p = click_probability(asked.posterior, test.user, test.item)
    y, n = test.value, len(test)
    row = observed(asked, test, at=5)
    assert row["log_loss"] == pytest.approx(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)), rel=1e-3)
    assert row["brier"] == pytest.approx(np.mean((p - y) ** 2), rel=1e-3)
    assert row["auc"] == pytest.approx(auc_by_pairs(p, y), abs=2e-3)
    within = [auc_by_pairs(p[test.user == u], y[test.user == u]) for u in np.unique(test.user)
              if 0 < y[test.user == u].mean() < 1]  # fmt: skip
    assert row["within_user_auc"] == pytest.approx(np.mean(within), abs=2e-3)
    assert n % 10 == 0
    bins = np.argsort(p).reshape(10, -1)
    assert row["expected_calibration_error"] == pytest.approx(
        np.abs(p[bins].mean(1) - y[bins].mean(1)).mean(), abs=2e-3
    )
    shifts = special.logit(p) + np.linspace(-4, 4, 4001)[:, None]
    losses = -(y * special.log_expit(shifts) + (1 - y) * special.log_expit(-shifts)).mean(1)
    assert row["shifted_log_loss"] == pytest.approx(losses.min(), rel=1e-3)


def test_the_explicit_part_of_a_baseline_is_judged_by_its_order(run: pr.Run, world: Simulated) -> None:
    counts = dense(world.train).sum(0).astype(float)
    table = pr.evaluate(run, world.test, at=5, interventions={}, baselines=[pr.Popularity()])
    assert table.loc["popularity", "auc"] == pytest.approx(auc_by_pairs(counts[world.test.item], world.test.value))


def test_a_plain_model_is_asked_nothing_about_popularity(world: Simulated) -> None:
    spec = pr.BilateralModel(factors=2, predictor=pr.Plain(), hidden=(4,))
    plain = pr.fit(spec, world.train, training=pr.Training(epochs=1, finish_epochs=1), context=QUIET)
    assert list(pr.evaluate(plain, world.test, at=3, baselines=()).index) == ["observe"]


def test_ratings_count_as_positive_from_the_train_mean_upwards() -> None:
    """Train values have mean 2, so of u1's test ratings only b's is a positive, and of u2's only c's."""
    train = cells("u1a u2b u4c u4d u4e", [1.0, 1.5, 2.5, 3.0, 2.0], missing=pr.Unobserved())
    spec = pr.BilateralModel(factors=1, family=pr.Gaussian(), predictor=pr.Additive(), hidden=(2,))
    fitted = pr.fit(spec, train, training=pr.Training(epochs=1), context=QUIET)
    scores = torch.tensor([0.5, 0.4, 0.3, 0.2, 0.1, 0.6])[:, None]
    flat = replace(fitted.posterior.item_effect, law=dist.Normal(torch.zeros(6), torch.ones(6)))
    posterior = replace(fitted.posterior, user_mean=torch.ones(4, 1), item_mean=scores, item_effect=flat)
    run = replace(fitted, posterior=posterior)
    test = cells("u1b u1c u2a u2c", [2.0, 1.9, 1.25, 4.5], missing=pr.Unobserved())
    row = observed(run, test, at=1)
    assert row["recall@1"] == pytest.approx((1 + 0) / 2)
    assert row[CALIBRATION].isna().all()
    clicks = cells("u1b u1c", [1, 0], missing=pr.Unobserved())
    notes = pr.evaluate(run, replace(clicks, value=np.array([1.0, 0.0])), at=1, baselines=()).attrs["notes"]
    assert any("the run predicts ratings" in note for note in notes)


def grades(seed: int) -> pr.Interactions:
    """Ratings r = 3 + user + item effect + noise of 40 users on 12 of 20 items each."""
    rng = np.random.default_rng(seed)
    user, item = np.random.default_rng(0).normal(size=40), np.random.default_rng(1).normal(size=20)
    pairs = [(u, i) for u in range(40) for i in rng.choice(20, 12, replace=False)]
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"])
    noise = 0.5 * rng.normal(size=len(frame))
    return pr.read_interactions(
        frame.assign(value=3 + user[frame.user_id] + item[frame.item_id] + noise), allow_negative=True
    )


def test_ratings_are_judged_by_their_errors() -> None:
    train, test = grades(2), grades(3)
    choice = pr.choose(train)
    short = pr.Training(epochs=40, finish_epochs=2)
    run = pr.fit(choice.model, train, training=short, context=pr.Context(progress=False))
    table = pr.evaluate(run, test, at=5)
    scored = run.score(test.to_frame()[["user_id", "item_id"]])["mean"]
    assert table.loc["observe", "rmse"] == pytest.approx(np.sqrt(np.mean((scored - test.value) ** 2)), rel=1e-5)
    assert table.loc["observe", "mae"] == pytest.approx(np.abs(scored - test.value).mean(), rel=1e-5)
    assert table.loc["observe", "rmse"] < 0.7 * test.value.std()
    assert table.loc[["popularity", "EASE"], ["rmse", "mae"]].isna().all(axis=None)
    assert table["poisson_deviance"].isna().all()


def test_counts_are_judged_by_their_deviance_where_zeros_are_written(run: pr.Run, world: Simulated) -> None:
    rng = np.random.default_rng(0)
    frame = world.test.to_frame()[["user_id", "item_id"]]
    test = pr.read_interactions(frame.assign(value=rng.poisson(3.0, len(frame)).astype(float)))
    row = observed(run, test)
    mean, y = run.score(frame)["mean"].to_numpy(), test.value
    expected = 2 * np.mean(special.xlogy(y, y) - special.xlogy(y, mean) - y + mean)
    assert row["poisson_deviance"] == pytest.approx(expected, rel=1e-4)
    without = pr.read_interactions(frame.assign(value=7.0))
    assert np.isnan(observed(run, without)["poisson_deviance"])


def test_two_rows_of_one_name_are_refused(run: pr.Run, world: Simulated) -> None:
    with pytest.raises(pr.InputError, match="one name"):
        pr.evaluate(run, world.test, baselines=(pr.Ease(), pr.Ease()))


def test_repeated_impressions_read_as_ratings_are_their_mean() -> None:
    """A Gaussian on (clicks, trials) predicts the click rate, not the sum of clicks."""
    rng = np.random.default_rng(0)
    pairs = [(u, i) for u in range(25) for i in range(15) for _ in range(5)]
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"]).assign(value=rng.random(25 * 15 * 5) < 0.6)
    log = pr.read_interactions(frame)
    model = pr.BilateralModel(factors=2, family=pr.Gaussian(), predictor=pr.Additive())
    long = pr.Training(epochs=150, finish_epochs=1, patience=99)
    run = pr.fit(model, log, training=long, context=pr.Context(progress=False))
    assert run.score(log.to_frame()[["user_id", "item_id"]])["mean"].mean() == pytest.approx(0.6, abs=0.04)
