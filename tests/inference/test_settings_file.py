"""Settings as plain values, and as the TOML text of config.toml, and back."""

from __future__ import annotations

import dataclasses
import inspect
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyrorec.data import InputError, Missing, Unobserved, Weighted, Zero
from pyrorec.inference.annealing import Annealing, Cyclical, WarmUp
from pyrorec.inference.objective import (
    MAP,
    Analytic,
    Expected,
    Integrated,
    JaakkolaJordan,
    MonteCarlo,
    Objective,
    ScoreFunction,
    StoredSample,
)
from pyrorec.inference.schedule import ItemsThenUsers, Joint, Schedule, UsersThenItems
from pyrorec.inference.settings import Training
from pyrorec.inference.settings_file import (
    missing_from_plain,
    missing_to_plain,
    model_from_plain,
    model_to_plain,
    read_toml,
    to_toml,
    training_from_plain,
    training_to_plain,
)
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.distributions import Gamma, Normal
from pyrorec.models.factor_priors import Cap, LearnedScale
from pyrorec.models.families import Family, Gaussian, GaussianPerItem, Poisson
from pyrorec.models.predictors import Additive, LogAdditive, Plain, Predictor

UNUSUAL = Training(
    objective=MonteCarlo(particles=3),
    schedule=UsersThenItems(passes=2),
    epochs=7,
    batch_size=33,
    learning_rate=0.1 + 0.2,
    anneal=False,
    kl_weight=0.7,
    kl_warmup=2,
    annealing=Cyclical(period=9),
    clip_norm=1e-7,
    dropout=0.25,
    validation_fraction=1 / 3,
    validate_every=4,
    patience=9,
    finish_epochs=0,
    checkpoint_every=3,
)
"""Every setting differs from its default."""

SPECIAL_MODELS = {
    "learned fields": BilateralModel(
        predictor=LogAdditive(), popularity=Gamma(shape=1 / 3), activity=Gamma(shape=2.5), family=Poisson()
    ),
    "noise and effect": BilateralModel(family=Gaussian(sd=0.1), predictor=Additive(popularity_effect=0.7)),
    "sizes": BilateralModel(factors=3, scale=0.123456789012345, hidden=(7, 5), binarise=True),
    "no hidden layer": BilateralModel(hidden=()),
    "sds by item": BilateralModel(family=GaussianPerItem(sd=(0.1, 2.0, 1 / 3)), predictor=Additive()),
    "priors": BilateralModel(user_prior=LearnedScale(per_factor=True), item_prior=Cap(hidden=(4,), learned_scale=True)),
}


def through_text(plain: dict[str, Any]) -> dict[str, Any]:
    """What TOML text holds of plain values."""
    return tomllib.loads(to_toml(plain))


def assert_model_comes_back(model: BilateralModel) -> None:
    plain = model_to_plain(model)
    assert model_from_plain(plain) == model
    assert through_text(plain) == plain
    assert model_from_plain(through_text(plain)) == model


def test_every_pair_comes_back(predictor: Predictor, family: Family) -> None:
    model = BilateralModel(factors=4, family=family, predictor=predictor)
    assert_model_comes_back(model)
    plain = model_to_plain(model)
    assert (plain["family"]["name"], plain["predictor"]["name"]) == (family.name, predictor.name)
    assert ("popularity" in plain) == (predictor.scale is not None)


@pytest.mark.parametrize("model", SPECIAL_MODELS.values(), ids=SPECIAL_MODELS)
def test_fields_of_the_parts_come_back_exactly(model: BilateralModel) -> None:
    assert model_from_plain(model_to_plain(model)) != BilateralModel()
    assert_model_comes_back(model)


def test_a_model_as_plain_values() -> None:
    """The words of config.toml; a field without a value is left out."""
    model = BilateralModel(factors=3, family=Poisson(), popularity=Gamma(shape=2.0))
    assert model_to_plain(model) == {
        "kind": "bilateral",
        "factors": 3,
        "family": {"name": "poisson"},
        "predictor": {"name": "log-additive"},
        "popularity": {"name": "gamma", "shape": 2.0},
        "activity": {"name": "gamma", "shape": 1.0},
        "source": {"name": "learned"},
        "binarise": False,
        "hidden": [100],
        "user_prior": {"name": "standard"},
        "item_prior": {"name": "standard"},
    }
    assert not {"popularity", "activity"} & set(model_to_plain(BilateralModel(predictor=Plain())))


def test_parts_may_be_given_by_name_alone() -> None:
    plain = {"family": "gaussian", "predictor": "additive", "popularity": "normal"}
    expected = BilateralModel(family=Gaussian(), predictor=Additive(), popularity=Normal())
    assert model_from_plain(plain) == expected


def concrete(kind: type) -> list[type]:
    """The package's own classes of a kind, whatever they derive from."""
    own = [cls for cls in kind.__subclasses__() if cls.__module__.startswith("pyrorec.")]
    return own + [cls for parent in own for cls in concrete(parent)]


def test_every_objective_and_schedule_is_covered_here() -> None:
    assert {type(o) for o in OBJECTIVES} == set(concrete(Objective))
    assert {type(s) for s in SCHEDULES} == {s for s in concrete(Schedule) if not inspect.isabstract(s)}
    assert {type(a) for a in ANNEALINGS} == set(concrete(Annealing))


