"""The log that ships with the package."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyrorec.data import Kind, Unobserved, Zero
from pyrorec.data.embedded import embedded_log, embedded_truth
from pyrorec.simulation.embedded import SEED, WORLD, write_embedded

SHIPPED = Path(str(files("pyrorec.data") / "embedded"))
TABLES = ("train", "test", "user_features", "item_features", "user_truth", "item_truth")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    write_embedded(folder)
    return folder


@pytest.mark.parametrize("name", TABLES)
def test_the_shipped_tables_can_be_drawn_again(written: Path, name: str) -> None:
    file = f"{name}.parquet"
    shipped, again = pd.read_parquet(SHIPPED / file), pd.read_parquet(written / file)
    pd.testing.assert_frame_equal(shipped, again, check_exact=True)


def test_the_shipped_folder_is_complete_and_small(written: Path) -> None:
    shipped = {file.name: file.stat().st_size for file in SHIPPED.iterdir()}
    assert set(shipped) == {file.name for file in written.iterdir()}
    assert sum(shipped.values()) < 500_000
    assert (SHIPPED / "truth.json").read_bytes() == (written / "truth.json").read_bytes()


def test_the_log_is_the_simulated_one() -> None:
    train, test = embedded_log()
    drawn = WORLD.simulate(SEED)
    for shipped, simulated in ((train, drawn.train), (test, drawn.test)):
        columns = ["user_id", "item_id", "value", "timestamp", "exposure"]
        assert shipped.to_frame()[columns].values.tolist() == simulated.to_frame()[columns].values.tolist()
    assert train.user_features.equals(drawn.train.user_features.astype(train.user_features.dtypes))


def test_what_the_log_looks_like() -> None:
    train, test = embedded_log()
    assert (train.kind, train.missing) == (Kind.COUNTS, Zero())
    assert (test.kind, test.missing) == (Kind.CLICKS, Unobserved())
    assert test.users is train.users
    assert test.items is train.items
    assert 20_000 <= len(train) <= 30_000
    assert 0.8 < np.mean(train.value <= 3) < 1.0
    assert train.value.max() > 20
    assert train.user_features.index.symmetric_difference(train.users).empty
    assert train.item_features.index.symmetric_difference(train.items).empty


def test_the_truth_explains_the_log() -> None:
    (train, test), truth = embedded_log(), embedded_truth()
    assert truth.users.equals(train.users)
    assert truth.items.equals(train.items)
    mean = truth.expected_count
    for axis in (0, 1):
        total, hoped = train.matrix().toarray().sum(axis=axis), mean.sum(axis=axis)
        error = np.sum((total - hoped) ** 2 / hoped - 1.0) / np.sqrt(np.sum(2.0 + 1.0 / hoped))
        assert abs(error) < 4.0
    probability = truth.click_probability[test.user, test.item]
    scale = np.sqrt(np.sum(probability * (1.0 - probability)))
    assert abs(np.sum(test.value - probability)) / scale < 4.0
    assert np.corrcoef(probability, test.value)[0, 1] > 0.4


def test_the_truth_is_stored_with_the_numbers_of_the_world() -> None:
    shared = json.loads((SHIPPED / "truth.json").read_text())
    assert shared["popularity_shape"] == WORLD.popularity_shape
    assert shared["random_rate"] == WORLD.random_rate
    truth = embedded_truth()
    theta, beta = truth.user_factors, truth.item_factors
    mean = np.mean(np.exp(shared["intercept"] + theta @ beta.T))
    assert mean == pytest.approx(WORLD.mean_count, rel=0.02)  # over the ids that were kept
