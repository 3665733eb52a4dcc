"""Lists and scores of pairs against rankings written in numpy from the posterior's moments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import special

import pyrorec as pr
from pyrorec.inference.posterior import Posterior
from pyrorec.simulation import FrailtyWorld

COLUMNS = ["user_id", "item_id", "rank", "score", "sd", "lower", "upper"]
DRAWS = 2_000
INTERVENTIONS = [pr.Observe(), pr.Deconfound(), pr.SetPopularity(2.5), pr.Temper(0.4)]
READINGS = [pr.PlugIn(), pr.Predictive(), pr.Quantile(0.15), pr.Thompson(3)]


@pytest.fixture(scope="module")
def runs() -> dict[str, pr.Run]:
    """Counts, and the same log binarised, which speaks of click probabilities."""
    world = FrailtyWorld(users=50, items=28, mean_count=0.5).simulate(1)
    short = pr.Training(epochs=10, finish_epochs=3)
    spec = pr.BilateralModel(factors=3, hidden=(8,))
    quiet = pr.Context(progress=False)
    return {
        "counts": pr.fit(spec, world.train, training=short, context=quiet),
        "clicks": pr.fit(replace(spec, binarise=True), world.clicks().train, training=short, context=quiet),
    }


@pytest.fixture
def run(runs: dict[str, pr.Run]) -> pr.Run:
    return runs["counts"]


@pytest.fixture
def featureless(run: pr.Run) -> pr.Run:
    """The run without feature tables, so that strangers are scored from the population."""
    return replace(run, log=replace(run.log, user_features=None, item_features=None))


DRAWS = 10_000

Law = tuple[np.ndarray, np.ndarray | None]
"""Shape and rate of Gamma popularity, or its value and None."""


def linear(p: Posterior) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the linear predictor without popularity, activity as the lognormal of equal mean."""
    a, s, b, t = (x.double().numpy() for x in (p.user_mean, p.user_sd, p.item_mean, p.item_sd))
    mean = float(p.intercept) + p.level_shift + a @ b.T
    variance = a**2 @ (t**2).T + s**2 @ (b**2).T + s**2 @ (t**2).T
    w, spread = effect_mean(p.activity), np.log1p(effect_variance(p.activity) / effect_mean(p.activity) ** 2)
    return mean + (np.log(w) - spread / 2)[:, None], variance + spread[:, None]


def effect_mean(law) -> np.ndarray:  # type: ignore[no-untyped-def]
    return law.mean.double().numpy()


def effect_variance(law) -> np.ndarray:  # type: ignore[no-untyped-def]
    return law.variance.double().numpy()


def law_under(p: Posterior, intervention: pr.Intervention) -> Law:
    """Popularity under an intervention: z^w has moments G(a + w) / (G(a) b^w), matched by a Gamma."""
    if isinstance(intervention, pr.SetPopularity):
        return np.array(intervention.value), None
    if isinstance(intervention, pr.Deconfound):
        assert p.population is not None
        alpha = p.population.concentration.double().numpy()
        return alpha, alpha
    weight = intervention.weight if isinstance(intervention, pr.Temper) else 1.0
    if not hasattr(p.popularity, "concentration"):
        return effect_mean(p.popularity) ** weight, None
    a, b = (x.double().numpy() for x in (p.popularity.concentration, p.popularity.rate))  # type: ignore[union-attr]
    first = special.gamma(a + weight) / special.gamma(a) / b**weight
    second = special.gamma(a + 2 * weight) / special.gamma(a) / b ** (2 * weight)
    return first**2 / (second - first**2), first / (second - first**2)


def response(eta: np.ndarray, law: Law, clicks: bool) -> np.ndarray:
    """Expected count or click probability at eta, popularity averaged over its law."""
    a, b = law
    if b is None:
        return 1 - np.exp(-a * np.exp(eta)) if clicks else a * np.exp(eta)
    return 1 - (1 + np.exp(eta) / b) ** -a if clicks else a / b * np.exp(eta)


def brute(run: pr.Run, intervention: pr.Intervention, reading: object) -> np.ndarray:
    """Scores of every known user with every known item, (users, items)."""
    clicks = run.spec.binarise
    p = run.posterior.draw(reading.seed) if isinstance(reading, pr.Thompson) else run.posterior
    (mean, variance), law = linear(p), law_under(p, intervention)
    if isinstance(reading, pr.Predictive):
        nodes, weights = np.polynomial.hermite.hermgauss(80)
        nodes, weights = nodes * 2**0.5, weights / np.pi**0.5
        return sum(w * response(mean + x * variance**0.5, law, clicks) for x, w in zip(nodes, weights, strict=True))
    if not isinstance(reading, pr.Quantile):
        return response(mean, law, clicks)
    return quantile_of_draws(p, intervention, reading.p, clicks)


