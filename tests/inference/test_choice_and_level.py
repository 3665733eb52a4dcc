"""The rule by which `fit` chooses a model, and the level of the clicks it then expects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import special

import pyrorec as pr
from pyrorec.data.missing import Missing
from pyrorec.inference import level
from pyrorec.inference.level import match_level
from pyrorec.inference.observations import observe
from pyrorec.inference.posterior import Posterior
from pyrorec.models.families import Family
from pyrorec.models.predictors import Predictor
from pyrorec.simulation import FrailtyWorld


def log_of(values: list[float] | None, **options: object) -> pr.Interactions:
    """A log with these values, one pair each; no value column for None."""
    n = 6 if values is None else len(values)
    frame = pd.DataFrame({"user_id": [f"u{i % 3}" for i in range(n)], "item_id": [f"i{i // 3}" for i in range(n)]})
    return pr.read_interactions(frame if values is None else frame.assign(value=values), **options)  # type: ignore[arg-type]


CLICKS = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
GRADES = [1.0, 5.0, 2.0, 3.0, 1.0, 4.0]
COUNTS = [1.0, 6.0, 2.0, 3.0, 1.0, 40.0]
ZEROS_TOO = [0.0, 6.0, 2.0, 3.0, 1.0, 40.0]
RATINGS = [1.5, 4.0, 2.0, 3.5, 1.0, 5.0]
NEGATIVE = [-1.0, 4.0, 2.0, 3.0, 1.0, 5.0]

RULES = [
    pytest.param(CLICKS, pr.Bernoulli, pr.Additive, pr.Unobserved(), False, "true negatives", id="clicks"),
    pytest.param(GRADES, pr.Poisson, pr.LogAdditive, pr.Zero(), True, "implicit clicks", id="grades"),
    pytest.param([1.0] * 6, pr.Poisson, pr.LogAdditive, pr.Zero(), True, "implicit clicks", id="ones"),
    pytest.param(None, pr.Poisson, pr.LogAdditive, pr.Zero(), True, "implicit clicks", id="no value"),
    pytest.param(COUNTS, pr.Poisson, pr.LogAdditive, pr.Zero(), False, "counts", id="counts"),
    pytest.param(ZEROS_TOO, pr.Poisson, pr.LogAdditive, pr.Unobserved(), False, "counts", id="counts with zeros"),
    pytest.param(RATINGS, pr.Gaussian, pr.Additive, pr.Unobserved(), False, "ratings", id="ratings"),
    pytest.param(NEGATIVE, pr.Gaussian, pr.Additive, pr.Unobserved(), False, "ratings", id="negative"),
]


@pytest.mark.parametrize(("values", "family_", "predictor_", "missing", "binarise", "found"), RULES)
def test_the_rule_follows_the_table_of_the_readme(
    values: list[float] | None,
    family_: type[Family],
    predictor_: type[Predictor],
    missing: Missing,
    binarise: bool,
    found: str,
) -> None:
    choice = pr.choose(log_of(values, allow_negative=True))
    model = choice.model
    assert (type(model.family), type(model.predictor)) == (family_, predictor_)
    assert (choice.missing, model.binarise) == (missing, binarise)
    rate = predictor_ is pr.LogAdditive
    assert isinstance(model.popularity, pr.Gamma if rate else pr.Normal)
    assert isinstance(model.activity, pr.Gamma if rate else pr.Normal)
    absent = {pr.Zero(): "zeros", pr.Unobserved(): "unobserved"}[missing]
    assert found in choice.reason
    assert f"family {family_.name}, predictor {predictor_.name}" in choice.reason
    assert ("binarised" in choice.reason) is binarise
    assert choice.reason.endswith(f"missing cells {absent}")


def test_repeated_clicks_are_trials_and_repeated_records_counts() -> None:
    pair = {"user_id": ["u0"] * 7 + ["u1"], "item_id": ["i0"] * 7 + ["i1"]}
    shown = pr.read_interactions(pd.DataFrame({**pair, "value": [1, 0, 1, 0, 0, 1, 0, 1]}))
    assert isinstance(pr.choose(shown).model.family, pr.Bernoulli)
    plain = pr.choose(pr.read_interactions(pd.DataFrame(pair)))  # seven records of one pair: a count of 7
    assert (type(plain.model.family), plain.model.binarise) == (pr.Poisson, False)


def test_the_rest_of_the_model_is_the_base() -> None:
    base = pr.BilateralModel(factors=7, hidden=(5, 4), scale=0.3, family=pr.Gaussian(), predictor=pr.Plain())
    model = pr.choose(log_of(COUNTS), base).model
    assert (model.factors, model.hidden, model.scale) == (7, (5, 4), 0.3)
    assert (type(model.family), type(model.predictor)) == (pr.Poisson, pr.LogAdditive)


@pytest.mark.parametrize(
    ("values", "popularity", "family_", "predictor_"),
    [
        (CLICKS, pr.Gamma(), pr.Cloglog, pr.LogAdditive),
        (CLICKS, pr.Normal(), pr.Bernoulli, pr.Additive),
        (COUNTS, pr.Gamma(), pr.Poisson, pr.LogAdditive),
        (COUNTS, pr.Normal(), pr.Poisson, pr.Additive),
        (GRADES, pr.Normal(), pr.Poisson, pr.Additive),
        (RATINGS, pr.Normal(), pr.Gaussian, pr.Additive),
    ],
)
def test_a_given_popularity_picks_its_predictor(
    values: list[float], popularity: pr.Gamma | pr.Normal, family_: type[Family], predictor_: type[Predictor]
) -> None:
    model = pr.choose(log_of(values), popularity=popularity).model
    assert (type(model.family), type(model.predictor)) == (family_, predictor_)
    assert model.popularity is popularity
    assert model.activity is popularity


def test_a_rate_on_clicks_picks_cloglog() -> None:
    choice = pr.choose(log_of(CLICKS), predictor=pr.LogAdditive())
    assert isinstance(choice.model.family, pr.Cloglog)
    assert isinstance(choice.model.popularity, pr.Gamma)
    assert choice.missing == pr.Unobserved()


@pytest.mark.parametrize(
    ("family_", "predictor_"),
    [(pr.Cloglog(), pr.LogAdditive), (pr.Bernoulli(), pr.Additive), (pr.Gaussian(), pr.Additive)],
)
def test_a_given_family_picks_its_predictor(family_: Family, predictor_: type[Predictor]) -> None:
    model = pr.choose(log_of(GRADES), family=family_).model
    assert model.family is family_
    assert isinstance(model.predictor, predictor_)


def test_grades_taken_for_ratings_are_not_binarised_and_absent_ones_say_nothing() -> None:
    choice = pr.choose(log_of(GRADES), family=pr.Gaussian())
    assert not choice.model.binarise
    assert choice.missing == pr.Unobserved()


def test_binarised_ratings_are_clicks_among_zeros() -> None:
    choice = pr.choose(log_of(RATINGS), binarise=True)
    assert (type(choice.model.family), type(choice.model.predictor)) == (pr.Poisson, pr.LogAdditive)
    assert choice.missing == pr.Zero()
    assert choice.model.response == pr.Cloglog()


def test_binarised_values_with_zeros_keep_what_the_log_says_of_absent_cells() -> None:
    assert pr.choose(log_of(ZEROS_TOO), binarise=True).missing == pr.Unobserved()


@pytest.mark.parametrize("values", [GRADES, COUNTS, RATINGS])
def test_a_given_meaning_of_absent_cells_stands(values: list[float]) -> None:
    assert pr.choose(log_of(values), missing=pr.Weighted(0.25)).missing == pr.Weighted(0.25)
    assert pr.choose(log_of(values), missing=pr.Weighted(0.25)).reason.endswith("zeros of weight 0.25")


def test_binarised_values_keep_the_weight_of_the_log() -> None:
    assert pr.choose(log_of(GRADES, missing=pr.Weighted(0.1))).missing == pr.Weighted(0.1)


@pytest.mark.parametrize(
    ("values", "given", "sentence"),
    [
        (RATINGS, {"predictor": pr.LogAdditive()}, "multiplies a rate"),
        (RATINGS, {"popularity": pr.Gamma()}, "multiplies a rate"),
        (CLICKS, {"family": pr.Bernoulli(), "predictor": pr.LogAdditive()}, "multiplies a rate"),
        (COUNTS, {"predictor": pr.LogAdditive(), "popularity": pr.Normal()}, "takes popularity as"),
        (COUNTS, {"predictor": pr.Additive(), "popularity": pr.Gamma()}, "takes popularity as"),
        (COUNTS, {"predictor": pr.Plain(), "popularity": pr.Gamma()}, "takes no popularity"),
        (COUNTS, {"activity": pr.Normal()}, "takes popularity as"),
    ],
)
def test_what_does_not_go_together_is_refused(values: list[float], given: dict, sentence: str) -> None:
    with pytest.raises(pr.UnfitPair, match=sentence):
        pr.choose(log_of(values), **given)


def test_fit_without_a_model_keeps_the_choice_and_its_reason() -> None:
    log = FrailtyWorld(users=40, items=25, mean_count=0.5).simulate(0).train.with_missing(pr.Weighted(0.5))
    once = pr.Training(epochs=1, finish_epochs=1)
    run = pr.fit(None, log, training=once, context=pr.Context(progress=False))
    choice = pr.choose(log)
    assert (run.spec, run.log.missing, run.reason) == (choice.model, pr.Weighted(0.5), choice.reason)


@pytest.fixture(scope="module")
def clicks() -> pr.Run:
    log = FrailtyWorld(users=50, items=30, mean_count=0.5).simulate(4).clicks().train
    spec, short = pr.BilateralModel(factors=3, hidden=(8,), binarise=True), pr.Training(epochs=12, finish_epochs=3)
    return pr.fit(spec, log, training=short, context=pr.Context(progress=False))


def probabilities(p: Posterior) -> np.ndarray:
    """E [1 - (1 + e^eta / b)^-a] of every cell, eta normal, by Gauss-Hermite."""
    a, s, b, t = (x.double().numpy() for x in (p.user_mean, p.user_sd, p.item_mean, p.item_sd))
    w, v = (x.double().numpy() for x in (p.activity.concentration, p.activity.rate))  # type: ignore[union-attr]
    z, r = (x.double().numpy() for x in (p.popularity.concentration, p.popularity.rate))  # type: ignore[union-attr]
    spread = np.log1p(1 / w)
    mean = float(p.intercept) + p.level_shift + a @ b.T + (np.log(w / v) - spread / 2)[:, None]
    sd = np.sqrt(a**2 @ (t**2).T + s**2 @ (b**2).T + s**2 @ (t**2).T + spread[:, None])
    nodes, weights = np.polynomial.hermite.hermgauss(50)
    found = np.zeros(mean.shape)
    for x, weight in zip(nodes, weights, strict=True):
        found += weight / np.pi**0.5 * -np.expm1(-z * special.log1p(np.exp(mean + 2**0.5 * x * sd) / r))
    return found


def test_expected_clicks_are_the_logs_clicks(clicks: pr.Run) -> None:
    before = replace(clicks.posterior, level_shift=0.0)
    assert probabilities(before).sum() < 0.97 * clicks.log.value.sum()
    assert clicks.posterior.level_shift > 0.03
    assert probabilities(clicks.posterior).sum() == pytest.approx(clicks.log.value.sum(), rel=1e-3)


def test_a_sample_of_cells_gives_nearly_the_level_of_all(clicks: pr.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for a third of the cells, whatever the seed; and no user or item is left out of the sample."""
    rows = observe(clicks.log, clicks.spec, None).all["user"]
    monkeypatch.setattr(level, "CELLS", rows.columns * len(rows) // 3)
    fresh = replace(clicks.posterior, level_shift=0.0)
    shifts = [match_level(fresh, rows, 1.0, seed).level_shift for seed in range(8)]
    assert np.std(shifts) > 0
    assert np.mean(shifts) == pytest.approx(clicks.posterior.level_shift, abs=0.03)
    cells = level.sampled_cells(rows, 1.0, np.random.default_rng(0))
    assert float(cells.weight.sum()) == pytest.approx(rows.columns * len(rows), rel=0.05)
    assert float((cells.weight * cells.clicks).sum()) == pytest.approx(float(rows.totals.sum()))
    assert len(cells.user.unique()) == len(rows)
    assert len(cells.item.unique()) == rows.columns


@pytest.mark.parametrize("missing_weight", [0.0, 0.3, 1.0])
def test_a_small_log_is_taken_whole(clicks: pr.Run, missing_weight: float) -> None:
    rows = observe(clicks.log, clicks.spec, None).all["user"]
    cells = level.sampled_cells(rows, missing_weight, np.random.default_rng(0))
    flat = cells.user * rows.columns + cells.item
    assert len(flat.unique()) == len(flat)
    absent = rows.columns * len(rows) - len(rows.value)
    assert float(cells.weight.sum()) == pytest.approx(len(rows.value) + missing_weight * absent, rel=1e-6)
