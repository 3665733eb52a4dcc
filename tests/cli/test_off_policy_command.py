"""`pyrorec off-policy`: the table of the Python function, and refusals in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from harness import prepared, refused, succeeds

import pyrorec as pr
from pyrorec.data import Apart


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a way to the shared runs and a log of uniformly shown items."""
    shared = prepared(tmp_path_factory.getbasetemp())
    for name in ("clicks", "counts"):
        (tmp_path / name).symlink_to(shared / name)
    known, rng = pr.load(shared / "clicks").log, np.random.default_rng(0)
    columns = {"user_id": rng.choice(known.users, 3_000), "item_id": rng.choice(known.items, 3_000)}
    columns |= {"value": rng.integers(2, size=3_000), "propensity": np.full(3_000, 1 / known.n_items)}
    pd.DataFrame(columns).to_csv(tmp_path / "shown.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_what_the_function_returns(place: Path) -> None:
    flags = ("--epsilon", 0.4, "--intervention", "temper", "--weight", 0.5, "--level", 0.9, "--by-record")
    said = succeeds("off-policy", "clicks", "shown.csv", *flags, "--output", "value.csv")
    run = pr.load("clicks")
    log = pr.read_interactions("shown.csv", duplicates=Apart(), to_fit=False)
    target = pr.policy(run, pr.EpsilonGreedy(0.4), intervention=pr.Temper(0.5))
    expected = pr.off_policy(target, log, by_user=False, interval=pr.Linearised(0.9))
    written = pd.read_csv("value.csv", index_col="estimator")
    pd.testing.assert_frame_equal(written, expected, check_dtype=False, rtol=1e-9)
    assert "note: The log's own policy earned" in said.out
    assert {"ips", "snips", "dr", "effective"} <= set(said.out.split())


def test_softmax_bootstrap_candidates_and_other_column_names(place: Path) -> None:
    table = pd.read_csv("shown.csv")
    table.rename(columns={"value": "click", "propensity": "p"}).to_csv("renamed.csv", index=False)
    some = table[["item_id"]].drop_duplicates().head(6)
    some.to_csv("some.csv", index=False)
    flags = ("--rule", "softmax", "--temperature", 0.2, "--items", "some.csv", "--bootstrap", 50)
    succeeds("off-policy", "clicks", "shown.csv", *flags, "--output", "first.csv")
    names = ("--value-column", "click", "--propensity-column", "p")
    succeeds("off-policy", "clicks", "renamed.csv", *names, *flags, "--output", "second.csv")
    first = pd.read_csv("first.csv")
    pd.testing.assert_frame_equal(first, pd.read_csv("second.csv"))
    assert (first["method"] == "bootstrap").all()
    assert first["effective"].max() < 3_000 * 6 / 25 * 1.2


def test_counts_judge_clicks_by_their_probability(place: Path) -> None:
    succeeds("off-policy", "counts", "shown.csv", "--epsilon", 0.5, "--output", "value.csv")
    assert pd.read_csv("value.csv")["value"].between(0.3, 0.7).all()


def test_flags_in_vain_are_noted(place: Path) -> None:
    assert "note: --temperature" in succeeds("off-policy", "clicks", "shown.csv", "--temperature", 1).out
    said = succeeds("off-policy", "clicks", "shown.csv", "--rule", "softmax", "--temperature", 1, "--epsilon", 0.1)
    assert "note: --epsilon" in said.out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--rule", "best"), ["'best'", "greedy", "softmax"]),
        (("--rule", "softmax"), ["--temperature"]),
        (("--epsilon", 2), ["between 0 and 1"]),
        (("--level", 1), ["--level"]),
        (("--bootstrap", 0), ["--bootstrap", "at least 1"]),
        (("--output", "value.txt"), [".csv"]),
    ],
)
def test_flags_that_mean_nothing_are_refused(place: Path, flags: tuple[object, ...], words: list[str]) -> None:
    sentence = refused(place, "off-policy", "clicks", "shown.csv", *flags)
    assert all(word in sentence for word in words), sentence


def test_a_log_that_cannot_tell_is_refused(place: Path) -> None:
    table = pd.read_csv("shown.csv")
    table.drop(columns="propensity").to_csv("bare.csv", index=False)
    assert "no propensities" in refused(place, "off-policy", "clicks", "bare.csv", "--output", "value.csv")
    table.head(40).to_csv("short.csv", index=False)
    assert "could not show" in refused(place, "off-policy", "clicks", "short.csv", "--epsilon", 1)
    table[["item_id"]].drop_duplicates().to_csv("all.csv", index=False)
    vouched = refused(place, "off-policy", "clicks", "short.csv", "--could-show", "all.csv")
    assert "at least 30 are needed" in vouched
    table.assign(propensity=0.5).to_csv("wrong.csv", index=False)
    assert "Weights average 0.0" in refused(place, "off-policy", "clicks", "wrong.csv", "--epsilon", 0.5)
