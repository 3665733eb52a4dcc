"""The page on popularity priors runs and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import pyrorec.inference.empirical_bayes as eb

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "empirical_bayes.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "empirical_bayes.md", "exec"), names)
    first = capsys.readouterr().out.splitlines()[0]
    assert f"`{first}`" in TEXT
    assert float(names["rates"].population.law.variance) == pytest.approx(0.80, abs=0.005)
    assert names["rates"].items.law.mean[:3].tolist() == pytest.approx([0.78, 0.80, 4.31], abs=0.005)
    assert (names["zeta"].location, names["zeta"].scale) == (
        pytest.approx(-0.45, abs=5e-3),
        pytest.approx(1.09, abs=5e-3),
    )


def test_every_rule_and_function_it_names_is_there() -> None:
    named = set(re.findall(r"`([A-Za-z_]+)", TEXT)) & {name for name in dir(eb) if not name.startswith("_")}
    rules = {
        name for name in eb.__all__ if isinstance(getattr(eb, name), type) and issubclass(getattr(eb, name), eb.Rule)
    }
    assert rules - {"Rule"} <= named
