"""Evidence as HTML in report.html: tables, the first row of each its head, and lines below them."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def page(tables: Iterable[Sequence[Sequence[str]]], lines: Iterable[str]) -> str:
    """Every text is escaped."""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"{''.join(map(_table, tables))}<ul>{items}</ul>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return f"<table>{_row('th', head)}{''.join(_row('td', row) for row in body)}</table>"


def _row(kind: str, texts: Iterable[str]) -> str:
    cells = "".join(f"<{kind}>{html.escape(text)}</{kind}>" for text in texts)
    return f"<tr>{cells}</tr>"
