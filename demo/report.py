"""Draws the models as one HTML page that makes no network requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Literal

import duckdb
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from demo.transform import SCHEMA

TEMPLATE = Path(__file__).with_name("report.html")
TEXTS = {"": "text", "date": "text date"}
"""Formats of columns that are text, and their classes in the page."""
LABEL = 48
"""Characters of a label."""
BLUE, GREEN, ORANGE, RED = "#2a6fdb", "#12a594", "#e5762b", "#c4314b"


@dataclass(frozen=True)
class Section:
    """A chart and perhaps a table, each of one query.

    :param chart: query; its first column is the category, the others are the series
    :param colours: name and colour of each series
    :param kind: `lines` or `columns` over time, or `bars`, one below the other
    :param form: format of the chart's values
    :param columns: heading and format of each column of the table: of a number, or one of TEXTS
    """

    name: str
    title: str
    text: str
    chart: str
    colours: Mapping[str, str]
    kind: Literal["lines", "columns", "bars"]
    form: str = ","
    table: str = ""
    table_title: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


SECTIONS = (
    Section(
        "engagement",
        "Engagement over time",
        "Events per week, whenever the message was sent; automated mail included.",
        """
        SELECT DATE_TRUNC('week', date_day) AS week, SUM(opens), SUM(reads), SUM(clicks)
        FROM listrak__engagement_by_day GROUP BY week ORDER BY week
        """,
        {"opens": BLUE, "reads": GREEN, "clicks": ORANGE},
        "lines",
    ),
    Section(
        "messages",
        "Messages",
        "The share of deliveries in which a link was clicked: the ten best of the messages that"
        " were delivered to at least 20 contacts.",
        """
        SELECT subject, click_rate FROM listrak__messages
        WHERE delivered >= 20 ORDER BY click_rate DESC, message_id LIMIT 10
        """,
        {"clicked": ORANGE},
        "bars",
        ".1%",
        table="""
        SELECT STRFTIME(sent_at, '%Y-%m-%d'), subject, campaign_name, delivered, open_rate,
            click_rate, unsubscribe_rate, revenue
        FROM listrak__messages ORDER BY sent_at DESC, message_id DESC LIMIT 10
        """,
        table_title="The latest messages",
        columns={
            "sent": "date", "subject": "", "campaign": "", "delivered": ",", "opened": ".1%",
            "clicked": ".1%", "unsubscribed": ".1%", "revenue": ",.0f",
        },
    ),
    Section(
        "revenue",
        "Revenue",
        "Messages and conversations with the most revenue, which Listrak attributes to the last"
        " click, for up to 30 days.",
        """
        SELECT mailing_name, CASE WHEN mail_type = 'campaign' THEN revenue END,
            CASE WHEN mail_type = 'automated' THEN revenue END
        FROM listrak__revenue ORDER BY revenue DESC, mailing_id LIMIT 10
        """,
        {"messages": BLUE, "conversations": GREEN},
        "bars",
        ",.0f",
    ),
    Section(
        "automated",
        "Automated mail",
        "Opens per week, of messages sent to lists and of automated mail.",
        """
        SELECT DATE_TRUNC('week', date_day) AS week,
            SUM(opens) FILTER (mail_type = 'campaign'), SUM(opens) FILTER (mail_type = 'automated')
        FROM listrak__engagement_by_day GROUP BY week ORDER BY week
        """,
        {"messages": BLUE, "automated mail": GREEN},
        "lines",
        table="""
        SELECT conversation_name, list_name, delivered, open_rate, read_rate, unsubscribe_rate,
            conversions, revenue
        FROM listrak__automated_mail ORDER BY revenue DESC, conversation_id LIMIT 10
        """,
        table_title="The conversations with the most revenue",
        columns={
            "conversation": "", "list": "", "delivered": ",", "opened": ".1%", "read": ".1%",
            "unsubscribed": ".1%", "conversions": ",", "revenue": ",.0f",
        },
    ),
    Section(
        "growth",
        "List growth and churn",
        "Contacts added and removed in each of the last 12 months.",
        """
        SELECT date_month, SUM(added), -SUM(removed)
        FROM listrak__list_growth_by_month GROUP BY date_month ORDER BY date_month DESC LIMIT 12
        """,
        {"added": GREEN, "removed": RED},
        "columns",
        table="""
        SELECT list_name, STRFTIME(date_month, '%Y-%m'), subscribers_at_end, added, removed, net,
            churn_rate
        FROM listrak__list_growth_by_month
        QUALIFY date_month = MAX(date_month) OVER (PARTITION BY list_id)
        ORDER BY subscribers_at_end DESC, list_id LIMIT 10
        """,
        table_title="Each list in its latest month",
        columns={
            "list": "", "month": "date", "subscribers": ",", "added": ",", "removed": ",",
            "net": "+,", "churn": ".1%",
        },
    ),
    Section(
        "deliverability",
        "Deliverability",
        "The share of mail that bounced, at the domains to which most was sent.",
        """
        SELECT email_domain, 1.0 * SUM(bounces) / SUM(sent) FROM listrak__deliverability_by_domain
        GROUP BY email_domain HAVING SUM(sent) > 0
        ORDER BY SUM(sent) DESC, email_domain LIMIT 10
        """,
        {"bounced": RED},
        "bars",
        ".1%",
    ),
)  # fmt: skip
FIGURES = {
    "subscribers": "SELECT COUNT(*) FROM listrak__contacts WHERE is_subscribed",
    "messages to lists": "SELECT COUNT(*) FROM listrak__messages",
    "delivered, all mail": "SELECT SUM(delivered) FROM listrak__revenue",
    "clicks, all mail": "SELECT SUM(clicks) FROM listrak__revenue",
    "conversions, all mail": "SELECT SUM(conversions) FROM listrak__revenue",
    "revenue, all mail": "SELECT SUM(revenue) FROM listrak__revenue",
}
PERIOD = """
    SELECT STRFTIME(MIN(sent_at), '%Y-%m-%d') || ' to ' || STRFTIME(MAX(sent_at), '%Y-%m-%d')
    FROM listrak__messages