OBJECTIVES: list[Objective] = [
    Analytic(), Analytic(free_bits=0.1), Expected(), MonteCarlo(), MonteCarlo(particles=5), ScoreFunction(),
    ScoreFunction(particles=3), MAP(), Integrated(), JaakkolaJordan(), StoredSample(),
]  # fmt: skip
SCHEDULES: list[Schedule] = [
    ItemsThenUsers(), ItemsThenUsers(passes=3), UsersThenItems(), UsersThenItems(item_passes=2), Joint(),
    Joint(passes=2),
]  # fmt: skip
ANNEALINGS: list[Annealing] = [WarmUp(), Cyclical(period=7)]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_every_objective_and_schedule_comes_back(objective: Objective, schedule: Schedule) -> None:
    training = Training(objective=objective, schedule=schedule)
    plain = training_to_plain(training)
    assert training_from_plain(plain) == training
    assert training_from_plain(through_text(plain)) == training
    back = training_from_plain(plain)
    assert (type(back.objective), type(back.schedule)) == (type(objective), type(schedule))


@pytest.mark.parametrize("annealing", ANNEALINGS, ids=repr)
def test_every_annealing_comes_back(annealing: Annealing) -> None:
    plain = training_to_plain(Training(annealing=annealing))
    assert training_from_plain(through_text(plain)) == Training(annealing=annealing)


def test_every_setting_of_training_comes_back() -> None:
    defaults = Training()
    same = [f.name for f in dataclasses.fields(Training) if getattr(UNUSUAL, f.name) == getattr(defaults, f.name)]
    assert same == [], "a setting left at its default would not be tested"
    plain = training_to_plain(UNUSUAL)
    assert set(plain) == {f.name for f in dataclasses.fields(Training)}
    assert through_text(plain) == plain
    assert training_from_plain(through_text(plain)) == UNUSUAL


def test_a_setting_without_a_value_is_left_out_and_comes_back() -> None:
    training = replace(UNUSUAL, batch_size=None)
    assert "batch_size" not in training_to_plain(training)
    assert training_from_plain(through_text(training_to_plain(training))) == training


def test_names_and_values_that_do_not_exist_are_refused() -> None:
    for plain, match in (
        ({"family": "poison"}, "no family is called 'poison'"),
        ({"family": {"name": "gaussian", "spread": 1.0}}, "has no key 'spread'"),
        ({"factor": 3}, r"\[model\] has no key 'factor'"),
        ({"family": "gaussian", "predictor": "log-additive"}, "multiplies a rate"),
    ):
        with pytest.raises(InputError, match=match):
            model_from_plain(plain)
    for plain, match in (
        (
            {"objective": "exact"},
            "no 'exact'; there are: analytic, expected, monte-carlo, score-function, map, integrated, jaakkola-jordan",
        ),
        ({"schedule": {"name": "users-then-items", "passes": 0}}, "passes must be at least 1"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"epochs": 2.5}, "epochs must be a whole number"),
    ):
        with pytest.raises(InputError, match=match):
            training_from_plain(plain)


@pytest.mark.parametrize("missing", [Zero(), Unobserved(), Weighted(0.1), Weighted(1.0), Weighted(1 / 3)], ids=repr)
def test_what_a_missing_cell_says_comes_back(missing: Missing) -> None:
    plain = through_text({"missing": missing_to_plain(missing)})
    back = missing_from_plain(plain["missing"])
    assert back == missing
    assert type(back) is type(missing)


@pytest.mark.parametrize("plain", ["none", 0, -1.0, "nan"])
def test_a_missing_cell_that_says_nothing_known_is_refused(plain: Any) -> None:
    with pytest.raises(InputError, match=r"A missing cell is zero|weight of missing cells"):
        missing_from_plain(plain)


def test_text_with_every_character_comes_back() -> None:
    plain = {"reason": 'counts "above" 5: \\ é 漢 \n and a tab\t', "seed": 2**62, "level_shift": -0.0, "tiny": 5e-324}
    back = through_text(plain)
    assert back == plain
    assert str(back["level_shift"]) == "-0.0"


def test_numbers_of_numpy_are_written_as_numbers() -> None:
    """A sweep over np.arange makes such settings, and must not fail when its run is saved."""
    model = BilateralModel(factors=np.int64(3), scale=np.float64(0.5), hidden=(np.int64(4),))  # type: ignore[arg-type]
    training = Training(epochs=np.int64(5), learning_rate=np.float32(0.25))  # type: ignore[arg-type]
    assert model_from_plain(through_text(model_to_plain(model))) == model
    assert training_from_plain(through_text(training_to_plain(training))) == training


def test_a_file_that_is_missing_or_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run.toml does not exist"):
        read_toml(tmp_path / "run.toml")
    for content in (b"epochs = = 3", b"\xff\xfe"):
        (tmp_path / "run.toml").write_bytes(content)
        with pytest.raises(InputError, match="is not a TOML file"):
            read_toml(tmp_path / "run.toml")
    (tmp_path / "run.toml").write_text('[model]\nfamily = "poisson"\n', encoding="utf-8")
    assert read_toml(tmp_path / "run.toml") == {"model": {"family": "poisson"}}
