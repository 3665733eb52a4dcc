"""The catalogue: complete rows, and reading recipes that are Python."""

from __future__ import annotations

from pyrorec.data import catalogue


def test_catalogue_is_complete() -> None:
    table = catalogue()
    assert len(table) == 9
    assert table.name.is_unique
    assert table.address.str.startswith("https://").all()
    assert all(table[name].str.len().gt(2).all() for name in ("name", "licence", "contents", "reading"))
    assert (table["records"] <= table["users"] * table["items"] * 10).all()


def test_recipes_are_python() -> None:
    for recipe in catalogue().reading:
        compile(recipe, "recipe", "exec")
        assert "pr.read_interactions(" in recipe
