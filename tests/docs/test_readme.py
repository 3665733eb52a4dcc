"""Every block of code in README.md does what the page says, in a folder with a stranger's files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer.main
from conftest import left_empty

import pyrorec as pr
from pyrorec.cli import app, main
from pyrorec.inference.choice import RULES
from pyrorec.inference.settings_file import OBJECTIVES
from pyrorec.models.affinities import Affinity
from pyrorec.models.distributions import PopularityDistribution
from pyrorec.models.families import Family
from pyrorec.models.posterior_families import PosteriorFamily
from pyrorec.models.predictors import Predictor
from pyrorec.models.prior_source import PriorSource
from pyrorec.models.sharing import Sharing
from pyrorec.simulation import FrailtyWorld
from pyrorec.simulation.record_world import RecordWorld

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "popularity.md").read_text(encoding="utf-8")
WORLD = FrailtyWorld(users=90, items=60, mean_count=0.5, features=False)
NAMES = {"user_id": "customer", "item_id": "sku", "value": "orders", "timestamp": "date"}


pytestmark = pytest.mark.usefixtures("without_pictures")


def blocks(language: str, text: str = TEXT) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str = TEXT) -> list[list[str]]:
    """The shell lines as words, without comments; a line that ends in a backslash goes on."""
    lines = "".join(blocks("sh", text)).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


FEW = {True: ["--epochs", "2", "--quiet"], False: []}
"""What a command is given besides, by whether it fits: enough epochs for every file to be written."""


def shortened(block: str) -> str:
    """A block of Python whose fits take half the epochs that the page gives them, and ten where it gives none."""
    block = block.replace("seed=0)  #", "seed=0, training=pr.Training(epochs=10))  #")
    return re.sub(r"\bepochs=(\d+)", lambda found: f"epochs={int(found[1]) // 2}", block)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page speaks of, drawn from a small world."""
    monkeypatch.chdir(tmp_path)
    log = WORLD.simulate(0).train.to_frame()[list(NAMES)]
    log["user_id"] = "u" + log["user_id"].str[1:].astype(int).astype(str)
    log.to_parquet("log.parquet", index=False)
    latest = log["timestamp"] >= log["timestamp"].quantile(0.8)
    log["timestamp"] = pd.to_datetime(log["timestamp"], unit="s").dt.strftime("%Y-%m-%dT%H:%M:%S")
    log[~latest].rename(columns=NAMES).to_csv("orders.csv", index=False)
    log[latest].to_csv("later.csv", index=False)
    log[latest][["user_id", "item_id"]].to_csv("pairs.csv", index=False)
    pd.DataFrame({"user_id": ["u1", "u7"]}).to_csv("some_users.csv", index=False)
    (space,) = blocks("toml")
    Path("space.toml").write_text(space, encoding="utf-8")
    shown = RecordWorld(users=60, items=20, records=1_500).simulate(0).log
    clicks = shown.to_frame()[["user_id", "item_id"]].assign(value=(shown.value > 0).astype(int))
    clicks.to_csv("clicks.csv", index=False)
    clicks.sample(150, random_state=0).to_csv("random.csv", index=False)
    rng, known = np.random.default_rng(0), sorted(log["item_id"].unique())
    impressions = {"user_id": rng.choice(log["user_id"], 4_000), "item_id": rng.choice(known, 4_000)}
    impressions |= {"value": rng.integers(2, size=4_000), "propensity": np.full(4_000, 1 / len(known))}
    pd.DataFrame(impressions).to_csv("impressions.csv", index=False)
    return tmp_path


