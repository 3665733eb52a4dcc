"""The simulated world against the process it claims to draw from; bounds are 4 standard errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pyrorec.data import FeatureEncoder, Interactions, Kind, Unobserved, Zero
from pyrorec.simulation import FrailtyWorld, Simulated, Truth
from pyrorec.simulation.world import SECONDS, START

WORLD = FrailtyWorld(users=500, items=400, factors=3, mean_count=2.0, random_per_user=30)


@pytest.fixture(scope="module")
def drawn() -> Simulated:
    return WORLD.simulate(seed=7)


def expected(truth: Truth) -> np.ndarray:
    """Means of the counts, written without the properties of Truth."""
    affinity = np.einsum("uk,ik->ui", truth.user_factors, truth.item_factors) + truth.quality[None, :]
    rate = truth.activity[:, None] * truth.popularity[None, :]
    return rate * np.exp(truth.scalars.intercept) * np.exp(affinity)


def dispersion_error(total: np.ndarray, mean: np.ndarray) -> float:
    """Pearson's statistic of Poisson totals as a z-score: its mean is n, its variance sum(2 + 1 / mean)."""
    statistic = np.sum((total - mean) ** 2 / mean)
    return float((statistic - len(mean)) / np.sqrt(np.sum(2.0 + 1.0 / mean)))


def residual_error(click: np.ndarray, probability: np.ndarray) -> float:
    """Clicks above expectation as a z-score."""
    return float(np.sum(click - probability) / np.sqrt(np.sum(probability * (1.0 - probability))))


def same(one: Interactions, other: Interactions) -> bool:
    return one.to_frame().equals(other.to_frame())


def test_frailties_are_gamma_with_mean_one(drawn: Simulated) -> None:
    for rates, shape in ((drawn.truth.popularity, 1.0), (drawn.truth.activity, 2.0)):
        assert abs(rates.mean() - 1.0) < 4.0 / np.sqrt(shape * len(rates))
        assert stats.kstest(rates, stats.gamma(shape, scale=1.0 / shape).cdf).pvalue > 1e-3


def test_affinity_has_the_scale_asked_for(drawn: Simulated) -> None:
    truth = drawn.truth
    assert truth.affinity.shape == (500, 400)  # nobody was dropped, so the centring below is exact
    assert truth.affinity.std() == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(truth.affinity.mean(axis=0), 0.0, atol=1e-12)
    assert np.exp(truth.scalars.intercept + truth.affinity).mean() == pytest.approx(2.0, rel=1e-12)
    assert truth.quality.tolist() == [0.0] * 400


def test_logged_totals_are_poisson_given_the_truth(drawn: Simulated) -> None:
    count, mean = drawn.train.matrix().toarray(), expected(drawn.truth)
    assert drawn.train.kind is Kind.COUNTS
    assert drawn.train.missing == Zero()
    for axis in (0, 1):
        assert abs(dispersion_error(count.sum(axis=axis), mean.sum(axis=axis))) < 4.0
    np.testing.assert_allclose(drawn.truth.expected_count, mean, rtol=1e-12)


def test_logged_counts_follow_affinity(drawn: Simulated) -> None:
    count, mean = drawn.train.matrix().toarray().ravel(), expected(drawn.truth).ravel()
    affinity = drawn.truth.affinity.ravel()
    decile = np.digitize(affinity, np.quantile(affinity, np.arange(1, 10) / 10))
    total, hoped = np.bincount(decile, weights=count), np.bincount(decile, weights=mean)
    assert np.max(np.abs(total - hoped) / np.sqrt(hoped)) < 4.0


def test_popularity_drives_the_log_and_not_the_random_part(drawn: Simulated) -> None:
    log_popularity = np.log(drawn.truth.popularity)
    assert np.corrcoef(log_popularity, np.log(drawn.train.item_totals))[0, 1] > 0.95
    impressions = drawn.test.item_counts
    assert abs(np.corrcoef(drawn.truth.popularity, impressions)[0, 1]) < 4.0 / np.sqrt(400)
    assert abs(np.corrcoef(log_popularity, impressions)[0, 1]) < 4.0 / np.sqrt(400)
    # Of one user's 30 draws from 400 items, each item is drawn with probability 30/400.
    spread = 500 * (30 / 400) * (1 - 30 / 400)
    assert abs(np.sum((impressions - 500 * 30 / 400) ** 2) / spread - 399) < 4.0 * np.sqrt(2 * 399)


