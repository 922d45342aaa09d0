"""The pages of amendments, of any view's rows, and of the pipeline's health."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from psycopg import sql

from dashboard import charts, rows
from dashboard.charts import Chart
from dashboard.filters import Filters
from dashboard.page import Page
from dashboard.warehouse import Row, statement

# Days of changes that are shown by default, rows of a table, batches of a chart.
_RECENT_DAYS, _MANY, _BATCHES = 7, 200, 60


def amendments(page: Page) -> dict[str, Any]:
    """What was amended since a day, value by value, and why revenue changed."""
    since = page.filters.changed_since or (page.moment - timedelta(_RECENT_DAYS)).date()
    filters = page.filters.model_copy(update={"changed_since": since})
    found = _amended(page, filters)
    changes = [row for row in found if row["table_name"]]
    values = {
        row["counted_staff"]: {"values": Decimal(row["changes"])}
        for row in found
        if row["counted_staff"] is not None
    }
    return {
        "since": since,
        "changes": changes,
        "is_cut": len(changes) == _MANY,
        "summary": next(row for row in found if row["is_total"]),
        "by_staff": charts.bars("Amended values by the order's staff", values, ["values"]),
        "revenue": _revenue_changes(page, since),
    }


def table(page: Page) -> dict[str, Any]:
    """The first rows of any view."""
    default = "sales" if page.of_shop else next(iter(page.reports.views), "")
    view = page.reports.view(page.filters.view or default)
    return {
        "view": view,
        "views": page.reports.views.values(),
        "applied": rows.applied(view),
        "rows": rows.shown(page.reports, view.name, page.filters, page.days_of_rows, _MANY),
        "sort": page.filters.sort,
    }


def health(page: Page) -> dict[str, Any]:
    """Batches, their rows and seconds, and rejected rows."""
    newest = page.filters.model_copy(update={"sort": "moment", "order": "desc"})
    batches = rows.shown(page.reports, "batches", newest, None, _BATCHES)
    drawn = [_by_batch("Rows loaded", batches, "rows", ("rows_added", "rows_changed", "rows_deleted"))]
    if any(batch["seconds"] is not None for batch in batches):
        drawn.append(_by_batch("Duration", batches, "seconds", ("seconds",)))
    return {
        "charts": drawn,
        "batches": batches,
        "rejected": rows.shown(page.reports, "rejected", page.filters, None, _MANY),
    }


def _by_batch(title: str, batches: list[Row], unit: str, columns: tuple[str, ...]) -> Chart:
    """Bars of columns, from the oldest batch to the newest one."""
    labels = [f"{batch['moment']:%d %b %H:%M:%S}" for batch in reversed(batches)]
    series = {
        column.removeprefix("rows_"): [float(batch[column] or 0) for batch in reversed(batches)]
        for column in columns
    }
    return charts.columns(title, f"{unit} per batch", labels, series, charts.COLOURS, is_log=unit == "rows")


def _amended(page: Page, filters: Filters) -> list[Row]:
    """The newest amendments that pass the filters, and the counts of all."""
    view = page.reports.view("amendments")
    query, bound = rows.selected(page.reports, view, filters, None, is_sorted=False)
    names = {"amendments": query, "sorted": rows.sorting(view, filters), "limited": sql.Literal(_MANY)}
    return page.reports.rows(statement("amendments.sql").format(**names), bound)


def _revenue_changes(page: Page, since: date) -> Mapping[str, Any]:
    """How revenue by month differs between the beginning of that day and the moment shown."""
    then = max(datetime.combine(since, time(), UTC), page.reports.freshness["first_batch"])
    if then >= page.moment:
        return {"then": then, "rows": []}
    query = sql.SQL("SELECT * FROM {}(%(then)s, %(moment)s) WHERE difference <> 0 ORDER BY month DESC, 2")
    relation = page.reports.relation("revenue_change_by_month")
    return {
        "then": then,
        "rows": page.reports.rows(query.format(relation), {"then": then, "moment": page.moment}),
    }
