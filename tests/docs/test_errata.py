"""The page of errata says what its script computes, covers every erratum and names only what exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from math import isclose
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from benchmarks.errata import divergences, figures, integrals, objective, tables
from pyrorec.models.integrals import gamma, lognormal

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "errata.md").read_text(encoding="utf-8")
TABLE = re.compile(r"^\|.*\|$", re.MULTILINE)
Row = tuple[str, str, str, str]


def cells(width: int) -> Iterator[list[str]]:
    """The rows of all tables with so many columns, headings and rules left out."""
    for line in TABLE.findall(TEXT):
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if len(row) == width and row[0] not in ("id", "method, s =") and set(row[0]) != {"-"}:
            yield row


@pytest.fixture(scope="module")
def computed() -> list[Row]:
    """What the script prints."""
    torch.set_num_threads(1)
    return tables.rows()


def agree(written: str, found: str) -> bool:
    """Equal text, or equal numbers to the last digit written."""
    return written == found or isclose(float(written), float(found), rel_tol=1e-3, abs_tol=1e-9)


def test_every_row_of_the_page_is_what_the_script_computes(computed: list[Row]) -> None:
    page = {(name, what): (wrong, right) for name, _, _, what, wrong, right in cells(6)}
    assert set(page) == {(name, what) for name, what, _, _ in computed}
    off = [row for row in computed if not all(map(agree, page[row[:2]], row[2:]))]
    assert not off


def test_the_table_of_approximations_is_what_the_script_computes() -> None:
    page = [row for row in cells(8)]
    for written, found in zip(page, tables.approximation_rows(), strict=True):
        assert written[0] == found[0]
        assert [float(x) for x in written[1:]] == pytest.approx([float(x) for x in found[1:]], rel=0.1)


def test_decimals_in_the_prose_are_computed_too_or_named_as_settings(computed: list[Row]) -> None:
    values = [float(x) for row in computed for x in row[2:] if x != "-"]
    prose = re.sub(r"`[^`]*`|!\[.*?\]\(.*?\)|^    .*$", " ", TABLE.sub("", TEXT), flags=re.MULTILINE)
    settings = {1.0, 0.02, 0.05, 0.1, 0.2, 0.32, 0.35, 0.4, 0.5, 0.5714, 0.64, 0.7, 0.8, 1.3, 1.5, 2.5, 4.58, 87.4}
    for written in re.findall(r"(?<![\w.])-?\d*\.\d+(?![\w.]*\d)", prose):
        last = 0.6 * 10.0 ** -len(written.split(".")[1])
        assert abs(float(written)) in settings or any(abs(float(written) - value) <= last for value in values), written


def test_every_erratum_is_there(computed: list[Row]) -> None:
    wanted = {f"A{n}" for n in range(1, 14)} | {f"B{n}" for n in range(1, 31)} - {"B29"} | {"B12b"}
    assert {row[0] for row in computed} == wanted | {"T1", "T2"}
    first = {row[0]: row[1:3] for row in reversed(list(cells(6)))}
    assert all(note and right for note, right in first.values()), "both formulas stand in an erratum's first row"


def test_names_in_the_page_exist() -> None:
    for name in set(re.findall(r"`(pyrorec\.[\w.]+)`", TEXT)):
        parts = name.split(".")
        for cut in range(len(parts), 0, -1):
            try:
                found = import_module(".".join(parts[:cut]))
            except ModuleNotFoundError:
                continue
            break
        for part in parts[cut:]:
            found = getattr(found, part)


def test_pictures_are_drawn_and_all_shown() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(figures/(\S+?)\)", TEXT)
    assert set(shown) == set(figures.DRAWN)
    for name in shown:
        content = (DOCS / "figures" / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert 900 <= int.from_bytes(content[16:20]) <= 1200, "about a thousand pixels wide"


def test_corrected_values_against_quadrature() -> None:
    """Those whose correction is a formula, once more by scipy's quadrature."""
    q, p = stats.expon(scale=0.5), stats.expon()
    ((_, divergence),) = divergences.exponential_divergence().values()
    assert divergence == pytest.approx(
        integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), 0, 30)[0], rel=1e-9
    )
    ((_, unmatched),) = integrals.closed_form_in_the_wrong_place().values()
    average = integrate.quad(lambda z: np.exp(-z) * np.log1p(0.8 * np.expm1(-z)), 0, 60)[0]
    assert unmatched == pytest.approx(average, rel=1e-9)
    _, (_, exact), (_, ours) = integrals.more_than_monte_carlo().values()
    logistic = integrate.quad(lambda z: np.exp(-z) * special.expit(z - 1), 0, 60)[0]
    assert [exact, ours] == pytest.approx([logistic, logistic], rel=1e-9)


def test_closed_forms_that_the_note_called_hardly_closed_are_those_of_the_package() -> None:
    (_, ratio), _, (_, of_lognormal) = integrals.closed_forms_of_other_links().values()
    half = torch.tensor(1.5, dtype=torch.float64)
    assert ratio == pytest.approx(float(gamma.ratio(2.0, 1.0, half).value), rel=1e-11)
    assert of_lognormal == pytest.approx(float(lognormal.ratio(0.0, 1.0, half).value), rel=1e-11)


def test_gap_of_the_bound_is_the_divergence_to_the_posterior() -> None:
    (_, gap), (_, divergence) = objective.gap().values()
    assert gap is not None
    assert gap > 0
    assert gap == pytest.approx(divergence, abs=1e-10)
