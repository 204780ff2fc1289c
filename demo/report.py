"""Draws the models as one HTML page that makes no network requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template

import duckdb
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from demo.transform import SCHEMA

TEMPLATE = Path(__file__).with_name("report.html")
LABEL = 48
"""Characters of a label."""
BLUE, GREEN, ORANGE, RED = "#2a6fdb", "#12a594", "#e5762b", "#c4314b"


@dataclass(frozen=True)
class Section:
    """A chart and perhaps a table, each of one query.

    :param chart: query; its first column is the category, the others are the series
    :param colours: name and colour of each series
    :param columns: heading and format of each column of the table; columns of text have no format
    """

    name: str
    title: str
    text: str
    chart: str
    colours: Mapping[str, str]
    lines: bool = False
    horizontal: bool = False
    unit: str = ""
    form: str = ","
    table: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


SECTIONS = (
    Section(
        "engagement",
        "Engagement over time",
        "Events per week, whenever the message was sent; automated mail included.",
        """
        SELECT STRFTIME(DATE_TRUNC('week', date_day), '%Y-%m-%d') AS week,
            SUM(opens), SUM(reads), SUM(clicks)
        FROM listrak__engagement_by_day GROUP BY week ORDER BY week
        """,
        {"opens": BLUE, "reads": GREEN, "clicks": ORANGE},
        lines=True,
        unit="events",
    ),
    Section(
        "campaigns",
        "Best campaigns",
        "By the share of recipients who clicked, of those with at least 20, and the latest.",
        # The id keeps campaigns with the same subject apart.
        """
        SELECT CONCAT_WS(' · ', subject[:32], message_id), click_rate FROM listrak__campaigns
        WHERE delivered >= 20 ORDER BY click_rate DESC, message_id LIMIT 10
        """,
        {"clicked": ORANGE},
        horizontal=True,
        form=".0%",
        table="""
        SELECT STRFTIME(sent_at, '%Y-%m-%d'), subject, campaign_name, delivered, open_rate,
            click_rate, unsubscribe_rate, revenue
        FROM listrak__campaigns ORDER BY sent_at DESC, message_id DESC LIMIT 10
        """,
        columns={
            "sent": "", "subject": "", "campaign": "", "delivered": ",", "opened": ".1%",
            "clicked": ".1%", "unsubscribed": ".1%", "revenue": ",.0f",
        },
    ),
    Section(
        "revenue",
        "Revenue by campaign",
        "Attributed by Listrak to the last click, for up to 30 days.",
        """
        SELECT COALESCE(campaign_name, 'no campaign') AS name,
            SUM(revenue) FILTER (mail_type = 'campaign'),
            SUM(revenue) FILTER (mail_type = 'automated')
        FROM listrak__last_touch_revenue GROUP BY name ORDER BY SUM(revenue) DESC, name LIMIT 10
        """,
        {"campaigns": BLUE, "automated mail": GREEN},
        horizontal=True,
    ),
    Section(
        "automated",
        "Automated mail",
        "Opens per week beside those of campaigns, and the conversations with most revenue.",
        """
        SELECT STRFTIME(DATE_TRUNC('week', date_day), '%Y-%m-%d') AS week,
            SUM(opens) FILTER (mail_type = 'campaign'), SUM(opens) FILTER (mail_type = 'automated')
        FROM listrak__engagement_by_day GROUP BY week ORDER BY week
        """,
        {"campaigns": BLUE, "automated mail": GREEN},
        unit="opens",
        table="""
        SELECT conversation_name, list_name, delivered, open_rate, read_rate, unsubscribe_rate,
            conversions, revenue
        FROM listrak__automated_mail ORDER BY revenue DESC, conversation_id LIMIT 10
        """,
        columns={
            "conversation": "", "list": "", "delivered": ",", "opened": ".1%", "read": ".1%",
            "unsubscribed": ".1%", "conversions": ",", "revenue": ",.0f",
        },
    ),
    Section(
        "growth",
        "List growth and churn",
        "Contacts added and removed in the last 12 months, and each list in its latest month.",
        """
        SELECT STRFTIME(date_month, '%Y-%m-%d') AS month, SUM(added), -SUM(removed)
        FROM listrak__list_growth_by_month GROUP BY month ORDER BY month DESC LIMIT 12
        """,
        {"added": GREEN, "removed": RED},
        unit="contacts",
        table="""
        SELECT list_name, STRFTIME(date_month, '%Y-%m'), subscribers_at_end, added, removed, net,
            churn_rate
        FROM listrak__list_growth_by_month
        QUALIFY date_month = MAX(date_month) OVER (PARTITION BY list_id)
        ORDER BY subscribers_at_end DESC, list_id LIMIT 10
        """,
        columns={
            "list": "", "month": "", "subscribers": ",", "added": ",", "removed": ",", "net": "+,",
            "churn": ".1%",
        },
    ),
    Section(
        "deliverability",
        "Deliverability",
        "Share of mail that bounced, at the mail providers to which most was sent.",
        """
        SELECT email_domain, bounce_rate FROM listrak__deliverability
        WHERE sent > 0 ORDER BY sent DESC, email_domain LIMIT 10
        """,
        {"bounced": RED},
        form=".1%",
    ),
)  # fmt: skip
FIGURES = {
    "subscribers": "SELECT COUNT(*) FROM listrak__current_subscribers",
    "messages sent": "SELECT COUNT(*) FROM listrak__campaigns",
    "delivered": "SELECT SUM(delivered) FROM listrak__last_touch_revenue",
    "clicks": "SELECT SUM(clicks) FROM listrak__last_touch_revenue",
    "conversions": "SELECT SUM(conversions) FROM listrak__last_touch_revenue",
    "revenue": "SELECT SUM(revenue) FROM listrak__last_touch_revenue",
}
PERIOD = """
    SELECT STRFTIME(MIN(sent_at), '%Y-%m-%d') || ' to ' || STRFTIME(MAX(sent_at), '%Y-%m-%d')
    FROM listrak__campaigns
