"""Queries of sales and purchases: totals by day, by a dimension, in one of the marts that has the columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from dashboard.filters import FilterError, Filters, Period
from dashboard.warehouse import Reports, Row, View, names, statement
from pipeline.postgres import template

CURRENCY = "currency_code"


@dataclass(frozen=True)
class Subject:
    """A kind of orders. ``dimensions`` names for each its columns: an id if there is one, then the name.

    ``rising_is`` tells whether more of them is good, bad or neither.
    """

    name: str
    title: str
    order: str
    amount: str
    amount_title: str
    dimensions: Mapping[str, tuple[str, ...]]
    rising_is: str = "neither"


_SHARED = {
    "counterparty": ("counterparty_id", "counterparty_name"),
    "staff": ("staff_id", "staff_name"),
    "department": ("department_name",),
    "location": ("location_id", "delivery_city"),
    "currency": (),
}
_BY_DESIGN = {"design": ("design_id", "design_name"), **_SHARED}
SALES = Subject("sales", "Sales", "sales order", "revenue", "Revenue", _BY_DESIGN, "good")
PURCHASES = Subject("purchases", "Purchases", "purchase order", "amount", "Purchases", _SHARED)


def filtered(
    view: View, filters: Filters, period: Period | None = None, day: str = "day"
) -> tuple[sql.Composable, dict[str, Any]]:
    """A condition on the columns of a view that the reader's filters name, with its bound values."""
    bound: dict[str, Any] = {}
    parts: list[sql.Composable] = []

    def add(column: str, operator: str, name: str, value: object) -> None:
        pattern = f"{{}} {operator} %({name})s"
        parts.append(template(pattern).format(sql.Identifier(column)))
        bound[name] = value

    if period and day in view.columns:
        add(day, ">=", "since", period.since)
        add(day, "<=", "until", period.until)
    for column, value in _chosen(filters):
        if column in view.columns:
            add(column, "=", column, value)
    return (sql.SQL(" AND ").join(parts) if parts else sql.SQL("true")), bound


def _chosen(filters: Filters) -> Iterable[tuple[str, object]]:
    """The columns that the filters name, with the chosen values."""
    if filters.currency:
        yield CURRENCY, filters.currency
    if filters.department:
        yield "department_name", filters.department
    if filters.counterparty is not None:
        yield "counterparty_id", filters.counterparty


def narrowest(reports: Reports, subject: Subject, needed: Iterable[str]) -> View:
    """The mart of daily totals that has these columns, or the mart of single orders."""
    wanted = {"day", CURRENCY, *needed}
    marts = [
        view
        for name, view in reports.views.items()
        if name == subject.name or name.startswith(f"{subject.name}_by_")
    ]
    fitting = [view for view in marts if wanted <= view.columns.keys()]
    if not fitting:
        raise FilterError(
            f"the warehouse has no readable view {reports.schema}.{subject.name}; `make run` creates it from"
            " transforms/marts, and docs/reader-role.sql grants it"
        )
    return min(fitting, key=lambda view: len(view.columns))


def totals(
    reports: Reports, subject: Subject, filters: Filters, period: Period, columns: Sequence[str]
) -> list[Row]:
    """Orders, units and amounts in a period by some columns and currency."""
    columns = list(dict.fromkeys([*columns, CURRENCY]))
    view = narrowest(reports, subject, [*columns, *(column for column, _ in _chosen(filters))])
    condition, bound = filtered(view, filters, period)
    has_rates = f"{subject.amount}_reporting" in view.columns
    query = statement("grouped.sql").format(
        columns=names(columns),
        counted=sql.SQL("sum(orders)" if "orders" in view.columns else "count(*)"),
        amount=sql.Identifier(subject.amount),
        converted=sql.Identifier(f"{subject.amount}_reporting") if has_rates else sql.SQL("NULL::numeric"),
        view=reports.relation(view.name),
        condition=condition,
    )
    return reports.rows(query, bound)
