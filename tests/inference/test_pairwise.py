"""BPR training, PD and PDA: gradient, sampling, popularity without the interaction itself, recovery, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import pyrorec as pr
from pyrorec.baselines import ClickScorer, Train, Unfit
from pyrorec.evaluation import within_user_auc
from pyrorec.inference.pairwise import (
    EarlierPeriods,
    LeaveOneOut,
    PairwiseTraining,
    Pd,
    Pda,
    PopularityFactors,
    Triples,
    UniformNegatives,
    bpr_loss,
    elu_plus_one,
    train_pairwise,
)
from pyrorec.inference.train import NonFiniteLoss

SHORT = PairwiseTraining(epochs=20, batch_size=256, learning_rate=0.02)


def log_of(user: list[int], item: list[int], shape: tuple[int, int], **columns: object) -> pr.Interactions:
    """A log of positives of value one, unless `value` says otherwise."""
    n = len(user)
    given = {"value": np.ones(n), "trials": np.ones(n)} | columns
    users, items = (pd.RangeIndex(size) for size in shape)
    return pr.Interactions(users=users, items=items, user=np.array(user), item=np.array(item), **given)  # type: ignore[arg-type]


HAND = log_of([0, 0, 1, 1, 2], [0, 1, 0, 2, 0], (3, 4), timestamp=np.array([1.0, 2.0, 3.0, 4.0, 5.0]))


def confounded(seed: int, users: int = 150, items: int = 60) -> tuple[pr.Interactions, np.ndarray, np.ndarray]:
    """(log, tastes (users, items), popularity (items,)): rates are e^taste times popularity."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(users, 2)) @ rng.normal(size=(items, 2)).T
    popularity = np.exp(rng.normal(size=items))
    had = rng.random((users, items)) < 1 - np.exp(-0.12 * np.exp(taste) * popularity)
    user, item = had.nonzero()
    return log_of(list(user), list(item), (users, items)), taste, popularity