def test_python_blocks_run_in_one_namespace(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    embedded, own, popularity = blocks("python")
    exec(compile(shortened(embedded), "README.md", "exec"), names)
    judged = pr.evaluate(names["run"], names["test"], at=(10,))
    assert judged.loc["deconfound", "within_user_auc"] > judged.loc["observe", "within_user_auc"] + 0.03
    assert {"u001", "u007", "within_user_auc", "upper"} <= set(capsys.readouterr().out.split())
    assert shortened(own) != own
    exec(compile(shortened(own), "README.md", "exec"), names)
    loaded = pr.load("runs/second")
    assert loaded.posterior.users.equals(names["run"].posterior.users)
    np.testing.assert_array_equal(loaded.posterior.user_mean, names["run"].posterior.user_mean)
    capsys.readouterr()
    exec(compile(shortened(popularity), "README.md", "exec"), names)
    assert isinstance(names["run"].spec, pr.PopularityModel)
    auc = re.findall(r"^quality share \S+ +(\S+)$", capsys.readouterr().out, flags=re.MULTILINE)
    assert sorted(map(float, auc), reverse=True) == list(map(float, auc)), "taste alone decides in this world"
    assert len(auc) == 3


def test_command_lines_run_and_write_what_they_name(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands():
        if words[0] == "pyrorec":
            with pytest.raises(SystemExit) as end, left_empty("draws"):
                main([*words[1:], *FEW[words[1] == "fit"]])
            assert not end.value.code, f"{' '.join(words)}: {capsys.readouterr().err}"
    assert len(pd.read_csv("tempered.csv")) == 20
    best = pd.read_parquet("recommendations.parquet")
    assert (best.groupby("user_id")["rank"].max() == 10).all()
    seen = pd.read_csv("orders.csv").rename(columns={"customer": "user_id", "sku": "item_id"})
    fitted = pd.read_parquet("runs/orders/interactions.parquet")
    assert len(fitted) == pytest.approx(0.8 * len(seen), abs=2)
    scores, pairs = pd.read_csv("scores.csv"), pd.read_csv("pairs.csv")
    pd.testing.assert_frame_equal(scores[["user_id", "item_id"]], pairs)
    assert ((scores["lower"] < scores["mean"]) & (scores["mean"] < scores["upper"])).all()
    evaluation = pd.read_csv("evaluation.csv", index_col=0)
    assert {"observe", "deconfound", "popularity", "EASE"} <= set(evaluation.index)
    assert {"ndcg@10", "ndcg@50"} <= set(evaluation.columns)
    assert pr.load("runs/clicks").posterior.level_shift != 0
    assert len(pr.load("runs/larger").log) > len(fitted)
    assert pd.read_csv("neighbours.csv").groupby("id")["rank"].max().eq(5).all()
    comparison = pd.read_csv("comparison.csv", index_col=0)
    assert set(comparison.index) == {"runs/orders", "runs/plain"}
    assert comparison["difference"].max() == 0
    assert pr.load("runs/best").spec.factors in (8, 20)
    value = pd.read_csv("value.csv", index_col=0)
    assert list(value.index) == ["ips", "snips", "dr"]
    assert (value["lower"].lt(0.5) & value["upper"].gt(0.5)).all(), "clicks are heads or tails in this log"


def test_the_run_folder_holds_the_files_of_the_table_and_no_others(stranger: Path) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "log.parquet", "--epochs", "2", "--out", "runs/table", "--quiet"])
    table = TEXT.split("| file | content |")[1].split("##")[0]
    cells = re.findall(r"^\| (`.*?`) \|", table, flags=re.MULTILINE)
    told = {name.strip("/") for cell in cells for name in re.findall(r"`(.*?)`", cell)}
    found = {path.name for path in Path("runs/table").iterdir()}
    assert told == found - {"versions", "current"}


def test_bad_input_is_refused_in_one_sentence_before_anything_is_written(
    stranger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.csv").write_text("user_id,item_id,value\nu1,i1,3\nu2,i2,many\n", encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["fit", "bad.csv", "--out", "runs/bad"])
    assert end.value.code == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert {"bad.csv:", "'value',", "2;"} <= set(sentence.split())
    assert not Path("runs").exists()


def test_flags_and_targets_that_the_page_names_exist() -> None:
    interface = typer.main.get_command(app)
    parameters = [p for command in interface.commands.values() for p in command.params]  # type: ignore[attr-defined]
    known = {flag for parameter in parameters for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT + GUIDE)) <= known
    used = {words[1] for words in commands() if words[0] == "pyrorec"}
    assert used == set(interface.commands), "every command is shown once"  # type: ignore[attr-defined]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in commands():
        assert words[0] != "make" or re.search(rf"^{words[1]}:", makefile, re.MULTILINE)


def test_public_names_that_the_page_uses_exist() -> None:
    assert set(re.findall(r"\bpr\.(\w+)", TEXT + GUIDE)) <= set(pr.__all__)


def test_links_lead_somewhere() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in target]
    assert {"docs/results.md", "docs/design.md"} <= set(targets)
    assert [target for target in targets if not (ROOT / target).exists()] == []
    beside = [target.split("#")[0] for target in re.findall(r"\]\(([^)]+)\)", GUIDE) if not target.startswith("#")]
    assert [target for target in beside if not (ROOT / "docs" / target).exists()] == []


def test_the_guide_to_popularity_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer epochs."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("python", GUIDE):
        exec(compile(shortened(block), "popularity.md", "exec"), names)
    assert names["mended"].posterior.level_shift == pytest.approx(np.log(0.4), abs=0.4)
    for words in commands(GUIDE):
        with pytest.raises(SystemExit) as end, left_empty("draws"):
            main([*words[1:], *FEW[words[1] == "fit"]])
        assert not end.value.code, " ".join(words)
    assert {"score", "recommend", "recalibrate", "evaluate"} <= {words[1] for words in commands(GUIDE)}
    assert pr.load("runs/additive").posterior.level_shift != 0


