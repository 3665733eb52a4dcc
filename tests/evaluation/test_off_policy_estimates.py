"""Estimates of a policy's value against hand computation, known truth over many logs, and their invariances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pyrorec.evaluation import Bootstrap, Decisions, Estimate, Limits, Linearised, doubly_robust, ips, overlap, snips

ANY = Limits(effective=0)
REWARD, PROPENSITY, TARGET = [1, 0, 1, 1], [0.5, 0.5, 0.25, 1], [1, 0.25, 0.5, 0]
BY_HAND = Decisions(REWARD, PROPENSITY, TARGET)
"""Weights 2, 1/2, 2, 0."""


def test_values_by_hand() -> None:
    found = ips(BY_HAND, limits=ANY), snips(BY_HAND, limits=ANY)
    assert [estimate.value for estimate in found] == pytest.approx([1, 4 / 4.5])
    robust = doubly_robust(BY_HAND, [0.5, 0.5, 0.5, 0.5], [0.6, 0.4, 0.5, 0.3], limits=ANY)
    assert robust.value == pytest.approx((1.6 + 0.15 + 1.5 + 0.3) / 4)


def test_standard_errors_and_intervals_by_hand() -> None:
    mean = ips(BY_HAND, limits=ANY)
    assert mean.se == pytest.approx(np.std([2, 0, 2, 0], ddof=1) / 2)
    ratio = snips(BY_HAND, limits=ANY)
    residuals = np.array([2 / 9, -4 / 9, 2 / 9, 0])
    assert ratio.se == pytest.approx(np.sqrt(4 / 3 * (residuals**2).sum()) / 4.5)
    assert (mean.lower, mean.upper) == pytest.approx((1 - 1.959964 * mean.se, 1 + 1.959964 * mean.se), abs=1e-6)
    assert (mean.method, ratio.method) == ("normal", "delta")
    narrow = ips(BY_HAND, Linearised(0.5), ANY)
    assert narrow.upper - narrow.lower == pytest.approx(2 * 0.674490 * mean.se, abs=1e-5)


@pytest.mark.parametrize(("labels", "se"), [("aabb", 0.0), ("abab", 1.0)])
def test_clusters_add_up_before_they_vary(labels: str, se: float) -> None:
    """w r are 2, 0, 2, 0: pairs of neighbours earn 2 and 2, the others 4 and 0."""
    clustered = Decisions(REWARD, PROPENSITY, TARGET, cluster=list(labels))
    assert ips(clustered, limits=ANY).se == pytest.approx(se)
    assert ips(clustered, limits=ANY).value == pytest.approx(1)


def test_one_cluster_has_no_standard_error() -> None:
    alone = Decisions(REWARD, PROPENSITY, TARGET, cluster=["a"] * 4)
    for interval in (Linearised(), Bootstrap(draws=5)):
        assert np.isnan([ips(alone, interval, ANY).se, ips(alone, interval, ANY).lower]).all()


def test_a_row_has_every_number() -> None:
    row = snips(BY_HAND, limits=ANY).row()
    assert list(row.index[:5]) == ["value", "se", "lower", "upper", "method"]
    assert row["effective"] == pytest.approx(4.5**2 / 8.25)
    assert row["records"] == 4


def test_a_policy_on_its_own_log_is_worth_the_mean_reward() -> None:
    rng = np.random.default_rng(0)
    reward, p = rng.normal(size=50), rng.uniform(0.1, 1, 50)
    own = Decisions(reward, p, p)
    found = [ips(own), snips(own), doubly_robust(own, np.zeros(50), np.zeros(50))]
    assert [estimate.value for estimate in found] == pytest.approx([reward.mean()] * 3)
    assert [estimate.se for estimate in found] == pytest.approx([reward.std(ddof=1) / 50**0.5] * 3)


# Known truth, over many logs


@dataclass(frozen=True)
class Bandit:
    """Contexts of equal probability, actions with known click rates, and two policies that disagree."""

    rates: np.ndarray
    logging: np.ndarray
    target: np.ndarray

    @classmethod
    def drawn(cls) -> Bandit:
        rng = np.random.default_rng(5)
        rates = rng.uniform(0.05, 0.6, (6, 5))
        logging, better = rng.dirichlet(np.full(5, 4.0), 6), np.exp(5 * rates)
        return cls(rates, logging, better / better.sum(axis=1, keepdims=True))

    @property
    def value(self) -> float:
        return float((self.target * self.rates).sum(axis=1).mean())

    def log(self, seed: int, records: int = 800) -> tuple[Decisions, np.ndarray, np.ndarray]:
        """Decisions, with context and action."""
        rng = np.random.default_rng([seed, 3])
        context = rng.integers(6, size=records)
        action = (self.logging.cumsum(axis=1)[context, :-1] < rng.random((records, 1))).sum(axis=1)
        reward = rng.random(records) < self.rates[context, action]
        decisions = Decisions(reward, self.logging[context, action], self.target[context, action])
        return decisions, context, action

    def robust(self, seed: int, model: np.ndarray) -> Estimate:
        """Doubly robust by a table of predicted rewards (contexts, actions)."""
        decisions, context, action = self.log(seed)
        return doubly_robust(decisions, model[context, action], (self.target * model).sum(axis=1)[context])


BANDIT = Bandit.drawn()
REPLICATES = 600
WRONG = np.random.default_rng(9).uniform(0, 1, (6, 5))
"""A reward model that has nothing to do with the rewards."""


@pytest.fixture(scope="module")
def estimates() -> dict[str, list[Estimate]]:
    """Every estimator on the same logs."""
    logs = [BANDIT.log(seed)[0] for seed in range(REPLICATES)]
    return {
        "ips": [ips(log) for log in logs],
        "snips": [snips(log) for log in logs],
        "good": [BANDIT.robust(seed, BANDIT.rates) for seed in range(REPLICATES)],
        "wrong": [BANDIT.robust(seed, WRONG) for seed in range(REPLICATES)],
    }


def test_the_bandit_tells_policies_apart(estimates: dict[str, list[Estimate]]) -> None:
    """Without weights one would be wrong by many standard errors."""
    earned = np.mean([np.mean(np.asarray(BANDIT.log(seed)[0].reward)) for seed in range(50)])
    assert abs(earned - BANDIT.value) > 2 * estimates["ips"][0].se


@pytest.mark.parametrize("name", ["ips", "good", "wrong"])
def test_unbiased_over_logs(name: str, estimates: dict[str, list[Estimate]]) -> None:
    values = np.array([estimate.value for estimate in estimates[name]])
    assert abs(values.mean() - BANDIT.value) < 3 * values.std(ddof=1) / REPLICATES**0.5


def test_self_normalised_bias_is_of_the_order_of_one_over_the_effective_size(
    estimates: dict[str, list[Estimate]],
) -> None:
    values = np.array([estimate.value for estimate in estimates["snips"]])
    allowed = 1 / estimates["snips"][0].overlap.effective + 3 * values.std(ddof=1) / REPLICATES**0.5
    assert abs(values.mean() - BANDIT.value) < allowed


@pytest.mark.parametrize("name", ["ips", "snips", "good", "wrong"])
def test_intervals_cover_and_standard_errors_are_the_spread(name: str, estimates: dict[str, list[Estimate]]) -> None:
    found = estimates[name]
    inside = np.mean([estimate.lower <= BANDIT.value <= estimate.upper for estimate in found])
    assert 0.92 <= inside <= 0.98
    spread = np.std([estimate.value for estimate in found], ddof=1)
    assert np.mean([estimate.se for estimate in found]) == pytest.approx(spread, rel=0.1)


def test_a_good_model_lowers_the_variance_and_a_wrong_one_does_not_hurt_the_mean(
    estimates: dict[str, list[Estimate]],
) -> None:
    variance = {name: np.var([estimate.value for estimate in found]) for name, found in estimates.items()}
    assert variance["good"] < 0.8 * variance["ips"]
    assert variance["good"] < variance["snips"]
    assert variance["wrong"] > variance["good"]


def test_doubly_robust_survives_wrong_propensities_where_the_model_is_right() -> None:
    """All propensities half of what they are: ips doubles, dr does not move."""
    values, doubled = [], []
    for seed in range(200):
        decisions, context, action = BANDIT.log(seed)
        halved = Decisions(decisions.reward, np.asarray(decisions.propensity) / 2, decisions.target)
        expected = (BANDIT.target * BANDIT.rates).sum(axis=1)[context]
        values.append(doubly_robust(halved, BANDIT.rates[context, action], expected).value)
        doubled.append(ips(halved).value)
    assert abs(np.mean(values) - BANDIT.value) < 3 * np.std(values, ddof=1) / 200**0.5
    assert np.mean(doubled) == pytest.approx(2 * BANDIT.value, rel=0.02)


def test_the_bootstrap_agrees_with_the_normal_interval_and_with_itself() -> None:
    decisions = BANDIT.log(0)[0]
    for estimator in (ips, snips):
        normal, again = estimator(decisions), estimator(decisions, Bootstrap(draws=2_000))
        assert again.value == normal.value
        assert again.method == "bootstrap"
        assert again.se == pytest.approx(normal.se, rel=0.08)
        assert (again.lower, again.upper) == pytest.approx((normal.lower, normal.upper), abs=0.25 * normal.se)
        assert again == estimator(decisions, Bootstrap(draws=2_000))
        assert again.lower != estimator(decisions, Bootstrap(draws=2_000, seed=1)).lower


def test_the_bootstrap_draws_whole_clusters() -> None:
    """Every record four times over under one label: as sure as without the copies, not twice as sure."""
    decisions = BANDIT.log(1, 200)[0]
    once = [np.asarray(column) for column in (decisions.reward, decisions.propensity, decisions.target)]
    copied = Decisions(*(np.tile(column, 4) for column in once), cluster=np.tile(np.arange(200), 4))
    for interval in (Linearised(), Bootstrap(draws=1_500)):
        assert ips(copied, interval).se == pytest.approx(ips(decisions).se, rel=0.1)


# Invariances


@st.composite
def decisions(draw: st.DrawFn) -> Decisions:
    """Some records of which the target would have taken at least one."""
    records = draw(st.integers(2, 30))
    numbers = [
        draw(arrays.arrays(np.float64, records, elements=st.floats(low, high, width=32)))
        for low, high in ((-10, 10), (2**-6, 1), (0, 1))
    ]
    numbers[2][0] = max(numbers[2][0], 2**-6)
    return Decisions(*numbers)


@given(decisions(), st.floats(-100, 100), st.floats(0.01, 1))
def test_self_normalised_moves_with_rewards_and_not_with_the_scale_of_weights(
    some: Decisions, constant: float, scale: float
) -> None:
    before = snips(some, limits=ANY)
    moved = snips(Decisions(np.asarray(some.reward) + constant, some.propensity, some.target), limits=ANY)
    assert moved.value == pytest.approx(before.value + constant, abs=1e-8)
    assert moved.se == pytest.approx(before.se, abs=1e-7)
    scaled = snips(Decisions(some.reward, np.asarray(some.propensity) * scale, some.target), limits=ANY)
    assert (scaled.value, scaled.se) == pytest.approx((before.value, before.se), rel=1e-8, abs=1e-9)
    assert scaled.overlap.effective == pytest.approx(before.overlap.effective)


@given(decisions())
def test_self_normalised_lies_among_the_rewards(some: Decisions) -> None:
    counted = np.asarray(some.reward)[some.weights > 0]
    assert counted.min() - 1e-9 <= snips(some, limits=ANY).value <= counted.max() + 1e-9


@given(decisions(), st.floats(-5, 5))
def test_doubly_robust_with_a_constant_model_takes_the_mean_weight_off(some: Decisions, constant: float) -> None:
    """With q = c it is ips of r - c, plus c; with c = 0 it is ips."""
    same = np.full(len(some.weights), constant)
    found = doubly_robust(some, same, same, limits=ANY).value
    less = Decisions(np.asarray(some.reward) - constant, some.propensity, some.target)
    assert found == pytest.approx(constant + ips(less, limits=ANY).value, abs=1e-8)
    zero = np.zeros(len(same))
    assert doubly_robust(some, zero, zero, limits=ANY).value == ips(some, limits=ANY).value


@given(decisions())
def test_the_effective_size_lies_between_one_and_the_records(some: Decisions) -> None:
    assert 1 - 1e-9 <= overlap(some).effective <= len(some.weights) + 1e-9
