"""What a person sees of the database."""

from __future__ import annotations

import shutil
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table
from rich.text import Text

from demo.load import quoted

CAMPAIGNS_SHOWN = 12
SUBJECT_WIDTH = 32
NARROWEST = 124
"""Columns to draw in where the output is no terminal, or one too narrow for the tables."""


def make_console() -> Console:
    """Return a console wide enough for the tables, wherever the output goes."""
    return Console(width=max(NARROWEST, shutil.get_terminal_size().columns), highlight=False)


def show_counts(console: Console, database: duckdb.DuckDBPyConnection, tables: list[str]) -> None:
    """Print the rows of each table."""
    drawn = Table("table", title="Rows", title_justify="left")
    drawn.add_column("rows", justify="right")
    for table in tables:
        [[rows]] = database.table(quoted(table)).aggregate("COUNT(*)").fetchall()
        drawn.add_row(table, f"{rows:,}")
    console.print(drawn)


def show_campaigns(console: Console, database: duckdb.DuckDBPyConnection) -> None:
    """Print the latest campaigns and what came of them."""
    title = f"The latest {CAMPAIGNS_SHOWN} campaigns (of the view campaigns)"
    drawn = Table("sent on", title=title, title_justify="left")
    drawn.add_column("subject", min_width=SUBJECT_WIDTH, no_wrap=True)
    numbers = ("sent", "delivered", "opens", "clicks", "click_rate", "unsubscribes", "bounces")
    for name in numbers:
        drawn.add_column(name.replace("_", " "), justify="right")
    latest = (
        database.table("campaigns")
        .order("send_date DESC NULLS LAST, message_id DESC")
        .limit(CAMPAIGNS_SHOWN)
        # The day as text: reading instants would need a time zone library in Python.
        .select(f"STRFTIME(send_date, '%Y-%m-%d'), subject, {', '.join(numbers)}")
    )
    for day, subject, *values in latest.fetchall():
        cells = zip(numbers, values, strict=True)
        drawn.add_row(
            day or "",
            _short(subject),
            *(_number(value, as_percent=name == "click_rate") for name, value in cells),
        )
    console.print(drawn)


def _short(subject: str | None) -> Text:
    """Return a subject on one line; as `Text`, so that its brackets are not taken for markup."""
    text = Text(" ".join("".join(c if c.isprintable() else " " for c in subject or "").split()))
    text.truncate(SUBJECT_WIDTH, overflow="ellipsis")
    return text


def _number(value: Any, *, as_percent: bool) -> str:
    if value is None:
        return ""
    return f"{value:.1%}" if as_percent else f"{value:,}"
