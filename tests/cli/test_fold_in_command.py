"""`pyrorec fold-in`: a new run, or a new version of the old one, that knows the new rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from harness import prepared, refused, succeeds

import pyrorec as pr


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own as the working folder, with one new user's rows in it and a way to the shared runs."""
    shared = prepared(tmp_path_factory.getbasetemp())
    log = pd.read_csv(shared / "log.csv")
    row = log[log["user_id"] == log["user_id"].iloc[0]][["user_id", "item_id", "value"]]
    row.assign(user_id="newcomer").to_csv(tmp_path / "new.csv", index=False)
    (tmp_path / "counts").symlink_to(shared / "counts")
    monkeypatch.setattr("pyrorec.commands.fit.write_report", lambda run, path, **rest: path.touch())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_run_knows_the_newcomer_and_leaves_out_what_was_seen(place: Path) -> None:
    said = succeeds("fold-in", "counts", "new.csv", "--out", "larger")
    assert "1 new users and 0 changed ones folded in." in said.out
    assert "run in larger (0001)" in said.out
    said = succeeds("recommend", "larger", "--k", 30, "--output", "out.csv")
    best = pd.read_csv("out.csv")
    mine = best[best["user_id"] == "newcomer"]
    assert len(mine)
    assert not set(mine["item_id"]) & set(pd.read_csv("new.csv")["item_id"])
    assert len(pr.load("larger").log.users) == len(pr.load("counts").log.users) + 1
    refused(place, "fold-in", "counts", "new.csv", "--out", "larger")


def test_without_a_folder_the_run_gets_a_version(place: Path) -> None:
    shutil.copytree("counts", "mine", symlinks=True)
    said = succeeds("fold-in", "mine", "new.csv")
    assert "run in mine (0002)" in said.out
    assert "newcomer" in pr.load("mine").log.users


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("user_id,item_id,value\nnew,i001,many\n", ["row 1", "value"]),
        ("user_id,item_id,value\nnew,i001,1.5\n", ["whole numbers"]),
        ("user_id,value\nnew,1\n", ["item_id"]),
        ("user_id,item_id,value\n", ["no record"]),
    ],
)
def test_bad_rows_are_refused_before_anything_is_written(place: Path, text: str, words: list[str]) -> None:
    Path("bad.csv").write_text(text, encoding="utf-8")
    sentence = refused(place, "fold-in", "counts", "bad.csv", "--out", "larger")
    assert all(word in sentence for word in words), sentence


def test_neighbours_of_some_items_and_of_all_users(place: Path) -> None:
    known = pr.load("counts").log
    some = [str(known.items[3]), str(known.items[0])]
    said = succeeds("neighbours", "counts", "--item", some[0], "--item", some[1], "--k", 4, "--out", "items.csv")
    assert said.out.endswith("8 neighbours of 2 items in items.csv\n")
    table = pd.read_csv("items.csv")
    assert list(table["id"]) == [some[0]] * 4 + [some[1]] * 4
    assert ((table["lower"] <= table["similarity"]) & (table["similarity"] <= table["upper"])).all()
    succeeds("neighbours", "counts", "--side", "user", "--k", 2, "--output", "users.parquet")
    assert len(pd.read_parquet("users.parquet")) == 2 * known.n_users
    assert "'nothing'" in refused(place, "neighbours", "counts", "--item", "nothing", "--out", "out.csv")
    assert "both" in refused(place, "neighbours", "counts", "--item", "x", "--user", "y", "--out", "out.csv")