"""


def write_report(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write the page from the models of analytics/."""
    database.execute(f"USE {SCHEMA}")
    figures = {name: database.execute(query).fetchall() for name, query in FIGURES.items()}
    [[period]] = database.execute(PERIOD).fetchall()
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    page = template.substitute(
        library=get_plotlyjs(),
        period=f"Messages sent from {period}" if period else "No messages",
        figures="".join(
            f"<div><dt>{name}</dt><dd>{value or 0:,.0f}</dd></div>"
            for name, [[value]] in figures.items()
        ),
        sections="".join(_drawn(database, section) for section in SECTIONS),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _drawn(database: duckdb.DuckDBPyConnection, section: Section) -> str:
    rows = database.execute(section.chart).fetchall()
    chart = _bars(rows, section) if section.kind == "bars" else _figure(rows, section)
    html = f"<h2>{section.title}</h2>\n<p>{section.text}</p>\n{chart}\n"
    return html + _table(database, section) if section.table else html


def _figure(rows: list[tuple[Any, ...]], section: Section) -> str:
    """Draw series over time, with labels that stay level and apart at any width."""
    figure = go.Figure(
        layout={
            "template": "plotly_white",
            "barmode": "relative",
            "height": 320,
            "margin": {"l": 45, "r": 10, "t": 30, "b": 30},
            "legend": {"orientation": "h", "y": 1, "yanchor": "bottom", "traceorder": "normal"},
        }
    )
    dates = [row[0] for row in rows]
    for place, (name, colour) in enumerate(section.colours.items(), start=1):
        values = [None if row[place] is None else float(row[place]) for row in rows]
        if section.kind == "lines":
            figure.add_scatter(x=dates, y=values, name=name, mode="lines", line={"color": colour})
        else:
            figure.add_bar(x=dates, y=values, name=name, marker={"color": colour})
    figure.update_xaxes(type="date", tickangle=0, nticks=5, tickformat="%b %Y")
    figure.update_yaxes(tickformat=section.form, tickangle=0)
    options = {"displayModeBar": False, "responsive": True}
    return str(
        figure.to_html(full_html=False, include_plotlyjs=False, div_id=section.name, config=options)
    )


def _bars(rows: list[tuple[Any, ...]], section: Section) -> str:
    """Draw one bar below the other, each under its label, so that both have the full width."""
    longest = max((sum(map(float, filter(None, row[1:]))) for row in rows), default=0) or 1
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{name}</span>'
        for name, colour in section.colours.items()
        if len(section.colours) > 1
    )
    lines = []
    for label, *values in rows:
        parts = "".join(
            f'<i style="width:{100 * float(value or 0) / longest:.2f}%;background:{colour}"></i>'
            for value, colour in zip(values, section.colours.values(), strict=True)
        )
        total = format(sum(filter(None, values)), section.form)
        lines.append(
            f'<li><span class="name">{_label(label)}</span><b>{total}</b>'
            f'<span class="track">{parts}</span></li>'
        )
    bars = f'<ol class="bars" id="{section.name}">{"".join(lines)}</ol>'
    return f'<div class="legend">{legend}</div>{bars}' if legend else bars


def _table(database: duckdb.DuckDBPyConnection, section: Section) -> str:
    """Write a table; on a narrow screen, each row becomes a block of labelled values."""
    headings = "".join(_cell("th", heading, form) for heading, form in section.columns.items())
    lines = [f"<thead><tr>{headings}</tr></thead>"]
    for row in database.execute(section.table).fetchall():
        cells = "".join(
            _cell("td", _formatted(value, form), form, f' data-label="{heading}"')
            for value, (heading, form) in zip(row, section.columns.items(), strict=True)
        )
        lines.append(f"<tr>{cells}</tr>")
    return f"<h3>{section.table_title}</h3><table>{''.join(lines)}</table>"


def _formatted(value: Any, form: str) -> str:
    if value is None:
        return "-"
    return _label(value) if form in TEXTS else format(value, form)


def _cell(tag: str, text: str, form: str, attributes: str = "") -> str:
    kind = f' class="{TEXTS[form]}"' if form in TEXTS else ""
    return f"<{tag}{kind}{attributes}>{text}</{tag}>"


def _label(text: str | None) -> str:
    """Return text on one line, escaped."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text or "").split())
    short = line if len(line) <= LABEL else line[: LABEL - 1] + "…"
    return escape(short) or "(none)"
