"""Draws what the views say as one HTML page that asks nothing of any network."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import duckdb
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

BEST = 10
"""Campaigns in the chart of the best."""
PROVIDERS = 10
"""Mail providers in the chart of deliverability: those to which most was sent."""
LEAST_DELIVERED = 20
"""Below so many deliveries, a click rate is chance."""
COLOURS = {"opens": "#2a6fdb", "reads": "#12a594", "clicks": "#e5762b", "bounces": "#c4314b"}

# The policy of the page forbids every request, whatever a subject line may hold.
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Listrak: campaigns, engagement, deliverability</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; max-width: 1080px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 0; }
p { color: #5b6675; margin: 0.2rem 0; }
dl { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1.5rem 0; }
dt { color: #5b6675; font-size: 0.85rem; }
dd { margin: 0; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
</style>
<script>$library</script>
</head>
<body>
<h1>Listrak</h1>
<p>$period</p>
<dl>$figures</dl>
$charts
</body>
</html>
""")


def write_report(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write the page from the views campaigns, engagement_by_day and deliverability."""
    charts = [
        (
            "engagement",
            "Engagement over time",
            "What recipients did, a week at a time, whatever message they did it with.",
            _engagement(database),
        ),
        (
            "campaigns",
            "Best campaigns",
            f"By the share of recipients who clicked, of those with {LEAST_DELIVERED} or more.",
            _campaigns(database),
        ),
        (
            "deliverability",
            "Deliverability",
            "Share of messages that bounced, at the mail providers to which most was sent.",
            _deliverability(database),
        ),
    ]
    sections = [
        f"<h2>{title}</h2>\n<p>{text}</p>\n{_drawn(name, figure)}"
        for name, title, text, figure in charts
    ]
    numbers = [f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in _figures(database)]
    path.parent.mkdir(parents=True, exist_ok=True)
    page = _PAGE.substitute(
        library=get_plotlyjs(),
        period=escape(_period(database)),
        figures="".join(numbers),
        charts="\n".join(sections),
    )
    path.write_text(page, encoding="utf-8")


def _figures(database: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    names = ("campaigns", "delivered", "opens", "clicks", "unsubscribes", "bounces")
    row = database.execute(
        "SELECT COUNT(*), SUM(delivered), SUM(opens), SUM(clicks), SUM(unsubscribes), SUM(bounces)"
        " FROM campaigns"
    ).fetchone()
    for name, value in zip(names, row or (), strict=True):
        yield name, f"{int(value or 0):,}"


def _period(database: duckdb.DuckDBPyConnection) -> str:
    row = database.execute(
        "SELECT STRFTIME(MIN(send_date), '%Y-%m-%d'), STRFTIME(MAX(send_date), '%Y-%m-%d')"
        " FROM campaigns"
    ).fetchone()
    first, last = row or (None, None)
    return f"Campaigns sent from {first} to {last}" if first else "No campaigns"


def _engagement(database: duckdb.DuckDBPyConnection) -> go.Figure:
    rows = database.execute(
        "SELECT STRFTIME(DATE_TRUNC('week', CAST(day AS DATE)), '%Y-%m-%d') AS week,"
        ' SUM(opens), SUM("reads"), SUM(clicks) FROM engagement_by_day GROUP BY week ORDER BY week'
    ).fetchall()
    weeks = [row[0] for row in rows]
    return go.Figure(
        [
            go.Scatter(
                x=weeks,
                y=[int(row[place]) for row in rows],
                name=name,
                mode="lines+markers",
                line={"color": COLOURS[name]},
            )
            for place, name in enumerate(("opens", "reads", "clicks"), start=1)
        ],
        {"xaxis": {"type": "date"}, "yaxis": {"title": {"text": "events a week"}}},
    )


def _campaigns(database: duckdb.DuckDBPyConnection) -> go.Figure:
    rows = database.execute(
        "SELECT message_id, subject, STRFTIME(send_date, '%Y-%m-%d'), click_rate, delivered"
        " FROM campaigns WHERE delivered >= ? AND click_rate IS NOT NULL"
        " ORDER BY click_rate DESC, message_id LIMIT ?",
        [LEAST_DELIVERED, BEST],
    ).fetchall()
    rows.reverse()  # bars are drawn from the bottom
    return go.Figure(
        go.Bar(
            x=[row[3] for row in rows],
            # The number keeps campaigns with one subject apart.
            y=[f"{_subject(row[1])} · {row[0]}" for row in rows],
            customdata=[[row[2], row[4]] for row in rows],
            hovertemplate="sent %{customdata[0]} to %{customdata[1]:,}: %{x:.1%}<extra></extra>",
            orientation="h",
            marker={"color": COLOURS["clicks"]},
        ),
        {
            "xaxis": {"tickformat": ".0%", "title": {"text": "recipients who clicked"}},
            "yaxis": {"automargin": True, "type": "category"},
        },
    )


def _deliverability(database: duckdb.DuckDBPyConnection) -> go.Figure:
    rows = database.execute(
        "SELECT domain, sent, bounced, bounce_rate FROM deliverability WHERE domain IS NOT NULL"
        " ORDER BY sent DESC, domain LIMIT ?",
        [PROVIDERS],
    ).fetchall()
    return go.Figure(
        go.Bar(
            x=[_plain(row[0]) for row in rows],
            y=[row[3] for row in rows],
            customdata=[[row[1], row[2]] for row in rows],
            hovertemplate="%{customdata[1]:,} of %{customdata[0]:,}: %{y:.1%}<extra></extra>",
            marker={"color": COLOURS["bounces"]},
        ),
        {
            "xaxis": {"type": "category", "automargin": True},
            "yaxis": {"tickformat": ".1%", "title": {"text": "bounced"}},
        },
    )


def _drawn(name: str, figure: go.Figure) -> str:
    figure.update_layout(
        template="plotly_white",
        height=380,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        legend={"orientation": "h"},
    )
    html: Any = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        config={"displayModeBar": False, "responsive": True},
    )
    return str(html)


def _subject(subject: str | None, length: int = 40) -> str:
    """Return a subject on one line, with nothing in it that would be taken for markup."""
    line = " ".join("".join(c if c.isprintable() else " " for c in subject or "").split())
    return _plain(line if len(line) <= length else line[: length - 1] + "…") or "(no subject)"


def _plain(text: str) -> str:
    """Return text for a chart, whose labels may hold some markup, but no references to quotes."""
    return escape(text, quote=False)