def quantile_of_draws(p: Posterior, intervention: pr.Intervention, level: float, clicks: bool) -> np.ndarray:
    """The quantile of the response over draws of affinity, activity and (Observe, Temper) popularity itself."""
    rng = np.random.default_rng(0)
    a, s, b, t = (x.double().numpy() for x in (p.user_mean, p.user_sd, p.item_mean, p.item_sd))
    sd = np.sqrt(a**2 @ (t**2).T + s**2 @ (b**2).T + s**2 @ (t**2).T)
    weight = {pr.Observe: 1.0, pr.Temper: getattr(intervention, "weight", 1.0)}.get(type(intervention), 0.0)
    (shape, rate), (of_user, per_user) = (
        (law.concentration.double().numpy(), law.rate.double().numpy()) for law in (p.popularity, p.activity)
    )  # type: ignore[union-attr]
    z = (rng.gamma(shape, 1 / rate, (DRAWS, len(shape))).clip(1e-300)) ** weight
    law = (np.array(1.0), None) if weight else law_under(p, intervention)
    out = np.empty(sd.shape)
    for user in range(len(a)):
        w = rng.gamma(of_user[user], 1 / per_user[user], DRAWS).clip(1e-300)
        affinity = a[user] @ b.T + sd[user] * rng.standard_normal((DRAWS, len(b)))
        eta = float(p.intercept) + p.level_shift + affinity + np.log(w)[:, None] + np.log(z)
        out[user] = np.quantile(response(eta, law, clicks), level, axis=0)
    return out


def seen(run: pr.Run) -> np.ndarray:
    pattern = np.zeros(run.log.shape, bool)
    pattern[run.log.user, run.log.item] = True
    return pattern


