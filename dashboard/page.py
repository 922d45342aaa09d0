"""What every page has: the reports, the reader's choices, and what the filters offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import sql

from dashboard.filters import FilterError, Filters, Period
from dashboard.warehouse import Reports, Row, names, statement


@dataclass(frozen=True)
class Page:
    """The reports, the reader's choices, and what they amount to; ``days`` are those with sales orders."""

    reports: Reports
    filters: Filters
    days: Period | None
    currencies: list[str]

    @property
    def period(self) -> Period:
        """The days that are shown; raises FilterError."""
        return self.filters.period(self.days.until if self.days else None)

    @property
    def moment(self) -> datetime:
        """The moment that is shown."""
        return self.reports.moment or self.reports.freshness["as_of"] or datetime.now(UTC)


def open_page(reports: Reports, filters: Filters) -> Page:
    """A page on the reports; raises FilterError if they are empty."""
    if reports.freshness["last_batch"] is None:
        raise FilterError("the warehouse is empty: `make run` loads the first batch, then reload")
    currencies = [row["currency_code"] for row in _choices(reports, "dim_currency", ["currency_code"])]
    return Page(reports, filters, days_with_sales(reports), currencies)


def days_with_sales(reports: Reports) -> Period | None:
    """The days from the oldest to the newest sales order; None without one."""
    relations = {name: reports.relation(name) for name in ("fact_sales_order", "dim_date")}
    found = reports.rows(statement("days_with_sales.sql").format(**relations))
    return Period(found[0]["since"], found[0]["until"]) if found else None


def choices(reports: Reports) -> Mapping[str, Sequence[Row]]:
    """What the filters offer."""
    counterparty = ["counterparty_legal_name", "counterparty_id"]
    return {
        "departments": _choices(reports, "dim_staff", ["department_name"]),
        "counterparties": _choices(reports, "dim_counterparty", counterparty),
    }


def _choices(reports: Reports, view: str, columns: list[str]) -> list[Row]:
    query = sql.SQL("SELECT DISTINCT {0} FROM {1} ORDER BY {0}")
    return reports.rows(query.format(names(columns), reports.relation(view)))