def test_random_clicks_depend_on_taste_alone(drawn: Simulated) -> None:
    test, truth = drawn.test, drawn.truth
    affinity = (truth.user_factors @ truth.item_factors.T)[test.user, test.item]
    probability = 1.0 - np.exp(-0.3 * np.exp(affinity))
    np.testing.assert_allclose(truth.click_probability[test.user, test.item], probability, rtol=1e-12)
    assert abs(residual_error(test.value, probability)) < 4.0
    popular = truth.popularity[test.item] > np.median(truth.popularity)
    liked = affinity > 0.5
    for part in (popular, ~popular, liked, ~liked):
        assert abs(residual_error(test.value[part], probability[part])) < 4.0
    assert test.kind is Kind.CLICKS
    assert test.missing == Unobserved()
    assert set(test.exposure) == {"random"}
    assert set(drawn.train.exposure) == {"biased"}


def test_popularity_may_enter_the_outcome() -> None:
    world = replace(WORLD, mean_count=0.5, popularity_in_outcome=0.5)
    drawn = world.simulate(seed=3)
    test, truth = drawn.test, drawn.truth
    affinity = (truth.user_factors @ truth.item_factors.T)[test.user, test.item]
    rate = 0.3 * np.sqrt(truth.popularity[test.item]) * np.exp(affinity)
    for half in (rate < np.median(rate), rate >= np.median(rate)):
        assert abs(residual_error(test.value[half], 1.0 - np.exp(-rate[half]))) < 4.0
    assert residual_error(test.value, 1.0 - np.exp(-0.3 * np.exp(affinity))) < -4.0  # mean of sqrt(z) is .89


def test_each_user_sees_distinct_random_items(drawn: Simulated) -> None:
    assert drawn.test.user_counts.tolist() == [30] * 500
    assert not drawn.test.to_frame().duplicated(["user_id", "item_id"]).any()
    assert drawn.test.users is drawn.train.users
    assert drawn.test.items is drawn.train.items
    assert drawn.train.users[[0, 499]].tolist() == ["u001", "u500"]


def test_a_cell_has_the_time_of_its_last_event(drawn: Simulated) -> None:
    part = (drawn.train.timestamp - START) / SECONDS
    for count in (1, 2, 5):
        seen = part[drawn.train.value == count]
        # The largest of n uniform variables is Beta(n, 1).
        law = stats.beta(count, 1)
        assert abs(seen.mean() - law.mean()) < 4.0 * law.std() / np.sqrt(len(seen))
    assert 0.0 <= part.min() <= part.max() < 1.0
    random = (drawn.test.timestamp - START) / SECONDS
    assert 0.5 <= random.min() < 0.51
    assert 0.99 < random.max() < 1.0


def test_the_same_seed_draws_the_same_world() -> None:
    world = FrailtyWorld(users=60, items=40)
    one, two, other = world.simulate(1), world.simulate(1), world.simulate(2)
    assert same(one.train, two.train)
    assert same(one.test, two.test)
    pd.testing.assert_frame_equal(one.train.user_features, two.train.user_features)
    assert np.array_equal(one.truth.affinity, two.truth.affinity)
    assert not same(one.train, other.train)
    fewer = replace(world, random_per_user=3).simulate(1)
    assert same(one.train, fewer.train)  # the parts have streams of their own
    assert len(fewer.test) == 3 * fewer.test.n_users


def test_whoever_has_no_event_is_dropped_from_everything() -> None:
    drawn = FrailtyWorld(users=300, items=200, mean_count=0.02, popularity_shape=0.5).simulate(4)
    train, test, truth = drawn.train, drawn.test, drawn.truth
    assert train.n_users < 300
    assert train.n_items < 200
    assert train.user_counts.min() > 0
    assert train.item_counts.min() > 0
    for ids in (truth.users, train.user_features.index):
        assert ids.equals(train.users)
    for ids in (truth.items, test.item_features.index, test.items):
        assert ids.equals(train.items)
    # Were the truth shifted against the log, both would be 0 with a standard error of .07.
    assert np.corrcoef(truth.popularity, train.item_totals)[0, 1] > 0.5
    assert np.corrcoef(truth.activity, train.matrix().sum(axis=1))[0, 1] > 0.5