"""


def write_report(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write the page from the models of analytics/."""
    database.execute(f"USE {SCHEMA}")
    figures = {name: database.execute(query).fetchall() for name, query in FIGURES.items()}
    [[period]] = database.execute(PERIOD).fetchall()
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    page = template.substitute(
        library=get_plotlyjs(),
        period=f"Campaigns sent from {period}" if period else "No campaigns",
        figures="".join(
            f"<div><dt>{name}</dt><dd>{value or 0:,.0f}</dd></div>"
            for name, [[value]] in figures.items()
        ),
        sections="".join(_drawn(database, section) for section in SECTIONS),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _drawn(database: duckdb.DuckDBPyConnection, section: Section) -> str:
    html = f"<h2>{section.title}</h2>\n<p>{section.text}</p>\n{_chart(database, section)}\n"
    return html + _table(database, section) if section.table else html


def _chart(database: duckdb.DuckDBPyConnection, section: Section) -> str:
    rows = database.execute(section.chart).fetchall()
    categories = [_label(row[0]) for row in rows]
    figure = go.Figure(
        layout={
            "template": "plotly_white",
            "barmode": "relative",
            "height": 120 + 26 * len(rows) if section.horizontal else 360,
            "margin": {"l": 60, "r": 20, "t": 20, "b": 50},
            "legend": {"orientation": "h", "y": 1, "yanchor": "bottom", "traceorder": "normal"},
        }
    )
    for place, (name, colour) in enumerate(section.colours.items(), start=1):
        values = [float(row[place] or 0) for row in rows]
        if section.lines:
            figure.add_scatter(x=categories, y=values, name=name, line={"color": colour})
        elif section.horizontal:
            bars = {"color": colour}
            figure.add_bar(x=values, y=categories, name=name, orientation="h", marker=bars)
        else:
            figure.add_bar(x=categories, y=values, name=name, marker={"color": colour})
    values_axis = {"tickformat": section.form, "title": {"text": section.unit}}
    if section.horizontal:
        figure.update_xaxes(values_axis)
        figure.update_yaxes(autorange="reversed", automargin=True, type="category")
    else:
        figure.update_yaxes(values_axis)
    options = {"displayModeBar": False, "responsive": True}
    return str(
        figure.to_html(full_html=False, include_plotlyjs=False, div_id=section.name, config=options)
    )


def _table(database: duckdb.DuckDBPyConnection, section: Section) -> str:
    forms = list(section.columns.values())
    lines = [_cells("th", section.columns, forms)]
    for row in database.execute(section.table).fetchall():
        texts = [
            "" if value is None else format(value, form) if form else _label(value)
            for value, form in zip(row, forms, strict=True)
        ]
        lines.append(_cells("td", texts, forms))
    return f"<table>{''.join(lines)}</table>"


def _cells(tag: str, texts: Iterable[str], forms: Iterable[str]) -> str:
    cells = (
        f"<{tag}>{text}</{tag}>" if form else f'<{tag} class="text">{text}</{tag}>'
        for text, form in zip(texts, forms, strict=True)
    )
    return f"<tr>{''.join(cells)}</tr>"


def _label(text: str | None) -> str:
    """Return text on one line, escaped; charts take some markup, but no references to quotes."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text or "").split())
    short = line if len(line) <= LABEL else line[: LABEL - 1] + "…"
    return escape(short, quote=False) or "(none)"
