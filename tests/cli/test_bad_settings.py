"""Flags and configurations that cannot be used are refused in one sentence, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import QUICK, prepared, refused


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of shared files, as the working folder."""
    folder = prepared(tmp_path_factory.getbasetemp())
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--family", "zipf"), ["'zipf'", "poisson"]),
        (("--predictor", "magic"), ["'magic'", "log-additive"]),
        (("--prior", "cauchy"), ["'cauchy'", "gamma"]),
        (("--model", "gpt"), ["'gpt'", "bilateral"]),
        (("--objective", "reinforce"), ["'reinforce'", "map"]),
        (("--device", "cuda"), ["'cuda'", "--device cpu"]),
        (("--device", "abacus"), ["'abacus'", "--device cpu"]),
        (("--device", "meta"), ["'meta'", "--device cpu"]),
        (("--missing", "maybe"), ["'maybe'", "unobserved"]),
        (("--missing", "0"), ["'0'", "unobserved"]),
        (("--missing", "nan"), ["'nan'", "unobserved"]),
        (("--family", "gaussian", "--predictor", "log-additive"), ["log-additive", "gaussian", "additive"]),
        (("--predictor", "plain", "--prior", "gamma"), ["plain", "gamma"]),
        (("--predictor", "additive", "--prior", "gamma"), ["additive", "gamma"]),
        (("--family", "bernoulli"), ["bernoulli", "--binarise"]),
        (("--family", "cloglog"), ["cloglog", "--binarise"]),
        (("--factors", "0"), ["--factors", "at least 1"]),
        (("--factors", "-3"), ["--factors", "at least 1"]),
        (("--epochs", "0"), ["--epochs", "at least 1"]),
        (("--threads", "-1"), ["--threads", "at least 1"]),
        (("--batch-size", "0"), ["--batch-size", "at least 1"]),
        (("--learning-rate", "0"), ["learning_rate", "above zero"]),
        (("--learning-rate", "nan"), ["learning_rate", "finite"]),
        (("--dropout", "2"), ["dropout", "[0, 1)"]),
        (("--dropout", "nan"), ["dropout", "finite"]),
        (("--validation-fraction", "1"), ["validation_fraction", "[0, 1)"]),
        (("--holdout", "1"), ["--holdout", "between 0 and 1"]),
        (("--holdout", "nan"), ["--holdout", "between 0 and 1"]),
        (("--seed", "-1"), ["--seed", "-1"]),
        (("--seed", "99999999999999999999"), ["--seed"]),
        (("--config", "absent.toml"), ["absent.toml", "does not exist"]),
        (("--config", "."), ["TOML"]),
        (("--resume",), ["no checkpoint", "--resume"]),
    ],
)
def test_flags(place: Path, flags: tuple[str, ...], words: list[str]) -> None:
    few = () if {"--epochs", "--factors"} & set(flags) else QUICK
    sentence = refused(place, "fit", "log.csv", "--out", "new", *few, *flags)
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model", ["TOML"]),
        ("modle = 3", ["'modle'", "model"]),
        ("model = 3", ["model", "table"]),
        ("training = 'fast'", ["training", "table"]),
        ("seed = 'x'", ["seed", "'x'"]),
        ("seed = -2", ["seed", "-2"]),
        ("missing = [1]", ["missing", "[1]"]),
        ("missing = 'never'", ["'never'"]),
        ("[training]\nepochs = 'many'", ["epochs", "'many'"]),
        ("[training]\nepochs = 2.5", ["epochs", "2.5"]),
        ("[training]\nepochs = true", ["epochs", "True"]),
        ("[training]\nlearning_rate = 'fast'", ["learning_rate", "'fast'"]),
        ("[training]\nanneal = 'no'", ["anneal", "'no'"]),
        ("[training]\nepoch = 5", ["'epoch'", "epochs"]),
        ("[training]\ndropout = 2", ["dropout", "2"]),
        ("[training]\nbatch_size = 0", ["batch_size", "0"]),
        ("[training]\nkl_weight = -1", ["kl_weight"]),
        ("[training]\nkl_weight = inf", ["kl_weight"]),
        ("[training]\nobjective = 'guess'", ["objective", "'guess'", "map"]),
        ("[training]\nobjective = 3", ["objective", "3"]),
        ("[training]\nobjective = {name = 'monte-carlo', particles = 0}", ["particles", "0"]),
        ("[training]\nobjective = {name = 'map', power = 2}", ["'power'"]),
        ("[training]\nschedule = {name = 'items-then-users', passes = 0}", ["passes", "0"]),
        ("[model]\nfactors = -1", ["factors", "-1"]),
        ("[model]\nfactors = 'ten'", ["factors", "'ten'"]),
        ("[model]\nfactors = 2.5", ["factors", "2.5"]),
        ("[model]\nfacters = 3", ["'facters'", "factors"]),
        ("[model]\nhidden = [0]", ["hidden", "0"]),
        ("[model]\nhidden = ['a']", ["hidden", "'a'"]),
        ("[model]\nhidden = 7", ["hidden", "7"]),
        ("[model]\nscale = -1", ["scale", "-1"]),
        ("[model]\nbinarise = 'yes'", ["binarise", "'yes'"]),
        ("[model]\nfamily = 'zipf'", ["'zipf'", "poisson"]),
        ("[model]\nfamily = 4", ["family", "4"]),
        ("[model]\nfamily = {kind = 'poisson'}", ["family", "name"]),
        ("[model]\nfamily = {name = 'poisson', rate = 3}", ["family", "rate"]),
        ("[model]\npopularity = {name = 'gamma', shape = -1}", ["shape", "-1"]),
        ("[model]\npopularity = {name = 'gamma', shape = 'x'}", ["shape", "'x'"]),
        ("[model]\nfamily = 'gaussian'\npredictor = 'log-additive'", ["log-additive", "gaussian"]),
    ],
)
def test_configurations(place: Path, text: str, words: list[str]) -> None:
    config = place.parent / "bad.toml"
    config.write_text(text, encoding="utf-8")
    sentence = refused(place, "fit", "log.csv", "--out", "new", "--config", config, "--quiet")
    assert all(word in sentence for word in words), sentence


def test_a_file_that_is_no_text(place: Path) -> None:
    sentence = refused(place, "fit", "log.csv", "--out", "new", "--config", "items.parquet", *QUICK)
    assert "items.parquet" in sentence


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("counts", ["already holds a run", "--replace"]),
        ("log.csv", ["is a file", "folder"]),
        ("log.csv/run", ["log.csv"]),
        ("foreign", ["not empty", "another folder"]),
        ("versioned", ["not empty", "another folder"]),
        ("counts/versions", ["another folder"]),
    ],
)
def test_output_folders(place: Path, out: str, words: list[str]) -> None:
    (place / "foreign").mkdir(exist_ok=True)
    (place / "foreign" / "thesis.txt").write_text("years of work")
    (place / "versioned" / "versions").mkdir(parents=True, exist_ok=True)
    (place / "versioned" / "config.toml").write_text("of something else")
    sentence = refused(place, "fit", "log.csv", "--out", out, *QUICK)
    assert all(word in sentence for word in words), sentence


def test_an_empty_folder_stays_when_a_fit_is_refused(place: Path) -> None:
    (place / "empty").mkdir(exist_ok=True)
    refused(place, "fit", "log.csv", "--out", "empty", "--resume", *QUICK)
