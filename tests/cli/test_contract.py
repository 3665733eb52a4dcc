"""Every command and flag that the page names works, exits with 0, and writes the columns it promises."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FITTING_PAIRS, left_empty, plausible
from harness import Said, prepared, pyrorec, snapshot, succeeds

import pyrorec as pr
from pyrorec.models.families import Family, Gaussian, Outcome
from pyrorec.models.predictors import Predictor
from pyrorec.report.style import png

RANKED = ["user_id", "item_id", "rank", "score", "sd", "lower", "upper"]
UNCERTAIN = ["mean", "sd", "lower", "upper"]
INTERVENTIONS = {
    "observe": (),
    "deconfound": (),
    "set": ("--popularity", "2"),
    "temper": ("--weight", "0.3"),
}
LOG_OF = {Outcome.COUNT: "log.csv", Outcome.CLICK: "test.csv", Outcome.RATING: "ratings.csv"}
FIRST_OF_OUTCOME = ("poisson", "bernoulli", "gaussian")
"""Families whose report and draws are made: both look at the outcome, not at which family it is of."""
QUICKEST = ("--epochs", "2", "--factors", "2", "--validation-fraction", "0", "--quiet")


pytestmark = pytest.mark.usefixtures("without_pictures")


def fit_weights(*words: object) -> Said:
    """`pyrorec fit WORDS`, which must end well, without report and draws: the weights alone matter."""
    with left_empty("report", "draws"):
        return succeeds("fit", *words)


@pytest.fixture(scope="module")
def shared_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the files and runs that all tests of the command line share; not to be written to."""
    return prepared(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def numbered(shared_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose user and item ids are whole numbers."""
    folder = tmp_path_factory.mktemp("numbered")
    log = pd.read_csv(shared_files / "log.csv")[["user_id", "item_id", "value"]]
    log.assign(**{name: log[name].str[1:].astype(int) for name in ("user_id", "item_id")}).to_csv(folder / "log.csv")
    fit_weights(folder / "log.csv", "--out", folder / "run", *QUICKEST)
    return folder / "run"


@pytest.fixture(scope="module")
def versions(shared_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three versions, fitted with seeds 0, 1 and 0; `0001.json` holds what 0001 was before the others."""
    folder = tmp_path_factory.mktemp("versions")
    for number, seed in enumerate((0, 1, 0), 1):
        replace = ("--replace",) if number > 1 else ()
        said = fit_weights(shared_files / "log.csv", "--out", folder / "run", "--seed", seed, *replace, *QUICKEST)
        assert f"({number:04d}), report in" in said.out
        if number == 1:
            (folder / "0001.json").write_text(json.dumps(snapshot(folder / "run" / "versions" / "0001")))
    return folder / "run"


@pytest.fixture
def place(shared_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own as the working folder, with the shared logs in it; `counts` leads to a shared run."""
    for name in ("log.csv", "test.csv", "users.csv", "items.parquet", "counts", "clicks"):
        (tmp_path / name).symlink_to(shared_files / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path: str) -> pd.DataFrame:
    return pd.read_csv(path) if path.endswith(".csv") else pd.read_parquet(path)


def digest(run: str, name: str = "weights.safetensors") -> str:
    return hashlib.sha256((Path(run) / name).read_bytes()).hexdigest()


def settings(run: str) -> dict:
    return tomllib.loads((Path(run) / "config.toml").read_text(encoding="utf-8"))


def pairs_of(frame: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(frame["user_id"], frame["item_id"], strict=True))


# Recommendations


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_recommend_writes_ranked_unseen_items_of_every_user(place: Path, name: str) -> None:
    flags = ("--k", 3, "--intervention", name, *INTERVENTIONS[name])
    said = succeeds("recommend", "counts", *flags, "--output", "out.csv")
    succeeds("recommend", "counts", *flags, "--output", "out.parquet")
    best, log = table("out.csv"), table("log.csv")
    assert list(best.columns) == RANKED
    assert said.out.endswith(f"{len(best)} recommendations for {log['user_id'].nunique()} users in out.csv\n")
    pd.testing.assert_frame_equal(best, table("out.parquet"), check_dtype=False, rtol=1e-12)
    assert set(best["user_id"]) == set(log["user_id"])
    free = log["item_id"].nunique() - log.groupby("user_id")["item_id"].nunique()
    for user, mine in best.groupby("user_id"):
        assert list(mine["rank"]) == list(range(1, min(3, free[user]) + 1))
        assert mine["score"].is_monotonic_decreasing
    assert not pairs_of(best) & pairs_of(log), "what a user has had is left out"
    assert not best.duplicated(["user_id", "item_id"]).any()
    assert (best["sd"] > 0).all()
    assert ((best["lower"] >= 0) & (best["lower"] < best["upper"])).all()


def test_recommend_takes_users_and_candidates_from_files(place: Path) -> None:
    Path("who.csv").write_text("user_id,note\nu005,a\nstranger,b\nu005,c\n", encoding="utf-8")
    pd.DataFrame({"item_id": ["i003", "i001", "i007"]}).to_parquet("what.parquet")
    flags = ("--k", 9, "--users", "who.csv", "--items", "what.parquet", "--include-seen")
    said = succeeds("recommend", "counts", *flags, "--output", "out.csv")
    best = table("out.csv")
    assert list(best["user_id"]) == ["u005"] * 3 + ["stranger"] * 3
    assert list(best["rank"]) == [1, 2, 3] * 2
    assert all(set(mine) == {"i001", "i003", "i007"} for _, mine in best.groupby("user_id")["item_id"])
    assert "1 of 2 users are unknown to the run (the first is 'stranger')" in said.out
    succeeds("recommend", "counts", *flags[:-1], "--output", "unseen.csv")
    seen = pairs_of(table("log.csv")) & pairs_of(best)
    assert pairs_of(table("unseen.csv")) == pairs_of(best) - seen


def test_temper_lies_between_observe_and_the_ranking_of_deconfound(place: Path) -> None:
    def asked(*flags: object) -> pd.DataFrame:
        flags = ("--k", 5, "--include-seen", "--intervention", *flags)
        succeeds("recommend", "counts", *flags, "--output", "out.csv")
        return table("out.csv")

    pd.testing.assert_frame_equal(asked("temper", "--weight", 1), asked("observe"), rtol=1e-5)
    flat, adjusted = asked("temper", "--weight", 0), asked("deconfound")
    pd.testing.assert_frame_equal(flat[RANKED[:3]], adjusted[RANKED[:3]])
    assert not asked("observe")["item_id"].equals(adjusted["item_id"])


# Scores


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_score_keeps_every_pair_and_column_and_adds_four(place: Path, name: str) -> None:
    given = table("test.csv")[["item_id", "user_id"]].iloc[[3, 0, 3]].assign(note=["x", "y", "z"])
    given.loc[len(given) + 90] = ["i003", "stranger", "new user"]
    given.loc[len(given) + 90] = ["novelty", "u005", "new item"]
    given.loc[len(given) + 90] = ["novelty", "stranger", "both"]
    given.to_csv("pairs.csv", index=False)
    given.to_parquet("pairs.parquet")
    flags = ("--intervention", name, *INTERVENTIONS[name])
    said = succeeds("score", "counts", "pairs.csv", *flags, "--output", "out.parquet")
    succeeds("score", "counts", "pairs.parquet", *flags, "--output", "out.csv")
    scored = table("out.parquet")
    assert list(scored.columns) == ["item_id", "user_id", "note", *UNCERTAIN]
    pd.testing.assert_frame_equal(scored[["item_id", "user_id", "note"]], given.reset_index(drop=True))
    pd.testing.assert_frame_equal(table("out.csv")[scored.columns], scored, check_dtype=False, rtol=1e-6)
    assert np.isfinite(scored[UNCERTAIN]).all(axis=None)
    assert (scored["sd"] > 0).all()
    assert ((scored["lower"] >= 0) & (scored["lower"] < scored["upper"]) & (scored["mean"] > 0)).all()
    assert scored.loc[0, UNCERTAIN].equals(scored.loc[2, UNCERTAIN]), "the same pair twice"
    assert "users are unknown to the run (the first is 'stranger')" in said.out
    assert "items are unknown to the run (the first is 'novelty')" in said.out
    assert said.out.endswith("6 pairs scored in out.parquet\n")


def test_scores_of_clicks_are_probabilities(place: Path) -> None:
    succeeds("score", "clicks", "test.csv", "--output", "out.csv")
    scored, given = table("out.csv"), table("test.csv")
    pd.testing.assert_frame_equal(scored[list(given.columns)], given)
    assert ((scored["lower"] > 0) & (scored["upper"] <= 1)).all()
    assert ((scored["lower"] < scored["mean"]) & (scored["mean"] < scored["upper"])).all()
    assert scored["mean"].mean() == pytest.approx(given["value"].mean(), abs=0.1)


# Ids are the same ids in every file


def test_one_strange_id_in_a_file_leaves_the_others_known(place: Path, numbered: Path) -> None:
    """A stranger with a name turns the whole id column of a CSV file into text."""
    Path("known.csv").write_text("user_id,item_id\n5,3\n7,1\n", encoding="utf-8")
    Path("mixed.csv").write_text("user_id,item_id\n5,3\n7,1\nguest,1\n", encoding="utf-8")
    succeeds("score", numbered, "known.csv", "--output", "known-out.csv")
    said = succeeds("score", numbered, "mixed.csv", "--output", "mixed-out.csv")
    np.testing.assert_allclose(table("mixed-out.csv")["mean"][:2], table("known-out.csv")["mean"], rtol=1e-5)
    assert "1 of 3 users are unknown to the run (the first is 'guest')" in said.out


def test_a_test_log_with_one_strange_id_is_judged_on_the_others(place: Path, numbered: Path) -> None:
    test = table("test.csv").assign(user_id=lambda f: f["user_id"].str[1:].astype(int).astype(str))
    test["item_id"] = test["item_id"].str[1:].astype(int)
    test.to_csv("plain.csv", index=False)
    pd.concat([test, pd.DataFrame({"user_id": ["guest"], "item_id": [1], "value": [1]})]).to_csv("odd.csv", index=False)
    succeeds("evaluate", numbered, "plain.csv", "--output", "plain-out.csv")
    said = pyrorec("evaluate", numbered, "odd.csv", "--output", "odd-out.csv")
    assert (said.code, said.err) == (0, "")
    assert f"1 of {len(test) + 1} test cells name users unknown to the run and are left out" in said.out
    pd.testing.assert_frame_equal(table("odd-out.csv"), table("plain-out.csv"))


def test_a_test_log_of_numbers_only_fits_a_run_whose_ids_are_text(place: Path) -> None:
    """Article numbers such as 22423 beside 85123A: a part of the log may happen to hold only the former."""
    log = table("log.csv").drop(columns="timestamp")
    log["item_id"] = log["item_id"].str[1:].astype(int).astype(str).replace({"3": "3A"})
    log.to_csv("articles.csv", index=False)
    fit_weights("articles.csv", "--out", "articles", *QUICKEST)
    test = table("test.csv").assign(item_id=lambda f: f["item_id"].str[1:].astype(int))
    test[test["item_id"] != 3].to_csv("later.csv", index=False)
    said = pyrorec("evaluate", "articles", "later.csv", "--output", "out.csv")
    assert (said.code, said.err) == (0, "")
    assert table("out.csv").loc[0, "hit_rate@10"] > 0


# Evaluation, diagnosis, report, data sets


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_evaluate_judges_the_lists_that_recommend_writes(place: Path, ending: str) -> None:
    said = succeeds("evaluate", "counts", "test.csv", "--at", 3, 7, "--output", f"out.{ending}")
    found = table(f"out.{ending}").set_index("model")
    assert list(found.index) == ["observe", "deconfound", "temper 0.5", "popularity", "EASE"]
    ranking = ("ndcg", "recall", "precision", "map", "mrr", "hit_rate", "arp", "aplt", "gini", "item_coverage")
    assert {f"{name}@{k}" for name in ranking for k in (3, 7)} <= set(found.columns)
    assert not [name for name in found.columns if name.endswith(("@10", "@50"))]
    test = table("test.csv")
    liked = pairs_of(test[test["value"] > 0])
    for name in ("observe", "deconfound"):
        succeeds("recommend", "counts", "--k", 7, "--intervention", name, "--output", "best.csv")
        best = table("best.csv")
        best = best[best["user_id"].isin({user for user, _ in liked})]
        hit = [pair in liked for pair in zip(best["user_id"], best["item_id"], strict=True)]
        users = best["user_id"].nunique()
        for k in (3, 7):
            hits = (np.array(hit) & (best["rank"] <= k)).groupby(best["user_id"]).sum()
            assert found.loc[name, f"precision@{k}"] == pytest.approx(hits.sum() / (k * users), rel=1e-5)
            assert found.loc[name, f"hit_rate@{k}"] == pytest.approx((hits > 0).mean(), rel=1e-5)
    assert re.search(r"^precision@7 .*\d\.\d{4}", said.out, re.MULTILINE)
    assert "log_loss" in said.out


def test_evaluate_without_flags_uses_lists_of_10_and_50_and_writes_nothing(place: Path) -> None:
    before = sorted(place.iterdir())
    out = succeeds("evaluate", "counts", "test.csv").out
    assert "ndcg@10 " in out
    assert "ndcg@50 " in out
    assert sorted(place.iterdir()) == before


def test_diagnose_says_a_verdict_a_line_and_writes_the_same(place: Path) -> None:
    lines = succeeds("diagnose", "counts", "--output", "out.csv").out.splitlines()
    found = table("out.csv")
    assert list(found.columns) == ["check", "verdict", "value", "finding"]
    assert lines == [f"[{row.verdict}] {row.check}: {row.finding}" for row in found.itertuples()]
    assert set(found["verdict"]) <= {"good", "doubtful", "bad"}
    assert found["check"].is_unique
    (settled,) = found.loc[found["check"] == "convergence", "verdict"]
    assert settled == "doubtful", "two epochs are too few"


def test_report_is_written_anew_with_its_pictures_and_the_version_stays(
    shared_files: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrorec.report.html.png", png)
    shutil.copytree(shared_files / "counts", place / "own", symlinks=True)
    before = snapshot(place / "own" / "versions")
    assert succeeds("report", place / "own").out == f"report in {place / 'own' / 'report.html'}\n"
    page = (place / "own" / "report.html").read_text(encoding="utf-8")
    pictures = re.findall(r'src="data:image/png;base64,(\w{40})', page)
    assert len(pictures) >= 4
    assert page.count("<figure>") == len(pictures)
    assert "found counts; model: family poisson" in page
    assert snapshot(place / "own" / "versions") == before
    succeeds("diagnose", place / "own")


def test_datasets_lists_the_catalogue() -> None:
    out = succeeds("datasets").out
    for row in pr.catalogue().itertuples():
        block = f"name: {row.name}\naddress: {row.address}\nlicence: {row.licence}\nusers: {row.users}\n"
        assert block in out
    assert out.count("reading: ") == len(pr.catalogue()) == 9


# Fitting


def test_every_flag_of_fit_ends_where_it_belongs(place: Path) -> None:
    users = table("users.csv")
    guest = users[users["user_id"] == "u005"].assign(user_id="guest")
    pd.concat([users, guest]).to_csv("more-users.csv", index=False)
    said = fit_weights(
        "log.csv", "--out", "deep/run", "--model", "bilateral", "--family", "cloglog",
        "--predictor", "additive", "--prior", "normal", "--missing", "0.5", "--binarise",
        "--user-features", "more-users.csv", "--item-features", "items.parquet", "--factors", 4, "--epochs", 3,
        "--seed", 11, "--threads", 1, "--device", "cpu", "--learning-rate", 0.02, "--batch-size", 16,
        "--dropout", 0.1, "--validation-fraction", 0.2, "--objective", "map", "--quiet",
        "--encoder", "set", "--user-prior", "cap", "--item-prior", "learned-scale", "--schedule", "joint",
    )  # fmt: skip
    told = "model: family cloglog, predictor additive, binarised values, missing cells zeros of weight 0.5"
    assert told in said.out
    written = settings("deep/run")
    model, training = written["model"], written["training"]
    assert (written["seed"], written["missing"], model["binarise"], model["factors"]) == (11, 0.5, True, 4)
    names = {part: model[part]["name"] for part in ("family", "predictor", "popularity", "activity")}
    assert names == {"family": "cloglog", "predictor": "additive", "popularity": "normal", "activity": "normal"}
    given = {"epochs": 3, "learning_rate": 0.02, "batch_size": 16, "dropout": 0.1, "validation_fraction": 0.2}
    assert {name: training[name] for name in given} == given
    assert (training["objective"]["name"], training["schedule"]["name"]) == ("map", "joint")
    assert [model[part]["name"] for part in ("encoder", "user_prior", "item_prior")] == ["set", "cap", "learned-scale"]
    lines = [json.loads(line) for line in Path("deep/run/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if not line.get("finishing")] == [0, 1, 2]
    assert [name for name in ("user", "item") if (Path("deep/run/current") / f"{name}_features.parquet").exists()] == [
        "user",
        "item",
    ]
    Path("pairs.csv").write_text("user_id,item_id\nguest,i003\nnobody,i003\nu005,i003\n", encoding="utf-8")
    assert "2 of 3 users are unknown" in succeeds("score", "deep/run", "pairs.csv", "--output", "out.csv").out
    guest_mean, nobody_mean, _ = table("out.csv")["mean"]
    assert guest_mean != pytest.approx(nobody_mean, rel=1e-3), "features speak for users that the log does not know"


FIRST = ("poisson", "bernoulli", "cloglog", "probit", "gaussian")
PAIRS = [(p, f) for p, f in FITTING_PAIRS if p.scale is not None or f.name in FIRST]
"""Every family with popularity; without, those that a log is taken for, as the rest differs in nothing there."""


@pytest.mark.parametrize(("predictor_", "family_"), PAIRS, ids=[f"{p.name}-{f.name}" for p, f in PAIRS])
def test_every_fitting_pair_works_from_fit_to_report(place: Path, predictor_: Predictor, family_: Family) -> None:
    predictor, family = predictor_, family_
    counts = table("log.csv")
    counts.assign(value=np.log1p(counts["value"]) + 0.25).to_csv("ratings.csv", index=False)
    log = LOG_OF.get(family.outcome, "ratings.csv")
    values = torch.tensor(table(log)["value"].to_list(), dtype=torch.float64)
    own = plausible(family, values, torch.ones_like(values))
    if own is not values:
        table("log.csv").assign(value=own.numpy()).to_csv(log := "own.csv", index=False)
    flags = ("--family", family.name, "--predictor", predictor.name, *QUICKEST)
    with left_empty(*(() if family.name in FIRST_OF_OUTCOME else ("report", "draws"))):
        said = succeeds("fit", log, "--out", "run", *flags)
    assert f"family {family.name}, predictor {predictor.name}," in said.out
    model = settings("run")["model"]
    assert (model["family"]["name"], model["predictor"]["name"]) == (family.name, predictor.name)
    succeeds("score", "run", log, "--output", "scored.csv")
    scored = table("scored.csv")
    assert np.isfinite(scored[UNCERTAIN]).all(axis=None)
    assert ((scored["lower"] < scored["upper"]) & (scored["sd"] > 0)).all()
    if family.outcome is Outcome.CLICK:
        assert ((scored["lower"] > 0) & (scored["upper"] <= 1)).all()
        assert scored["mean"].mean() == pytest.approx(scored["value"].mean(), abs=0.2)
    if family.outcome is Outcome.COUNT:
        assert (scored["lower"] >= 0).all()
    if isinstance(family, Gaussian):
        assert scored["mean"].mean() == pytest.approx(scored["value"].mean(), abs=0.3)
        assert (scored["lower"] < 0).any(), "a rating has no bound at zero"
    asks = predictor.scale is not None
    for name in INTERVENTIONS if asks else ("observe",):
        succeeds("recommend", "run", "--k", 2, "--intervention", name, *INTERVENTIONS[name], "--output", "best.csv")
        assert list(table("best.csv").columns) == RANKED
    succeeds("evaluate", "run", log, "--at", 5, "--output", "judged.csv")
    assert list(table("judged.csv")["model"])[: 3 if asks else 1] == ["observe", "deconfound", "temper 0.5"][: 3**asks]
    assert succeeds("diagnose", "run").out.count("\n") >= 3
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert (f"family {family.name}" in page) == (family.name in FIRST_OF_OUTCOME)


def test_the_embedded_log_is_fitted_where_no_log_is_given(place: Path) -> None:
    said = succeeds("fit", "--out", "run", "--epochs", 1, "--factors", 2, "--validation-fraction", 0, "--quiet")
    train, test = pr.embedded_log()
    cells = table("run/interactions.parquet")
    np.testing.assert_array_equal(cells[["user", "item", "value"]], np.c_[train.user, train.item, train.value])
    kept = table("run/current/test.parquet")
    assert (len(kept), kept["value"].sum()) == (len(test), test.value.sum())
    assert re.search(r"^model +observe +deconfound +temper 0\.5 +popularity +EASE$", said.out, re.MULTILINE)
    assert "run in run (0001), report in run/report.html" in said.out
    page = Path("run/report.html").read_text(encoding="utf-8")
    (truth,) = re.findall(r"<h2[^>]*>Recovery of the truth(.*?)<h2", page, re.DOTALL)
    assert "<figure>" in truth, "the truth of the embedded log is known, and shown"


# The same again


def test_a_config_of_another_run_reproduces_it_and_flags_override_it(place: Path) -> None:
    flags = ("--family", "poisson", "--binarise", "--missing", 0.3, "--seed", 5, "--batch-size", 8, "--dropout", 0.2)
    fit_weights("log.csv", "--out", "first", *flags, *QUICKEST)
    fit_weights("log.csv", "--out", "again", "--config", "first/config.toml", "--quiet")
    same = ("weights.safetensors", "config.toml", "ids.parquet", "interactions.parquet", "metrics.jsonl")
    assert [name for name in same if digest("again", name) != digest("first", name)] == []
    over = ("--factors", 3, "--epochs", 1, "--seed", 6, "--missing", "zero", "--no-binarise", "--dropout", 0)
    fit_weights("log.csv", "--out", "other", "--config", "first/config.toml", *over, "--quiet")
    first, other = settings("first"), settings("other")
    assert (other["seed"], other["missing"], other["training"]["epochs"]) == (6, "zero", 1)
    assert (other["model"]["factors"], other["model"]["binarise"], other["training"]["dropout"]) == (3, False, 0)
    assert other["training"]["batch_size"] == first["training"]["batch_size"] == 8
    assert other["model"]["family"] == first["model"]["family"]


@pytest.mark.parametrize(("predictor", "popularity"), [("additive", "normal"), ("plain", None)])
def test_a_flag_overrides_a_part_of_a_config_and_moves_the_rest_to_what_fits(
    place: Path, predictor: str, popularity: str | None
) -> None:
    """`choose` promises: what is given moves the rest to what fits it, a popularity its predictor."""
    config = "counts/config.toml"
    assert settings("counts")["model"]["popularity"]["name"] == "gamma"
    said = pyrorec("fit", "log.csv", "--out", "run", "--config", config, "--predictor", predictor, *QUICKEST)
    assert (said.code, said.err) == (0, "")
    model = settings("run")["model"]
    assert model["predictor"]["name"] == predictor
    assert model.get("popularity", {}).get("name") == popularity


def test_the_same_seed_gives_the_same_weights_and_another_does_not(versions: Path) -> None:
    first, second, third = (str(versions / "versions" / name) for name in ("0001", "0002", "0003"))
    for name in ("weights.safetensors", "metrics.jsonl", "config.toml"):
        assert digest(first, name) == digest(third, name), name
        assert digest(first, name) != digest(second, name), name


def test_columns_by_other_names_are_the_same_log(place: Path) -> None:
    names = {"user_id": "customer", "item_id": "sku", "value": "orders", "timestamp": "date"}
    renamed = table("log.csv").rename(columns=names)
    renamed.assign(value="decoy", user_id=1)[["value", *names.values(), "user_id"]].to_csv("renamed.csv", index=False)
    table("users.csv").rename(columns=names).to_csv("customers.csv", index=False)
    columns = ("--user-column", "customer", "--item-column", "sku", "--value-column", "orders")
    dated = ("--timestamp-column", "date", "--user-features", "customers.csv")
    fit_weights("renamed.csv", "--out", "renamed", *columns, *dated, *QUICKEST)
    fit_weights("log.csv", "--out", "plain", "--user-features", "users.csv", *QUICKEST)
    for name in ("weights.safetensors", "ids.parquet", "interactions.parquet"):
        assert digest("renamed", name) == digest("plain", name), name
    table("test.csv").rename(columns=names).to_csv("test-renamed.csv", index=False)
    succeeds("evaluate", "renamed", "test-renamed.csv", *columns, "--output", "renamed-out.csv")
    succeeds("evaluate", "plain", "test.csv", "--output", "plain-out.csv")
    pd.testing.assert_frame_equal(table("renamed-out.csv"), table("plain-out.csv"))


def test_replace_adds_a_version_and_keeps_those_before(place: Path, versions: Path) -> None:
    assert sorted(path.name for path in (versions / "versions").iterdir()) == ["0001", "0002", "0003"]
    assert (versions / "current").readlink() == Path("versions/0003")
    assert (versions / "weights.safetensors").readlink() == Path("current/weights.safetensors")
    before = json.loads((versions.parent / "0001.json").read_text(encoding="utf-8"))
    assert snapshot(versions / "versions" / "0001") == before
    assert {Path(path).name for path in before} >= {"weights.safetensors", "manifest.json", "report.html"}
    assert [settings(str(versions / "versions" / name))["seed"] for name in ("0001", "0002")] == [0, 1]
    scores = []
    for run in (versions / "versions" / "0001", versions / "versions" / "0002", versions):
        succeeds("score", run, "test.csv", "--output", "out.csv")
        scores.append(table("out.csv")["mean"])
    pd.testing.assert_series_equal(scores[0], scores[2])
    assert (scores[0] - scores[1]).abs().max() > 1e-3


def test_a_killed_fit_resumes_to_the_weights_of_one_that_was_never_stopped(place: Path) -> None:
    """Killed a few epochs after a checkpoint, so that what was written since has to be dropped."""
    Path("few.toml").write_text("[training]\ncheckpoint_every = 4\nvalidate_every = 2\npatience = 99\n")
    words = ("log.csv", "--config", "few.toml", "--epochs", "60", "--factors", "2", "--threads", "1", "--quiet")
    work = Path("killed/versions/.0001.partial")
    process = subprocess.Popen(
        [sys.executable, "-m", "pyrorec", "fit", *words, "--out", "killed"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    try:
        give_up = time.monotonic() + 240
        while process.poll() is None and time.monotonic() < give_up:
            metrics = work / "metrics.jsonl"
            if metrics.exists() and metrics.read_bytes().count(b"\n") >= 6:
                break
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, "it was killed in the midst of it"
    assert (work / "checkpoints" / "last.safetensors").exists()
    assert 6 <= (work / "metrics.jsonl").read_bytes().count(b"\n") < 60
    assert [path.name for path in Path("killed").iterdir()] == ["versions"], "nothing looks like a run yet"
    said = fit_weights(*words, "--out", "killed", "--resume")
    assert "run in killed (0001)" in said.out
    assert [path.name for path in Path("killed/versions").iterdir()] == ["0001"]
    fit_weights(*words, "--out", "whole")
    for name in ("weights.safetensors", "metrics.jsonl", "config.toml", "checkpoints/last.safetensors"):
        assert digest("killed", name) == digest("whole", name), name
