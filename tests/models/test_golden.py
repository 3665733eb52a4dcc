"""The benchmark of golden values: the public file passes, and what is wrong with a file shows in the exit status."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"name": "g_exponential_expsat", "params": {"beta": 3.0, "lam": 1.0}, "value": 0.25}
SPECIFIED = 52


@pytest.fixture(scope="module")
def golden() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield importlib.import_module("benchmarks.golden")


@pytest.fixture(scope="module")
def public(shared: Path, golden: ModuleType) -> list[Any]:
    return golden.read(shared / "golden" / "golden_public.json")


def written(path: Path, content: Any) -> str:
    file = path / "golden.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(file)


def test_every_function_of_the_public_file_passes(golden: ModuleType, public: list[Any]) -> None:
    names = {entry.name for entry in public}
    assert names == set(golden.FUNCTIONS)
    assert len(names) == SPECIFIED
    rows = [golden.evaluate(name, [e for e in public if e.name == name]) for name in sorted(names)]
    assert not [row.line() for row in rows if not row.passed]


def test_a_batch_gives_what_its_elements_give(golden: ModuleType, public: list[Any]) -> None:
    """The number of nodes is set by the most demanding element: alone, an element must do with its own."""
    for name in golden.FUNCTIONS:
        entries = [e for e in public if e.name == name]
        for entry in entries[:: max(1, len(entries) // 4)]:
            row = golden.evaluate(name, [entry])
            assert row.double <= 1, row.line()


def test_passes_and_says_so(golden: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert golden.main([written(tmp_path, {"entries": [GOOD]})]) == 0
    out = capsys.readouterr().out
    assert "g_exponential_expsat" in out
    assert "PASS" in out
    assert "FAIL" not in out


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([GOOD, {"name": "g_gamma_tangent", "params": {"a": 1.0}, "value": 1.0}], "unknown function"),
        ([GOOD | {"value": 0.25 * (1 + 3e-10)}], "FAIL"),
        ([GOOD | {"value": 0.26}, GOOD], "FAIL"),
        ([], "no entries"),
        (None, "no entries"),
        ("", "no entries"),
    ],
    ids=["unknown", "just beyond tolerance", "one of two", "no entries", "no key", "empty file"],
)
def test_what_fails(
    entries: Any, said: str, golden: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = entries if isinstance(entries, str) else {} if entries is None else {"entries": entries}
    assert golden.main([written(tmp_path, content)]) == 1
    out = capsys.readouterr().out
    assert said in out
    assert "FAIL" in out


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1]",
        {"entries": 3},
        {"entries": [{"name": "logistic_normal", "value": 0.5}]},
        {"entries": [GOOD | {"value": "0.25"}]},
        {"entries": [GOOD | {"value": float("nan")}]},
        {"entries": [GOOD | {"params": {"beta": None, "lam": 1.0}}]},
        {"entries": [GOOD | {"params": {"rate": 3.0, "lam": 1.0}}]},
    ],
)
def test_what_is_malformed(
    content: Any, golden: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert golden.main([written(tmp_path, content)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_missing_file_ends_the_command_with_2(tmp_path: Path) -> None:
    missing = tmp_path / "none.json"
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.golden", str(missing)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert len(ran.stderr.strip().splitlines()) == 1
    assert str(missing) in ran.stderr


def test_naive_scale_and_the_two_exceptions_loosen_the_tolerance(golden: ModuleType) -> None:
    off = golden.Entry("g_exponential_expsat", GOOD["params"], 0.25 + 1e-9)
    assert not golden.evaluate(off.name, [off]).passed
    scaled = golden.Entry(off.name, off.params, off.value, naive_scale=1e5)
    assert golden.evaluate(off.name, [scaled]).passed
    square = golden.Entry("probit_normal_sq", {"a": -30.0, "b": 0.1}, 5e-21)
    assert golden.evaluate(square.name, [square]).passed


@pytest.mark.parametrize("kind", ["value", "gradient", "single", "error"])
def test_a_wrong_function_fails(kind: str, golden: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(beta: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        right = lam / (beta + lam)
        if kind == "value":
            return right * (1 + 1e-9)
        if kind == "gradient":
            return right + torch.sqrt(beta - beta)
        if kind == "single":
            return right if beta.dtype == torch.float64 else right * (1 + 1e-4)
        raise NotImplementedError("not yet")

    monkeypatch.setitem(golden.FUNCTIONS, "g_exponential_expsat", wrong)
    row = golden.evaluate("g_exponential_expsat", [golden.Entry("g_exponential_expsat", GOOD["params"], 0.25)])
    assert not row.passed
    assert ("not yet" in row.line()) == (kind == "error")
    assert bool(row.not_finite) == (kind == "gradient")