def at(run: pr.Run, table: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
    """The brute-force score of every row of a table."""
    users, items = run.log.users.get_indexer(table["user_id"]), run.log.items.get_indexer(table["item_id"])
    return scores[users, items]


def lists(table: pd.DataFrame) -> dict[str, list[str]]:
    return {user: list(rows["item_id"]) for user, rows in table.groupby("user_id", sort=False)}


@pytest.mark.parametrize("log", ["counts", "clicks"])
@pytest.mark.parametrize("intervention", INTERVENTIONS, ids=lambda i: type(i).__name__)
@pytest.mark.parametrize("reading", READINGS, ids=lambda r: type(r).__name__)
def test_lists_are_those_of_a_ranking_by_hand(
    runs: dict[str, pr.Run], log: str, intervention: pr.Intervention, reading: pr.PlugIn
) -> None:
    """The score at each place is the sorted one, so only items whose scores agree to four digits may swap.

    Quantiles are compared with those of draws, which are good to a few per cent.
    """
    run, loose = runs[log], isinstance(reading, pr.Quantile)
    scores = brute(run, intervention, reading)
    best = -np.sort(-np.where(seen(run), -np.inf, scores), axis=1)[:, :6]
    table = run.recommend(k=6, intervention=intervention, reading=reading)
    assert list(table["user_id"]) == list(np.repeat(run.log.users, 6))
    assert list(table["rank"]) == [1, 2, 3, 4, 5, 6] * run.log.n_users
    assert not table.duplicated(["user_id", "item_id"]).any()
    np.testing.assert_allclose(at(run, table, scores), best.ravel(), rtol=0.08 if loose else 3e-4)
    np.testing.assert_allclose(table["score"], best.ravel(), rtol=0.05 if loose else 1e-3)


def test_columns_stand_in_the_documented_order(run: pr.Run) -> None:
    assert list(run.recommend(k=2).columns) == COLUMNS


def test_lists_hold_exactly_what_a_user_has_not_had(run: pr.Run) -> None:
    found = np.zeros(run.log.shape, bool)
    table = run.recommend(k=run.log.n_items)
    found[run.log.users.get_indexer(table["user_id"]), run.log.items.get_indexer(table["item_id"])] = True
    np.testing.assert_array_equal(found, ~seen(run))


def test_seen_items_come_back_on_request(run: pr.Run) -> None:
    table = run.recommend(k=run.log.n_items, include_seen=True)
    assert len(table) == run.log.n_users * run.log.n_items
    best = -np.sort(-brute(run, pr.Observe(), pr.PlugIn()), axis=1)
    np.testing.assert_allclose(table["score"], best.ravel(), rtol=1e-3)


def test_candidates_restrict_the_lists_and_keep_their_order(run: pr.Run) -> None:
    candidates = list(run.log.items[[20, 3, 11, 7]])
    whole, some = run.recommend(k=run.log.n_items), run.recommend(k=4, items=[*candidates, candidates[0]])
    expected = whole[whole["item_id"].isin(candidates)]
    assert lists(some) == lists(expected)
    assert len(some) < 4 * run.log.n_users  # seen ones are left out of the candidates too


def test_users_come_in_the_order_asked_for_and_once(run: pr.Run) -> None:
    asked = list(run.log.users[[9, 2, 5]])
    table = run.recommend(users=[*asked, asked[1]], k=3)
    assert list(table["user_id"]) == list(np.repeat(asked, 3))


def test_an_excluded_pair_makes_room_for_the_next(run: pr.Run) -> None:
    before = run.recommend(k=5)
    first = before[before["rank"] == 1].iloc[::2]
    foreign = pd.DataFrame({"user_id": ["nobody"], "item_id": [run.log.items[0]]})
    after = lists(run.recommend(k=4, exclude=pd.concat([first, foreign])))
    for user, items in lists(before).items():
        excluded = user in set(first["user_id"])
        assert after[user] == (items[1:5] if excluded else items[:4])


def test_an_exclusion_table_without_ids_is_refused_in_a_sentence(run: pr.Run) -> None:
    with pytest.raises(pr.InputError, match="user_id"):
        run.recommend(k=2, exclude=pd.DataFrame({"user": ["u001"], "item_id": ["i001"]}))


def test_more_places_than_candidates_give_shorter_lists(run: pr.Run) -> None:
    table = run.recommend(k=10_000)
    assert list(table.groupby("user_id").size()[run.log.users]) == list((~seen(run)).sum(1))
    assert all(list(rows["rank"]) == list(range(1, len(rows) + 1)) for _, rows in table.groupby("user_id"))


def test_a_user_without_candidates_gets_no_row(run: pr.Run) -> None:
    user, other = run.log.users[:2]
    had = run.log.items[seen(run)[0]]
    table = run.recommend(users=[user, other], k=3, items=had)
    assert user not in set(table["user_id"])
    alone = run.recommend(users=[user], k=3, items=had)
    assert len(alone) == 0
    assert list(alone.columns) == COLUMNS


def test_a_stranger_is_scored_from_the_population(featureless: pr.Run) -> None:
    """Mean factors, and an activity of mean one: e^(b0 + mean theta . beta) E z / sqrt(1 + 1 / alpha)."""
    p = featureless.posterior
    table = featureless.recommend(users=["nobody"], k=10_000)
    affinity = p.user_mean.double().mean(0).numpy() @ p.item_mean.double().numpy().T
    alpha = float(p.user_effect.population.concentration)  # type: ignore[union-attr]
    expected = np.exp(float(p.intercept) + affinity) * effect_mean(p.popularity) / (1 + 1 / alpha) ** 0.5
    assert len(table) == featureless.log.n_items
    assert list(table["item_id"]) == list(p.items[np.argsort(-expected)])
    np.testing.assert_allclose(table["score"], -np.sort(-expected), rtol=1e-4)
    assert len(table.attrs["notes"]) == 1
    assert "1 of 1 users are unknown" in table.attrs["notes"][0]


def test_a_stranger_changes_nobody_elses_list(run: pr.Run) -> None:
    alone = run.recommend(users=["u001"], k=5)
    beside = run.recommend(users=["nobody", "u001"], k=5)
    pd.testing.assert_frame_equal(beside[beside["user_id"] == "u001"].reset_index(drop=True), alone)


@pytest.mark.parametrize("log", ["counts", "clicks"])
@pytest.mark.parametrize("intervention", INTERVENTIONS, ids=lambda i: type(i).__name__)
@pytest.mark.parametrize("reading", [pr.PlugIn(), pr.Predictive()], ids=lambda r: type(r).__name__)
def test_scores_lie_within_their_intervals(
    runs: dict[str, pr.Run], log: str, intervention: pr.Intervention, reading: pr.PlugIn
) -> None:
    table = runs[log].recommend(k=10_000, intervention=intervention, reading=reading, include_seen=True)
    assert ((table["lower"] <= table["score"]) & (table["score"] <= table["upper"])).all()
    assert (table["sd"] > 0).all()


@pytest.mark.parametrize("log", ["counts", "clicks"])
def test_deconfounded_lists_follow_affinity(runs: dict[str, pr.Run], log: str) -> None:
    run, p = runs[log], runs[log].posterior
    affinity = (p.user_mean.double() @ p.item_mean.double().T).numpy()
    best = -np.sort(-np.where(seen(run), -np.inf, affinity), axis=1)[:, :10]
    table = run.recommend(k=10, intervention=pr.Deconfound())
    np.testing.assert_allclose(at(run, table, affinity), best.ravel(), atol=1e-5)
    observed = run.recommend(k=10)
    assert np.abs(at(run, observed, affinity) - best.ravel()).max() > 0.1


@pytest.mark.parametrize("log", ["counts", "clicks"])
def test_temper_of_zero_ranks_as_deconfound(runs: dict[str, pr.Run], log: str) -> None:
    tempered = runs[log].recommend(k=10, intervention=pr.Temper(0.0))
    deconfounded = runs[log].recommend(k=10, intervention=pr.Deconfound())
    affinity = (runs[log].posterior.user_mean @ runs[log].posterior.item_mean.T).numpy()
    np.testing.assert_allclose(
        at(runs[log], tempered, affinity), at(runs[log], deconfounded, affinity), atol=1e-5
    )  # the same items, or ones tied in single precision


@pytest.mark.parametrize("log", ["counts", "clicks"])
def test_temper_of_one_is_observe(runs: dict[str, pr.Run], log: str) -> None:
    tempered = runs[log].recommend(k=8, intervention=pr.Temper(1.0), reading=pr.Predictive())
    observed = runs[log].recommend(k=8, reading=pr.Predictive())
    np.testing.assert_allclose(tempered[COLUMNS[3:]], observed[COLUMNS[3:]], rtol=2e-4)


def test_thompson_lists_are_reproducible_by_seed(run: pr.Run) -> None:
    first, again, other = (run.recommend(k=5, reading=pr.Thompson(seed)) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert lists(first) != lists(other)
    alone = run.recommend(users=["u004"], k=5, reading=pr.Thompson(1))
    assert lists(alone)["u004"] == lists(first)["u004"]


def test_a_thompson_draw_does_not_depend_on_who_else_is_asked_for(run: pr.Run) -> None:
    """One joint draw, the same for every user asked with this seed, strangers beside them or not."""
    alone = run.recommend(users=["u001"], k=5, reading=pr.Thompson(1))
    beside = run.recommend(users=["u001", "nobody"], k=5, reading=pr.Thompson(1))
    np.testing.assert_allclose(beside["score"][:5], alone["score"], rtol=1e-5)


def test_uncertainty_beside_a_thompson_draw_is_the_posteriors(run: pr.Run) -> None:
    drawn = run.recommend(k=10_000, reading=pr.Thompson(1)).sort_values(["user_id", "item_id"])
    plain = run.recommend(k=10_000).sort_values(["user_id", "item_id"])
    np.testing.assert_allclose(drawn[["sd", "lower", "upper"]], plain[["sd", "lower", "upper"]], rtol=1e-4)


def drawn_response(run: pr.Run, observe: bool) -> np.ndarray:
    """Draws (draws, users, items) of the response; the population averaged over unless under Observe."""
    p, draws = run.posterior, run.posterior.draws(DRAWS, 5)
    eta = float(p.intercept) + p.level_shift + draws["user_factors"] @ draws["item_factors"].transpose(0, 2, 1)
    eta = eta + np.log(draws["activity"])[:, :, None]
    if observe:
        return response(eta + np.log(draws["popularity"])[:, None, :], (np.array(1.0), None), run.spec.binarise)
    return response(eta, law_under(p, pr.Deconfound()), run.spec.binarise)


@pytest.mark.parametrize("log", ["counts", "clicks"])
@pytest.mark.parametrize("intervention", [pr.Observe(), pr.Deconfound()], ids=lambda i: type(i).__name__)
def test_intervals_hold_nine_draws_of_ten(runs: dict[str, pr.Run], log: str, intervention: pr.Intervention) -> None:
    """The linear predictor is taken as normal, which single cells feel by a few points and their mean hardly."""
    run = runs[log]
    table = run.recommend(k=10_000, intervention=intervention, reading=pr.Predictive(), include_seen=True)
    response_ = drawn_response(run, isinstance(intervention, pr.Observe))
    users, items = run.log.users.get_indexer(table["user_id"]), run.log.items.get_indexer(table["item_id"])
    drawn = response_[:, users, items]
    below = (drawn < table["lower"].to_numpy()).mean(0)
    above = (drawn > table["upper"].to_numpy()).mean(0)
    np.testing.assert_allclose([below.mean(), above.mean()], 0.05, atol=0.015)
    np.testing.assert_allclose([below, above], 0.05, atol=0.05)
    ratio = table["score"] / drawn.mean(0)
    assert float(np.median(ratio)) == pytest.approx(1, abs=0.04)
    assert np.abs(ratio - 1).quantile(0.9) < 0.2


def test_an_array_of_popularities_serves_lists_with_an_unknown_item(run: pr.Run) -> None:
    """One value per item in the run's order, whatever else is among the candidates."""
    each = pr.SetPopularity(np.linspace(0.5, 2, run.log.n_items))
    known = list(run.log.items[:6])
    expected = run.recommend(users=["u002"], k=6, items=known, intervention=each, include_seen=True)
    beside = run.recommend(users=["u002"], k=7, items=[*known, "new"], intervention=each, include_seen=True)
    assert list(beside[beside["item_id"] != "new"]["item_id"]) == list(expected["item_id"])


def some_pairs(run: pr.Run) -> pd.DataFrame:
    """Shuffled pairs with repetitions, strangers, an odd index and columns of their own."""
    rng = np.random.default_rng(0)
    users, items = rng.choice(run.log.users, 60), rng.choice(run.log.items, 60)
    pairs = pd.DataFrame(
        {"when": np.arange(60), "item_id": items, "mean": -1.0, "user_id": users}, index=range(60, 0, -1)
    )
    pairs.iloc[7, 3], pairs.iloc[8, 1] = "nobody", "nothing"
    pairs.iloc[9, [1, 3]] = ["nothing", "nobody"]
    return pd.concat([pairs, pairs.iloc[:10]])


def test_pairs_keep_their_order_their_columns_and_every_row(run: pr.Run) -> None:
    pairs = some_pairs(run)
    scored = run.score(pairs)
    assert list(scored.columns) == ["when", "item_id", "user_id", "mean", "sd", "lower", "upper"]
    for column in ("when", "item_id", "user_id"):
        assert list(scored[column]) == list(pairs[column])
    np.testing.assert_array_equal(scored.iloc[60:, 3:], scored.iloc[:10, 3:])
    assert np.isfinite(scored[["mean", "sd", "lower", "upper"]]).all(axis=None)
    assert (scored["mean"] > 0).all()
    assert len(scored.attrs["notes"]) == 2
    assert "'nothing'" in scored.attrs["notes"][1]


@pytest.mark.parametrize("reading", READINGS[:3], ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("intervention", INTERVENTIONS, ids=lambda i: type(i).__name__)
def test_pairs_are_scored_as_in_lists(run: pr.Run, intervention: pr.Intervention, reading: pr.PlugIn) -> None:
    asked = ["u003", "nobody"]
    table = run.recommend(asked, 10_000, intervention, reading, items=[*run.log.items, "nothing"], include_seen=True)
    scored = run.score(table[["user_id", "item_id"]], intervention, reading)
    assert len(scored) == 2 * run.log.n_items + 2
    np.testing.assert_allclose(scored[["mean", "sd", "lower", "upper"]], table[COLUMNS[3:]], rtol=1e-5)


def test_pairs_are_read_by_the_posterior_predictive_unless_told_otherwise(run: pr.Run) -> None:
    pairs = run.log.to_frame()[["user_id", "item_id"]]
    expected = at(run, pairs, brute(run, pr.Observe(), pr.Predictive()))
    np.testing.assert_allclose(run.score(pairs)["mean"], expected, rtol=1e-3)
    assert np.abs(run.score(pairs, reading=pr.PlugIn())["mean"] / expected - 1).max() > 0.02


def test_no_pairs_give_no_rows(run: pr.Run) -> None:
    scored = run.score(pd.DataFrame({"user_id": [], "item_id": []}))
    assert scored.shape == (0, 6)


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (pd.DataFrame({"user": ["u001"], "item_id": ["i001"]}), "need a column 'user_id'"),
        (pd.DataFrame({"user_id": ["u001", None], "item_id": ["i001", "i002"]}), "Row 2 of the pairs has no user_id"),
    ],
)
def test_pairs_without_ids_are_refused(run: pr.Run, pairs: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(pr.InputError, match=sentence):
        run.score(pairs)


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ({"k": 0}, "at least one item"),
        ({"users": "u001"}, r"\['u001'\]"),
        ({"users": []}, "list of users is empty"),
        ({"items": []}, "list of items is empty"),
        ({"intervention": pr.Deconfound}, "no intervention"),
        ({"reading": "plug-in"}, "no reading"),
    ],
)
def test_questions_that_make_no_sense_are_refused(run: pr.Run, question: dict, sentence: str) -> None:
    with pytest.raises(pr.InputError, match=sentence):
        run.recommend(**question)
