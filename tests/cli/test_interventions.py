"""What the command line takes an intervention to mean where a flag is left out or has no meaning."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from harness import prepared, succeeds


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working folder; the shared one is returned."""
    monkeypatch.chdir(tmp_path)
    return prepared(tmp_path_factory.getbasetemp())


def scores(place: Path, *flags: str) -> tuple[pd.DataFrame, str]:
    said = succeeds("score", place / "counts", place / "test.csv", "--output", "out.csv", *flags)
    return pd.read_csv("out.csv"), said.out


def test_set_without_a_value_is_the_average_item(place: Path) -> None:
    silent, out = scores(place, "--intervention", "set")
    said, _ = scores(place, "--intervention", "set", "--popularity", "1")
    pd.testing.assert_frame_equal(silent, said)
    assert "note: --popularity was not given" in out


def test_temper_without_a_weight_says_which_it_took(place: Path) -> None:
    silent, out = scores(place, "--intervention", "temper")
    said, _ = scores(place, "--intervention", "temper", "--weight", "0.5")
    pd.testing.assert_frame_equal(silent, said)
    assert "note: --weight was not given and is 0.5" in out


@pytest.mark.parametrize("name", ["observe", "deconfound", "set"])
def test_a_weight_without_meaning_changes_nothing_and_is_told(place: Path, name: str) -> None:
    plain, _ = scores(place, "--intervention", name)
    weighted, out = scores(place, "--intervention", name, "--weight", "0.3")
    pd.testing.assert_frame_equal(plain, weighted)
    assert f"note: --weight has no meaning under {name}" in out


def test_the_interventions_differ(place: Path) -> None:
    means = {name: scores(place, "--intervention", name)[0]["mean"] for name in ("observe", "deconfound", "temper")}
    assert means["observe"].sub(means["deconfound"]).abs().max() > 0.01
    assert means["observe"].sub(means["temper"]).abs().max() > 0.01
