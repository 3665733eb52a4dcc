"""Pieces of HTML: everything that comes from data is escaped here."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from numbers import Real
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pyrorec.report.style import png

CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .3rem; } h2 { font-size: 1.25rem; margin-top: 2.4rem;
  border-bottom: 1px solid #ddd; } h3 { font-size: 1rem; margin-bottom: .3rem; }
table { border-collapse: collapse; font-size: .88rem; } .wide { overflow-x: auto; }
th, td { padding: .2rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid #eee; }
th { font-weight: 600; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; } figcaption { font-size: .88rem; color: #444; }
.absent { color: #555; font-style: italic; } nav a { margin-right: 1rem; } .pair { display: flex; flex-wrap: wrap;
  gap: 2rem; }
"""


NUMBER = ' class="number"'


def page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole document from (heading, HTML) sections, with a list of links at its head."""
    links = "".join(f'<a href="#s{n}">{escape(heading)}</a> ' for n, (heading, _) in enumerate(sections))
    body = "".join(f'<section id="s{n}"><h2>{escape(h)}</h2>{html}</section>\n' for n, (h, html) in enumerate(sections))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>\n'
        f"<body><h1>{escape(title)}</h1><nav>{links}</nav>\n{body}</body></html>\n"
    )


def cell(value: Any) -> str:
    """A table cell: numbers to four significant digits, a dash for none, anything else as text."""
    if isinstance(value, Real) and not isinstance(value, bool | np.bool_):
        return f"<td{NUMBER}>{number(float(value))}</td>"
    return f"<td>{escape(str(value))}</td>"


def number(value: float) -> str:
    """Four significant digits without exponents within reach of the eye; an en dash for NaN."""
    if np.isnan(value):
        return "–"
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e12 else f"{value:.4g}"


def table(columns: Sequence[object], rows: Iterable[Sequence[Any]]) -> str:
    """A table from column names and rows; a column is aligned as a number where its first cell is one."""
    lines = [list(row) for row in rows]
    numeric = [isinstance(value, Real) for value in lines[0]] if lines else [False] * len(columns)
    names = zip(columns, numeric, strict=True)
    head = "".join(f"<th{NUMBER if right else ''}>{escape(str(name))}</th>" for name, right in names)
    body = "".join(f"<tr>{''.join(map(cell, line))}</tr>\n" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n'


def facts(pairs: Mapping[str, Any]) -> str:
    """A table of two columns without a head."""
    rows = "".join(f'<tr><th scope="row">{escape(name)}</th>{text_cell(v)}</tr>\n' for name, v in pairs.items())
    return f"<table><tbody>{rows}</tbody></table>\n"


def text_cell(value: Any) -> str:
    """A cell of text."""
    return f"<td>{escape(str(value))}</td>"


def picture(figure: Figure) -> str:
    """The figure as an image within the page, its label as caption and as text for those who cannot see it."""
    caption, data = escape(str(figure.get_label())), b64encode(png(figure)).decode("ascii")
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>\n'
    )


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>\n"


def absent(reason: str) -> str:
    """Why there is nothing to show."""
    return f'<p class="absent">{escape(reason)}</p>\n'


def items(lines: Iterable[str]) -> str:
    """A list of plain lines."""
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>\n"
