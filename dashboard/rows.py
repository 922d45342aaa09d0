"""Rows of any view, filtered and sorted: for tables and exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from psycopg import sql

from dashboard.filters import FilterError, Filters, Period
from dashboard.orders import filtered
from dashboard.warehouse import Reports, Row, View, names, statement
from pipeline.postgres import template

# Columns that the period filters, the first of them that a view has.
_DAYS = ("day", "week", "month")
# Days at the end of a period that are searched for its newest rows first.
_FEW_DAYS = 7
# What orders rows of one day or moment.
_TIES = ("sales_order_id", "purchase_order_id", "payment_id", "table_name", "key", "column_name")
# Views whose rows have a moment instead.
CHANGED = "amended_at"


def selected(
    reports: Reports,
    view: View,
    filters: Filters,
    period: Period | None,
    columns: sql.Composable | None = None,
    limit: int | None = None,
    *,
    is_sorted: bool = True,
) -> tuple[sql.Composed, dict[str, Any]]:
    """A query of a view's rows as the reader filters and sorts them, with its bound values."""
    condition, bound = filtered(view, filters, period, day_of(view) or "")
    if CHANGED in view.columns and filters.changed_since:
        condition = template("{} AND {} >= %(changed_since)s").format(condition, sql.Identifier(CHANGED))
        bound["changed_since"] = filters.changed_since
    if "left_last_updated" in view.columns and filters.silent:
        condition = sql.SQL("{} AND left_last_updated").format(condition)
    query = statement("rows.sql").format(
        columns=columns or names(list(view.columns)),
        view=reports.relation(view.name),
        condition=condition,
        sorted=sorting(view, filters) if is_sorted else sql.SQL("NULL::integer"),
        limited=sql.Literal(limit),
    )
    return query, bound


def shown(
    reports: Reports, name: str, filters: Filters, period: Period | None = None, limit: int = 100
) -> list[Row]:
    """The first rows of a view."""
    view, found = reports.view(name), list[Row]()
    for days in _searched(view, filters, period):
        query, bound = selected(reports, view, filters, days, limit=limit)
        found = reports.rows(query, bound)
        if len(found) == limit:
            break
    return found


def _searched(view: View, filters: Filters, period: Period | None) -> Iterator[Period | None]:
    """The days to search for the first rows: for the newest, a period's last days, then all of it."""
    day = day_of(view)
    if period and day == "day" and filters.sort in {"", day} and filters.order == "desc":
        yield Period(max(period.since, period.until - timedelta(_FEW_DAYS - 1)), period.until)
    yield period


def day_of(view: View) -> str | None:
    """The column that the period filters."""
    dates = [name for name, column in view.columns.items() if column.type == "date"]
    return next((column for column in _DAYS if column in dates), None)


def applied(view: View) -> Mapping[str, bool]:
    """Which filters a view has columns for."""
    return {
        "period": day_of(view) is not None,
        "currency": "currency_code" in view.columns,
        "department": "department_name" in view.columns,
        "counterparty": "counterparty_id" in view.columns,
    }


def sorting(view: View, filters: Filters) -> sql.Composable:
    """The columns that sort a view's rows: the chosen one, the newest first, or the first column."""
    newest = day_of(view) or (CHANGED if CHANGED in view.columns else "")
    column = filters.sort or newest or next(iter(view.columns))
    if column not in view.columns:
        raise FilterError(f"sort: {view.name} has no such column; choose a column's heading")
    is_down = filters.order == "desc" and bool(filters.sort or newest)
    direction = sql.SQL("DESC NULLS LAST" if is_down else "ASC")
    ties = [name for name in _TIES if name in view.columns and name != column]
    keys = [sql.SQL("{} {}").format(sql.Identifier(name), direction) for name in (column, *ties)]
    return sql.SQL(", ").join(keys)