def test_the_guide_to_the_joint_model_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And finds the taste it simulates."""
    monkeypatch.chdir(tmp_path)
    text, names = (ROOT / "docs" / "joint.md").read_text(encoding="utf-8"), {}  # type: dict[str, Any]
    for block in blocks("python", text):
        exec(compile(block, "joint.md", "exec"), names)
    assert names["found"] > 0.75
    assert names["seen"] > 0.4
    names["clicks"].to_csv("clicks.csv", index=False)
    for words in commands(text):
        with pytest.raises(SystemExit) as end, left_empty("draws", "report"):
            main([*words[1:], *FEW[words[1] == "fit"]])
        assert not end.value.code, " ".join(words)
    assert len(pd.read_csv("best.csv")) == 300 * 5


def test_the_guide_to_off_policy_evaluation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its estimates hold the value that the world knows."""
    monkeypatch.chdir(tmp_path)
    text, names = (ROOT / "docs" / "off_policy.md").read_text(encoding="utf-8"), {}  # type: dict[str, Any]
    for block in blocks("python", text):
        exec(compile(block, "off_policy.md", "exec"), names)
    table, truth = names["table"], names["truth"]
    assert list(table.index) == ["ips", "snips", "dr"]
    assert (abs(table["value"] - truth) < 3 * table["se"]).all()
    names["log"].to_frame().to_csv("impressions.csv", index=False)
    names["run"].save("runs/clicks")
    for words in commands(text):
        with pytest.raises(SystemExit) as end:
            main(words[1:])
        assert not end.value.code, " ".join(words)
    pd.testing.assert_series_equal(
        pd.read_csv("value.csv", index_col=0)["value"], table["value"], check_index=False, rtol=1e-5
    )


def test_the_guide_to_popularity_names_every_part_that_can_be_chosen() -> None:
    parts = (Affinity, Family, PopularityDistribution, PosteriorFamily, Predictor, PriorSource, Sharing)
    assert {part.name for kind in parts for part in kind.registry} <= set(re.findall(r"`([a-z-]+)`", GUIDE))
    of_the_bilateral = {"map", "integrated", "jaakkola-jordan", "stored-sample"}
    assert set(OBJECTIVES) - of_the_bilateral <= set(re.findall(r"`([a-z-]+)`", GUIDE))


@pytest.mark.parametrize(
    ("values", "found", "chosen", "missing"),
    [
        ([0, 1, 1, 0], "clicks with true negatives", "bernoulli, additive", pr.Unobserved()),
        ([1, 5, 2, 3], "implicit clicks", "poisson, log-additive", pr.Zero()),
        ([1, 6, 2, 3], "counts", "poisson, log-additive", pr.Zero()),
        ([0, 6, 2, 3], "counts", "poisson, log-additive", pr.Unobserved()),
        ([0.5, 6, 2, 3], "ratings", "gaussian, additive", pr.Unobserved()),
    ],
)
def test_the_table_of_choices_is_what_choose_does(
    values: list[float], found: str, chosen: str, missing: object
) -> None:
    frame = pd.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [1, 2, 1, 2], "value": values})
    choice = pr.choose(pr.read_interactions(frame))
    assert f"{choice.model.family.name}, {choice.model.predictor.name}" == chosen
    assert choice.missing == missing
    assert choice.model.binarise == (found == "implicit clicks")
    table = TEXT.split("## How `fit` chooses")[1].split("##")[0]
    rows = [line.lower() for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(RULES)
    (row,) = [line for line in rows if f"| {found}" in line]
    assert f"| {chosen} |" in row
    assert type(missing).__name__.lower() in row


@pytest.mark.parametrize(
    ("values", "cell"),
    [([0, 1, 1, 1], (2, 3)), (None, (3, 1)), ([7, 1, 1, 1], (9, 1)), ([4, 5, 2, 3], (2, 1)), ([4.5, 1, 2, 3], (2, 1))],
)
def test_duplicates_become_one_cell_as_the_page_says(values: list[float] | None, cell: tuple[float, float]) -> None:
    """Three records of one pair, then one of another: (value, trials) of the first pair."""
    frame = pd.DataFrame({"user_id": [1, 1, 1, 2], "item_id": [1, 1, 1, 2]})
    log = pr.read_interactions(frame if values is None else frame.assign(value=values))
    assert (log.value[0], log.trials[0]) == cell
    assert log.aggregation.startswith("2 of 4 records")


def test_the_guide_to_simulation_runs() -> None:
    """And training raises the ELBO of its replicates."""
    text, names = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8"), {}  # type: dict[str, Any]
    for block in blocks("python", text):
        exec(compile(block, "simulation.md", "exec"), names)
    assert names["fitted"].losses[-1] < names["fitted"].losses[0]
