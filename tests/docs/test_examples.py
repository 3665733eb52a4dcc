"""The example scripts run as a user would run them, and find what is there to be found."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pyrorec as pr
from pyrorec.simulation import FrailtyWorld

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[[list[str]], Any]]:
    """`main` of a script, to be called in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda name: runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


@pytest.fixture
def small_log(tmp_path: Path) -> str:
    """A log with times in a file, 60 users by 30 items."""
    world = FrailtyWorld(users=60, items=30, mean_count=0.5, features=False)
    world.simulate(0).train.to_frame()[["user_id", "item_id", "value", "timestamp"]].to_csv(tmp_path / "log.csv")
    return str(tmp_path / "log.csv")


def test_bivae_beats_popularity_under_both_estimators(
    example: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    table = example("train_bivae")(["--epochs", "9"])
    assert list(table.index) == ["BiVAE, Trace_ELBO", "BiVAE, analytic ELBO", "popularity", "EASE"]
    ndcg = table["ndcg@10"]
    assert ndcg.iloc[:2].min() > 1.2 * ndcg["popularity"]
    assert abs(ndcg.iloc[0] - ndcg.iloc[1]) < 0.04
    elbo = [pr.load(f"runs/bivae/{name}").metrics[-1]["elbo"] for name in ("trace_elbo", "analytic-elbo")]
    assert elbo[0] == pytest.approx(elbo[1], rel=0.05)
    assert f"analytic ELBO: {elbo[1]:.4f} nats a record" in capsys.readouterr().out


def test_popularity_is_recovered_and_deconfounding_finds_taste(
    example: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run, table = example("train_popularity")(["--epochs", "10", "--out", "found"])
    true = pr.embedded_truth().popularity
    recovered = run.posterior.effects("item")["mean"]
    assert np.corrcoef(np.log(recovered), np.log(true))[0, 1] > 0.9
    auc = table["within_user_auc"]
    assert auc["observe"] + 0.02 < auc["temper 0.5"] < auc["deconfound"]
    assert table.loc["deconfound", "arp@10"] < table.loc["observe", "arp@10"]
    pd.testing.assert_frame_equal(pr.load("found").posterior.effects("item"), run.posterior.effects("item"))
    said = capsys.readouterr().out
    assert "the 90 % intervals hold" in said
    assert "Best ranking of the test part: deconfound" in said


@pytest.mark.parametrize("name", ["train_bivae", "train_popularity"])
def test_scripts_take_a_log_of_ones_own(example: Callable[..., Any], small_log: str, name: str) -> None:
    example(name)(["--log", small_log, "--epochs", "2", "--out", "own"])
    assert list(Path("own").glob("**/current/manifest.json"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_scripts_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
