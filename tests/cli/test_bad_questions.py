"""Questions to a run that cannot be answered are refused in one sentence, and no output is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from harness import prepared, refused


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of shared files, as the working folder."""
    folder = prepared(tmp_path_factory.getbasetemp())
    monkeypatch.chdir(folder)
    return folder


def given(name: str, text: str, place: Path) -> Path:
    """A file beside the shared folder."""
    path = place.parent / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--k", "0"), ["0", "at least one"]),
        (("--k", "-4"), ["-4", "at least one"]),
        (("--intervention", "pray"), ["'pray'", "observe"]),
        (("--intervention", "temper", "--weight", "-1"), ["weight", "-1"]),
        (("--intervention", "temper", "--weight", "nan"), ["weight", "nan"]),
        (("--intervention", "set", "--popularity", "0"), ["above zero"]),
        (("--intervention", "set", "--popularity", "inf"), ["finite"]),
        (("--intervention", "set", "--popularity", "absent.csv"), ["absent.csv"]),
        (("--intervention", "set", "--popularity", "much"), ["much"]),
        (("--reading", "tea leaves"), ["'tea leaves'", "plug-in"]),
        (("--reading", "quantile", "--quantile", "1"), ["between 0 and 1"]),
        (("--users", "absent.csv"), ["absent.csv"]),
        (("--users", "items.parquet"), ["user_id"]),
        (("--items", "users.csv"), ["item_id"]),
        (("--exclude", "users.csv"), ["item_id"]),
    ],
)
def test_recommend_flags(place: Path, flags: tuple[str, ...], words: list[str]) -> None:
    sentence = refused(place, "recommend", "counts", "--output", "out.csv", *flags)
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("item_id,popularity\ni001,a lot\n", ["row 1", "popularity"]),
        ("item_id,popularity\ni001,\n", ["row 1", "popularity"]),
        ("item_id,popularity\ni001,-1\n", ["above zero"]),
        ("item_id,popularity\ni001,inf\n", ["finite"]),
        ("item_id,popularity\ni001,1\ni001,2\n", ["i001", "more than once"]),
        ("item_id,popularity\nnobody,1\n", ["'nobody'", "not know"]),
        ("item_id,fame\ni001,1\n", ["popularity"]),
        ("item_id,popularity\n,1\n", ["row 1", "item_id"]),
    ],
)
def test_popularity_files(place: Path, text: str, words: list[str]) -> None:
    file = given("popularity.csv", text, place)
    sentence = refused(
        place, "recommend", "counts", "--output", "out.csv", "--intervention", "set", "--popularity", file
    )
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize("question", [("deconfound",), ("temper", "--weight", "1"), ("set", "--popularity", "1")])
def test_a_plain_model_answers_no_question_about_popularity(place: Path, question: tuple[str, ...]) -> None:
    sentence = refused(place, "recommend", "plain", "--output", "out.csv", "--intervention", *question)
    assert "popularity" in sentence
    assert "log-additive" in sentence


@pytest.mark.parametrize("text", ["user_id\n", "", 'user_id\nu1\n""\n'])
def test_user_files_without_users(place: Path, text: str) -> None:
    file = given("who.csv", text, place)
    refused(place, "recommend", "counts", "--output", "out.csv", "--users", file)


@pytest.mark.parametrize("output", ["out.xlsx", "out", "absent/out.csv", "counts"])
@pytest.mark.parametrize("command", [("recommend", "counts"), ("score", "counts", "test.csv")])
def test_outputs(place: Path, command: tuple[str, ...], output: str) -> None:
    assert output.split("/")[0] in refused(place, *command, "--output", output)


def test_other_commands_check_their_output_too(place: Path) -> None:
    assert "out.json" in refused(place, "evaluate", "counts", "test.csv", "--output", "out.json")
    assert "out.json" in refused(place, "diagnose", "counts", "--output", "out.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("user_id\nu001\n", ["item_id"]),
        ("item_id\ni001\n", ["user_id"]),
        ("user_id,item_id\n", ["pairs.csv", "no pairs"]),
        ("", ["pairs.csv"]),
        ("user_id,item_id\nu001,i001\n,i002\n", ["row 2", "user_id"]),
        ("user_id,item_id\nu001,i001\nu002,\n", ["row 2", "item_id"]),
    ],
)
def test_pairs(place: Path, text: str, words: list[str]) -> None:
    sentence = refused(place, "score", "counts", given("pairs.csv", text, place), "--output", "out.csv")
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize("at", [("0",), ("5", "0"), ("-2",)])
def test_list_lengths(place: Path, at: tuple[str, ...]) -> None:
    assert "--at must be at least 1" in refused(place, "evaluate", "counts", "test.csv", "--at", *at)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("user_id,item_id,value\nx,i001,1\nu001,y,1\n", ["No test cell"]),
        ("user_id,item_id,value\n", ["no record"]),
        ("user_id,value\nu001,1\n", ["item_id"]),
        ("user_id,item_id,value\nu001,i001,much\n", ["'much'", "row 1"]),
        ("", ["future.csv"]),
    ],
)
def test_test_logs(place: Path, text: str, words: list[str]) -> None:
    sentence = refused(place, "evaluate", "counts", given("future.csv", text, place))
    assert all(word in sentence for word in words), sentence


COMMANDS = [
    ("recommend", "RUN", "--output", "out.csv"),
    ("score", "RUN", "test.csv", "--output", "out.csv"),
    ("evaluate", "RUN", "test.csv"),
    ("diagnose", "RUN"),
    ("report", "RUN"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
@pytest.mark.parametrize("run", ["absent", ".", "log.csv", "counts/versions"])
def test_what_is_no_run(place: Path, command: tuple[str, ...], run: str) -> None:
    sentence = refused(place, *(run if word == "RUN" else word for word in command))
    assert "no run" in sentence
    assert run in sentence


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def edit(path: Path) -> None:
    path.write_text(path.read_text().replace("seed = 0", "seed = 1"))


@pytest.mark.parametrize(
    ("file", "spoil"),
    [
        ("weights.safetensors", Path.unlink),
        ("weights.safetensors", damage),
        ("ids.parquet", damage),
        ("interactions.parquet", Path.unlink),
        ("posterior.nc", damage),
        ("metrics.jsonl", damage),
        ("config.toml", edit),
        ("config.toml", Path.unlink),
        ("manifest.json", Path.unlink),
        ("manifest.json", lambda path: path.write_text("{}")),
        ("manifest.json", lambda path: path.write_text("[1")),
    ],
)
def test_spoilt_runs(place: Path, tmp_path: Path, file: str, spoil: object) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(place / "counts", copy, symlinks=True)
    spoil(copy / "versions" / "0001" / file)  # type: ignore[operator]
    sentence = refused(tmp_path, "recommend", copy, "--output", tmp_path / "out.csv")
    assert "fit" in sentence
    assert file in sentence


def test_a_run_whose_link_leads_nowhere(place: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(place / "counts", copy, symlinks=True)
    shutil.rmtree(copy / "versions" / "0001")
    assert "no run" in refused(tmp_path, "diagnose", copy)


def test_usage_errors_are_told_too(place: Path) -> None:
    from harness import pyrorec

    for words in (("fit", "--nonsense"), ("recommend",), ("sing",), ("recommend", "counts", "--k", "many")):
        said = pyrorec(*words)
        assert said.code == 2
        assert "Traceback" not in said.err
        assert said.err


def test_nothing_is_left_by_the_refusals(place: Path) -> None:
    assert not list(place.glob("out*"))
    assert not list(place.rglob("*.partial"))
    assert len(pd.read_csv("log.csv")) > 0
