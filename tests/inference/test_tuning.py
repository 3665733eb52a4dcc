"""Tuning: the grid, what is written down and read back, failures, and weights by propensity."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import pyrorec as pr
from pyrorec.data import Interactions
from pyrorec.inference import tuning
from pyrorec.inference.density import log_density
from pyrorec.inference.train import NonFiniteLoss
from pyrorec.inference.tuning import BEST, RESULTS, Tuned
from pyrorec.inference.validation_metrics import inverse_propensity_weights, metric_named, weighted_mean
from pyrorec.simulation import FrailtyWorld

WORLD = FrailtyWorld(users=40, items=25, mean_count=0.6, features=False, random_per_user=10).simulate(1)
QUIET = pr.Context(progress=False)
DECLARED: dict[str, Any] = {
    "model": {"factors": [2, 3], "hidden": [[4]], "predictor": ["log-additive", "plain"]},
    "training": {"epochs": 2, "validation_fraction": 0.0},
}


def tuned(folder: Path, declared: dict[str, Any] = DECLARED, log: Interactions = WORLD.train, **more: Any) -> Tuned:
    return pr.tune(pr.Space.from_plain(declared), log, folder, context=QUIET, **more)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[pr.BilateralModel]:
    """Every model that is fitted, in order."""
    done: list[pr.BilateralModel] = []
    fit: Callable[..., pr.Run] = tuning.fit

    def counted(model: pr.BilateralModel, *rest: Any, **more: Any) -> pr.Run:
        done.append(model)
        return fit(model, *rest, **more)

    monkeypatch.setattr(tuning, "fit", counted)
    return done


# The space


def test_every_combination_is_a_candidate() -> None:
    found = pr.Space.from_plain(DECLARED).candidates()
    settings = [(c["model"]["factors"], c["model"]["predictor"]) for c in found]
    assert settings == [(2, "log-additive"), (2, "plain"), (3, "log-additive"), (3, "plain")]
    assert all(c["model"]["hidden"] == [4] and c["training"]["epochs"] == 2 for c in found)


def test_settings_of_a_part_are_choices_too() -> None:
    declared = {"model": {"popularity": {"name": "gamma", "shape": [0.5, 1.0]}}, "missing": ["zero", 0.1]}
    found = pr.Space.from_plain(declared).candidates()
    assert len(found) == 4
    assert found[3] == {"model": {"popularity": {"name": "gamma", "shape": 1.0}}, "missing": 0.1}


def test_samples_are_distinct_combinations_and_keyed_by_the_seed() -> None:
    wide = {"training": {"epochs": list(range(1, 101)), "batch_size": list(range(1, 1001))}}
    drawn = [pr.Space.from_plain(wide | {"samples": 20, "seed": seed}).candidates() for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({json.dumps(candidate) for candidate in drawn[0]}) == 20
    epochs = [candidate["training"]["epochs"] for candidate in drawn[0]]
    assert max(epochs) - min(epochs) > 40
    few = pr.Space.from_plain(DECLARED | {"samples": 50}).candidates()
    assert len(few) == 4
    with pytest.raises(pr.InputError, match="give samples"):
        pr.Space.from_plain(wide).candidates()


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"modle": {}}, "no key 'modle'"),
        ({"model": {"factrs": [1]}}, "no key 'factrs'"),
        ({"model": {"factors": ["many"]}}, "factors must be a whole number"),
        ({"model": {"factors": []}}, "model.factors has no values"),
        ({"training": {"epochs": [0]}}, "epochs must be at least 1"),
        ({"model": {"kind": ["trilateral"]}}, "no model 'trilateral'"),
        ({"model": [3]}, "must be a table"),
        ({"samples": 0, "model": {"factors": 3}}, "samples"),
        ({"seed": -1, "model": {"factors": 3}}, "seed"),
        ({}, "no values"),
    ],
)
def test_what_cannot_be_a_space_is_refused(declared: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(pr.InputError, match=words):
        tuned(tmp_path / "out", declared)
    assert not (tmp_path / "out").exists()


# Results


def test_the_table_holds_means_over_seeds_and_the_winner_is_written_down(tmp_path: Path) -> None:
    found = tuned(tmp_path, seeds=(0, 4))
    rows = pd.DataFrame(lines(tmp_path))
    assert len(rows) == 8
    scores = rows["score"].to_numpy().reshape(4, 2)
    table = found.table.sort_index()
    np.testing.assert_allclose(table["score"], scores.mean(1))
    np.testing.assert_allclose(table["se_seeds"], np.abs(scores[:, 0] - scores[:, 1]) / 2)
    best = int(scores.mean(1).argmax())
    assert found.table.index[0] == best
    np.testing.assert_allclose(table["difference"], scores.mean(1) - scores.mean(1).max())
    assert list(found.table.columns[:2]) == ["model.factors", "model.predictor"]
    factors, predictor = [(2, "log-additive"), (2, "plain"), (3, "log-additive"), (3, "plain")][best]
    assert (found.model.factors, found.model.predictor.name) == (factors, predictor)
    assert found.training.epochs == 2


def test_a_score_is_that_of_a_fit_on_the_rest(tmp_path: Path) -> None:
    tuned(tmp_path, {"model": {"factors": 2, "hidden": [[4]]}, "training": DECLARED["training"]}, seeds=(5,))
    train, validation = pr.hold_out(WORLD.train, 0.2, 5)
    spec, short = pr.BilateralModel(factors=2, hidden=(4,)), pr.Training(epochs=2, validation_fraction=0.0)
    run = pr.fit(spec, train, seed=5, training=short, context=QUIET)
    wanted = pr.evaluate(run, validation, at=10, baselines=()).loc["observe", "ndcg@10"]
    np.testing.assert_allclose(lines(tmp_path)[0]["score"], wanted)


def test_what_is_done_is_not_done_again(tmp_path: Path, fits: list[pr.BilateralModel]) -> None:
    """Two of four results are lost, one of them in the middle of its line."""
    first = tuned(tmp_path)
    assert len(fits) == 4
    text = (tmp_path / RESULTS).read_text().splitlines(keepends=True)
    (tmp_path / RESULTS).write_text(text[0] + text[1] + text[2][:40])
    again = tuned(tmp_path)
    assert [model.predictor.name for model in fits[4:]] == ["log-additive", "plain"]
    assert len(lines(tmp_path)) == 4
    pd.testing.assert_frame_equal(first.table.drop(columns="cpu_s"), again.table.drop(columns="cpu_s"))
    assert tuned(tmp_path).model == first.model
    assert len(fits) == 6


def test_another_log_fraction_or_metric_is_another_result(tmp_path: Path, fits: list[pr.BilateralModel]) -> None:
    one = {"model": {"factors": 2, "hidden": [[4]]}, "training": DECLARED["training"]}
    tuned(tmp_path, one)
    changed = replace(WORLD.train, value=WORLD.train.value + 1)
    for more in ({"log": changed}, {"validation": 0.3}, {"metric": pr.Ndcg(5)}, {"seeds": (1,)}):
        tuned(tmp_path, one, **more)
    assert len(fits) == 5


def test_failures_are_written_down_and_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit: Callable[..., pr.Run] = tuning.fit

    def failing(model: pr.BilateralModel, *rest: Any, **more: Any) -> pr.Run:
        if model.factors == 3:
            raise NonFiniteLoss("the loss became nan")
        return fit(model, *rest, **more)

    monkeypatch.setattr(tuning, "fit", failing)
    declared = {"model": {"factors": [3, 2], "hidden": [[4]], "predictor": ["log-additive", "additive"],
                          "popularity": ["gamma"]}, "training": DECLARED["training"]}  # fmt: skip
    found = tuned(tmp_path, declared)
    reasons = found.table.sort_index()["reason"]
    assert reasons[0] == "the loss became nan"
    assert "additive takes popularity" in reasons[1]
    assert reasons[2] == ""
    assert found.table.index[0] == 2
    assert found.table["fits"].tolist() == [1, 0, 0, 0]
    monkeypatch.setattr(tuning, "fit", fit)
    with pytest.raises(pr.InputError, match=r"No candidate could be fitted.*loss became nan"):
        tuned(tmp_path, declared | {"model": declared["model"] | {"factors": [3]}})


def test_candidates_that_predict_different_events_need_a_ranking(tmp_path: Path) -> None:
    declared = {"model": {"factors": 2, "hidden": [[4]], "binarise": [True, False]}, "training": DECLARED["training"]}
    with pytest.raises(pr.InputError, match="--metric ndcg@10"):
        tuned(tmp_path / "out", declared, metric=pr.LogLikelihood())
    assert not (tmp_path / "out").exists()
    assert tuned(tmp_path, declared, metric=pr.Ndcg(10)).table["fits"].tolist() == [1, 1]


# Metrics


@pytest.fixture(scope="module")
def clicked() -> tuple[pr.Run, Interactions]:
    """A run on clicks with true negatives, and a validation part with propensities."""
    rng = np.random.default_rng(0)
    log = replace(WORLD.test, propensity=rng.uniform(0.1, 1.0, len(WORLD.test)), exposure=None)
    train, validation = pr.hold_out(log, 0.3, 0)
    model = pr.BilateralModel(factors=2, hidden=(4,), family=pr.Bernoulli(), predictor=pr.Additive())
    return pr.fit(model, train, training=pr.Training(epochs=2), context=QUIET), validation


def test_weights_by_propensity_are_those_of_the_formula(clicked: tuple[pr.Run, Interactions]) -> None:
    run, validation = clicked
    each, weight = log_density(run.posterior, validation), 1 / validation.propensity  # type: ignore[operator]
    plain, weighted = (pr.LogLikelihood(on).score(run, validation) for on in (False, True))
    np.testing.assert_allclose(plain.mean, each.mean())
    np.testing.assert_allclose(weighted.mean, (weight * each).sum() / weight.sum())
    apart = pd.Series(weight * (each - weighted.mean)).groupby(validation.user).sum() / weight.sum()
    np.testing.assert_allclose(weighted.se, apart.std() * len(apart) ** 0.5)
    assert plain.mean != weighted.mean


def test_weighted_cells_speak_of_what_was_not_selected() -> None:
    """Cells kept with probability p and weighted by 1 / p have the mean of all cells, within its standard error."""
    rng = np.random.default_rng(2)
    value = rng.normal(size=40_000)
    propensity = 1 / (1 + np.exp(-2 * value))
    kept = rng.random(len(value)) < propensity
    n = int(kept.sum())
    log = Interactions(
        users=pd.RangeIndex(n), items=pd.RangeIndex(1), user=np.arange(n), item=np.zeros(n, np.int64),
        value=value[kept], trials=np.ones(n), propensity=propensity[kept],
    )  # fmt: skip
    weight = inverse_propensity_weights(log)
    np.testing.assert_allclose(weight.mean(), 1)
    assert abs(weighted_mean(log.value, weight)) < 0.15
    assert log.value.mean() > 0.5


def test_the_default_metric_is_what_early_stopping_would_watch() -> None:
    assert metric_named(None, WORLD.train) == pr.Ndcg(10)
    assert metric_named(None, WORLD.test) == pr.LogLikelihood()
    assert metric_named("ndcg@3", WORLD.test).name == "ndcg@3"
    for name in ("ndcg", "ndcg@0", "auc"):
        with pytest.raises(pr.InputError, match=f"no metric '{name}'"):
            metric_named(name, WORLD.train)
    with pytest.raises(pr.InputError, match="no metric 'ndcg@10'"):
        metric_named("ndcg@10", WORLD.train, inverse_propensity=True)
    with pytest.raises(pr.InputError, match="propensity column"):
        pr.LogLikelihood(True).check(WORLD.train)


def test_the_winner_can_be_fitted_from_its_file(tmp_path: Path) -> None:
    from pyrorec.config import read_config, resolve_model, resolve_training
    from pyrorec.models.bilateral import BilateralModel

    found = tuned(tmp_path)
    config = read_config(tmp_path / BEST)
    flags = {"factors": None, "missing": None}
    assert resolve_model(BilateralModel, config, flags, WORLD.train).model == found.model
    assert resolve_training(BilateralModel, config, {}, len(WORLD.train)) == found.training
    assert torch.get_num_threads() == 1