def test_elu_plus_one_is_positive_and_smooth() -> None:
    x = torch.tensor([-60.0, -3.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    y = elu_plus_one(x)
    np.testing.assert_allclose(y.detach(), [np.exp(-60), np.exp(-3), 1.0, 3.0], rtol=1e-12)
    y.sum().backward()
    np.testing.assert_allclose(x.grad, [np.exp(-60), np.exp(-3), 1.0, 1.0], rtol=1e-12)


def test_the_score_by_hand() -> None:
    """At u.i = 2 and z^exponent = 1.22 the score is 3.66: above one, so no probability."""
    model = PopularityFactors((3, 4), 1, 1.0, LeaveOneOut().count(HAND), np.random.default_rng(0))
    assert float(elu_plus_one(torch.tensor(2.0)) * model.power(np.array([1.22]))) == pytest.approx(3.66)


def test_the_gradient_of_the_loss_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(1)
    model = PopularityFactors((3, 4), 2, 0.3, EarlierPeriods(periods=2).count(HAND), rng).double()
    triples = Triples(*(torch.tensor(c) for c in ([0, 1, 2, 2], [1, 2, 0, 0], [3, 3, 1, 2], [1, 3, 4, 4])))

    def loss() -> torch.Tensor:
        return bpr_loss(model.difference(triples), model.squares(triples), 0.7)

    loss().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        for place in np.ndindex(*parameter.shape):
            with torch.no_grad():
                sides = []
                for step in (1e-6, -2e-6):
                    parameter[place] += step
                    sides.append(float(loss()))
                parameter[place] += 1e-6
            assert float(parameter.grad[place]) == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-8)


def test_bpr_loss_is_minus_the_log_of_the_sigmoid() -> None:
    difference, squares = torch.tensor([0.3, -2.0]), torch.tensor([1.0, 4.0])
    expected = -torch.log(torch.sigmoid(difference)).mean() + 0.5 * 0.1 * 2.5
    assert float(bpr_loss(difference, squares, 0.1)) == pytest.approx(float(expected))


def test_negatives_are_uniform_over_what_the_user_has_nothing_to_do_with() -> None:
    """User 0 has items 0 and 1, and a zero of item 3: negatives are 2 and 4, each as often."""
    cells = log_of([0, 0, 0, 1], [0, 1, 3, 2], (2, 5), value=np.array([1.0, 1.0, 0.0, 1.0]))
    sampler = UniformNegatives(cells.select(cells.value > 0), cells)
    drawn = sampler.draw(np.repeat([0, 1], 4000), np.random.default_rng(0))
    first, second = (np.bincount(part, minlength=5) / 4000 for part in np.split(drawn, 2))
    np.testing.assert_allclose(first, [0, 0, 0.5, 0, 0.5], atol=4 * 0.5 / 4000**0.5)
    np.testing.assert_allclose(second, [0.25, 0.25, 0, 0.25, 0.25], atol=4 * 0.44 / 4000**0.5)


def test_an_epoch_holds_every_record_once_except_of_users_who_have_everything() -> None:
    cells = log_of([0, 0, 1, 1, 1, 2], [0, 1, 0, 1, 2, 2], (3, 3))
    batches = list(UniformNegatives(cells, cells).epoch(np.random.default_rng(0), 2))
    assert [len(batch) for batch in batches] == [2, 1]
    records = torch.cat([batch.record for batch in batches]).numpy()
    assert sorted(records) == [0, 1, 5]
    for batch in batches:
        np.testing.assert_array_equal(batch.user, cells.user[batch.record])
        np.testing.assert_array_equal(batch.taken, cells.item[batch.record])


def test_popularity_of_earlier_periods_by_hand() -> None:
    """Two periods: records 1 to 3 (times 1, 2, 3) and 4, 5; in the second, shares of the first hold."""
    z = EarlierPeriods(periods=2, smoothing=0.5).count(HAND)
    first = 4 * (np.array([2, 1, 0, 0]) + 0.5) / (3 + 2)
    np.testing.assert_allclose(z.of_taken(np.arange(5)), [1, 1, 1, first[2], first[0]])
    np.testing.assert_allclose(z.of_others(np.array([3, 4, 0]), np.array([3, 1, 1])), [first[3], first[1], 1])
    last = 4 * (np.array([1, 0, 1, 0]) + 0.5) / (2 + 2)
    np.testing.assert_allclose(z.forecast(), last)
    trend = EarlierPeriods(periods=2, smoothing=0.5, trend=0.5).count(HAND).forecast()
    np.testing.assert_allclose(trend, np.maximum(last + 0.5 * (last - first), last.min()))


@pytest.mark.parametrize("rule", [EarlierPeriods(periods=3), LeaveOneOut()], ids=["periods", "leave one out"])
def test_popularity_never_counts_the_interaction_itself(rule: EarlierPeriods | LeaveOneOut) -> None:
    """Moving one record to another item leaves the popularity it is explained by as it was, for both items."""
    log, _, _ = confounded(0, users=40, items=15)
    log = replace(log, timestamp=np.random.default_rng(1).permutation(len(log)).astype(float))
    for record in range(0, len(log), 7):
        moved = log.item.copy()
        moved[record] = (moved[record] + 1) % 15
        other = replace(log, item=moved)
        at, where = np.array([record]), np.array([log.item[record]])
        before, after = rule.count(log), rule.count(other)
        assert before.of_taken(at) == pytest.approx(after.of_others(at, where))
        assert after.of_taken(at) == pytest.approx(before.of_others(at, moved[at]))


def test_equal_times_fall_into_one_period() -> None:
    z = EarlierPeriods(periods=2).count(replace(HAND, timestamp=np.array([1.0, 3.0, 3.0, 3.0, 5.0])))
    np.testing.assert_array_equal(z.period, [0, 0, 0, 0, 1])


def test_unseen_items_score_above_zero_and_smoothing_draws_to_the_mean() -> None:
    log, _, _ = confounded(2, users=60, items=20)
    unseen = replace(log, items=pd.RangeIndex(21))
    scores = (
        Pda(factors=2, exponents=(0.3,), penalties=(0.01,), training=SHORT).fit(Train(unseen)).scores(np.arange(60))
    )
    assert scores.shape == (60, 21)
    assert (scores > 0).all()
    assert LeaveOneOut().count(unseen).forecast()[20] > 0
    spread = [LeaveOneOut(smoothing).count(unseen).forecast().std() for smoothing in (0.1, 10.0, 1e6)]
    assert spread[0] > spread[1] > spread[2]
    assert spread[2] < 1e-3
    assert LeaveOneOut().count(unseen).forecast().mean() == pytest.approx(1.0)


def test_taste_and_popularity_are_recovered() -> None:
    log, taste, popularity = confounded(3)
    one = {"factors": 4, "exponents": (0.5,), "penalties": (0.01,), "training": replace(SHORT, epochs=40)}
    users = np.arange(150)
    pd_, pda = (make(**one).fit(Train(log)).scores(users) for make in (Pd, Pda))
    cell_user = np.repeat(users, 60)
    liked = (taste > np.quantile(taste, 0.8)).astype(float).ravel()
    bought = (taste + np.log(popularity) > np.quantile(taste + np.log(popularity), 0.8)).astype(float).ravel()

    def judged(scores: np.ndarray, truth: np.ndarray) -> float:
        return within_user_auc(cell_user, scores.ravel(), truth, np.ones(len(truth)))

    assert judged(pd_, liked) > 0.8
    assert judged(pd_, liked) > judged(pda, liked) + 0.02
    assert judged(pda, bought) > judged(pd_, bought) + 0.02
    np.testing.assert_allclose(pda, pd_ * LeaveOneOut().count(log).forecast() ** 0.5, rtol=1e-5)


def test_the_same_seed_gives_the_same_scores() -> None:
    log, _, _ = confounded(4, users=50, items=20)
    users = np.arange(50)
    settings = {"factors": 2, "exponents": (0.0, 0.3), "penalties": (0.01,), "training": replace(SHORT, epochs=3)}
    first, again, other = (Pda(seed=seed, **settings).fit(Train(log)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.scores(users), again.scores(users))
    assert not np.array_equal(first.scores(users), other.scores(users))
    assert first.exponent == again.exponent


def test_the_exponent_is_chosen_by_what_is_held_out() -> None:
    """Where popularity decides everything, the score needs it."""
    rng = np.random.default_rng(0)
    user, item = (rng.random((150, 60)) < np.exp(rng.normal(-2.5, 1, 60)).clip(max=0.9)).nonzero()
    log = log_of(list(user), list(item), (150, 60))
    settings = {"factors": 2, "penalties": (0.3,), "training": replace(SHORT, epochs=5)}
    assert Pda(exponents=(0.0, 0.5), **settings).fit(Train(log)).exponent == 0.5


def test_timestamps_decide_how_popularity_is_counted() -> None:
    assert isinstance(Pda().rule(HAND), EarlierPeriods)
    assert isinstance(Pda().rule(replace(HAND, timestamp=None)), LeaveOneOut)
    assert Pda(popularity=LeaveOneOut(2.0)).rule(HAND) == LeaveOneOut(2.0)


def test_they_stand_beside_a_run_and_are_no_probabilities() -> None:
    train, test = pr.embedded_log()
    model = pr.BilateralModel(factors=1, hidden=(2,))
    run = pr.fit(model, train, training=pr.Training(epochs=1, finish_epochs=1), context=pr.Context(progress=False))
    one = {"factors": 2, "exponents": (0.2,), "penalties": (0.01,), "training": replace(SHORT, epochs=2)}
    table = pr.evaluate(run, test, at=5, interventions={}, baselines=(Pda(**one), Pd(**one)))
    assert list(table.index) == ["PDA", "PD"]
    assert table["ndcg@5"].notna().all()
    assert table["auc"].notna().all()
    assert table["log_loss"].isna().all()
    assert not isinstance(Pda(**one).fit(Train(train)), ClickScorer)


def test_a_loss_that_is_no_number_stops_training() -> None:
    rng = np.random.default_rng(0)
    model = PopularityFactors((3, 4), 1, 1.0, LeaveOneOut().count(HAND), rng)
    with torch.no_grad():
        model.user.fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match="nan in epoch 0; lower the learning rate"):
        train_pairwise(model, UniformNegatives(HAND, HAND), 0.0, SHORT, rng)


def test_refusals_say_what_is_lacking() -> None:
    with pytest.raises(Unfit, match=r"^PDA skipped: .* has 1 positives"):
        Pda().fit(Train(HAND.select(np.array([0]))))
    with pytest.raises(Unfit, match="no timestamps; LeaveOneOut needs none"):
        EarlierPeriods().count(replace(HAND, timestamp=None))
    full = log_of([0, 0], [0, 1], (1, 2))
    with pytest.raises(Unfit, match="no positive of a user who has not had every item"):
        UniformNegatives(full, full)
    for build in (lambda: EarlierPeriods(periods=1), lambda: LeaveOneOut(smoothing=0.0)):
        with pytest.raises(ValueError, match="cannot count"):
            build()
    with pytest.raises(ValueError, match="cannot train"):
        PairwiseTraining(epochs=0)
    with pytest.raises(ValueError, match="at least 1 factor, 1 exponent and 1 penalty"):
        Pda(exponents=())
    with pytest.raises(ValueError, match="must not be negative"):
        Pda(penalties=(-1.0,))
