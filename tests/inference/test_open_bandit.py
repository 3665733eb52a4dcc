"""Open Bandit's two policies, each judged by the other's log and by its own."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import pyrorec as pr

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark, whose reading of the data the test shares."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield importlib.import_module("benchmarks.open_bandit")
    sys.modules.pop("benchmarks.open_bandit", None)


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    found = shared / "data" / "obd"
    if not found.exists():
        pytest.skip("needs the Open Bandit logs")
    return found


@pytest.mark.parametrize("campaign", ["men", "women"])
def test_thompson_is_estimated_from_the_uniform_log(bench: ModuleType, folder: Path, campaign: str) -> None:
    uniform, thompson = bench.logs(folder, campaign)
    items = {"men": 34, "women": 46}[campaign]
    np.testing.assert_allclose(uniform.propensity, 1 / items)
    table = bench.judged(bench.shown_by(thompson), uniform, thompson)
    assert (table["z"].abs() < 2).all()
    assert table["effective"].iloc[0] > 2_000
    assert (table["rewarded"] < 30).all()
    assert any("effective rewards" in note for note in pr.off_policy(bench.shown_by(thompson), uniform).attrs["notes"])


def test_the_uniform_policy_is_estimated_from_the_mens_thompson_log(bench: ModuleType, folder: Path) -> None:
    uniform, thompson = bench.logs(folder, "men")
    table = bench.judged(pr.uniform_policy(uniform.items), thompson, uniform)
    weights = 1 / 34 / thompson.propensity
    assert table.loc["ips", "value"] == pytest.approx((weights * thompson.value).mean())
    assert table.loc["snips", "value"] == pytest.approx((weights @ thompson.value) / weights.sum())
    assert (table["z"].abs() < 2).all()
    assert (table["lower"] > 0).all()


def test_one_propensity_of_a_millionth_is_refused_in_the_womens_thompson_log(bench: ModuleType, folder: Path) -> None:
    uniform, thompson = bench.logs(folder, "women")
    assert thompson.propensity.min() == 1e-6
    with pytest.raises(pr.NoOverlap, match=r"as much as 2\.1 of its own"):
        bench.judged(pr.uniform_policy(uniform.items), thompson, uniform)