def test_quality_has_the_correlation_asked_for() -> None:
    world = FrailtyWorld(users=50, items=2000, mean_count=5.0, quality_sd=0.5, quality_correlation=0.8)
    drawn = world.simulate(11).truth
    assert len(drawn.items) > 1950
    kept = np.corrcoef(drawn.quality, np.log(drawn.popularity))[0, 1]
    assert kept == pytest.approx(0.8, abs=0.04)
    assert drawn.quality.std() == pytest.approx(0.5, abs=0.04)
    np.testing.assert_allclose(drawn.affinity.mean(axis=0), drawn.quality, atol=0.05)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_features_explain_their_share_of_the_factors(share: float) -> None:
    drawn = FrailtyWorld(users=800, items=700, mean_count=1.0, feature_share=share).simulate(5)
    for table, factors in (
        (drawn.train.user_features, drawn.truth.user_factors),
        (drawn.train.item_features, drawn.truth.item_factors),
    ):
        encoded = FeatureEncoder.fit(table).transform(table).values
        design = np.column_stack([np.ones(len(encoded)), encoded])
        residual = factors - design @ np.linalg.lstsq(design, factors, rcond=None)[0]
        explained = 1.0 - residual.var(axis=0) / factors.var(axis=0)
        assert np.max(np.abs(explained - share)) < (0.12 if share < 1.0 else 1e-3)


def test_a_world_without_feature_tables() -> None:
    world = FrailtyWorld(users=50, items=30)
    bare = replace(world, features=False).simulate(0)
    assert bare.train.user_features is None
    assert bare.test.item_features is None
    assert same(bare.train, world.simulate(0).train)


def test_clicks_are_the_binarised_counts(drawn: Simulated) -> None:
    clicks = drawn.clicks()
    assert clicks.train.kind is Kind.IMPLICIT
    assert clicks.train.missing == Zero()
    assert clicks.train.value.tolist() == [1.0] * len(drawn.train)
    assert np.array_equal(clicks.train.item, drawn.train.item)
    assert clicks.test is drawn.test
    mean = expected(drawn.truth)
    probability = 1.0 - np.exp(-mean)
    error = (len(clicks.train) - probability.sum()) / np.sqrt(np.sum(probability * (1.0 - probability)))
    assert abs(error) < 4.0


def test_truth_goes_with_its_ids(drawn: Simulated) -> None:
    truth = drawn.truth
    turned = truth.aligned(truth.users[::-1], truth.items[:3])
    np.testing.assert_array_equal(turned.affinity, truth.affinity[::-1, :3])
    assert turned.popularity.tolist() == truth.popularity[:3].tolist()
    back = Truth.from_tables(truth.user_table(), truth.item_table(), truth.shared())
    np.testing.assert_array_equal(back.expected_count, truth.expected_count)
    assert back.scalars == truth.scalars
    with pytest.raises(KeyError, match="'nobody'"):
        truth.aligned(pd.Index(["u001", "nobody"]), truth.items)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"users": 1}, "users must be at least 2"),
        ({"popularity_shape": 0.0}, "popularity_shape must be positive"),
        ({"feature_share": 1.5}, "feature_share must lie between"),
        ({"quality_correlation": 0.5}, "needs a positive quality_sd"),
        ({"random_per_user": 999}, "cannot exceed the number of items"),
        ({"mean_count": float("nan")}, "mean_count must be positive"),
    ],
)
def test_impossible_worlds_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(FrailtyWorld(), **wrong)


def test_a_world_without_events_is_refused() -> None:
    with pytest.raises(ValueError, match="raise mean_count"):
        FrailtyWorld(users=5, items=5, random_per_user=2, mean_count=1e-9).simulate(0)
