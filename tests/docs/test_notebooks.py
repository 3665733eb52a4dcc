"""The notebooks run from top to bottom, and stay what their paired sources say."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
KERNEL = "pyrorec-under-test"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kernel that is the running interpreter, whatever kernels this machine has registered."""
    specification = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": KERNEL,
        "language": "python",
    }
    folder = tmp_path / "jupyter" / "kernels" / KERNEL
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(specification), encoding="utf-8")
    for name, value in {
        "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "CI": "1",
        "OMP_NUM_THREADS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    return KERNEL


def executed(path: Path, kernel: str, folder: Path) -> list[dict[str, Any]]:
    """The notebook's cells after a run in `folder`; an error in a cell raises."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=120, kernel_name=kernel, resources=resources).execute()
    return list(notebook.cells)


def outputs(cells: list[dict[str, Any]], kind: str) -> list[tuple[int, str]]:
    """What the cells displayed as `kind`, each with the number of its cell."""
    return [
        (number, output["data"][kind])
        for number, cell in enumerate(cells)
        for output in cell.get("outputs", [])
        if kind in output.get("data", {})
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebook_runs_and_every_picture_is_followed_by_what_it_shows(path: Path, kernel: str, tmp_path: Path) -> None:
    cells = executed(path, kernel, tmp_path)
    pictures, said = outputs(cells, "image/png"), dict(outputs(cells, "text/markdown"))
    assert len(pictures) >= 5
    for number, picture in pictures:
        assert base64.b64decode(picture).startswith(PNG)
        assert said[number + 1].startswith("**What it shows.**")
    assert (tmp_path / "runs" / path.stem / "current" / "manifest.json").is_file()
    assert "nan" not in " ".join(said.values()).split()
    stderr = [o["text"] for c in cells for o in c.get("outputs", []) if o.get("name") == "stderr"]
    assert not stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebook_is_its_paired_source_and_is_committed_without_outputs(path: Path) -> None:
    notebook, source = nbformat.read(path, as_version=4), jupytext.read(path.with_suffix(".py"))
    remedy = f"run: jupytext --to ipynb notebooks/{path.stem}.py"
    assert [c.cell_type for c in notebook.cells] == [c.cell_type for c in source.cells], remedy
    assert [c.source for c in notebook.cells] == [c.source for c in source.cells], remedy
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert path.stat().st_size < 300_000
