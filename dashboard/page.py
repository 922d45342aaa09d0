"""What every page has: the reports, the reader's choices, and what the filters offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import sql

from dashboard.filters import FilterError, Filters, Period
from dashboard.warehouse import OtherModels, Reports, Row, names, statement

# What the filters, and the pages of the shop, need.
_OF_SHOP = ("dim_currency", "dim_staff", "dim_counterparty", "fact_sales_order", "dim_date")


@dataclass(frozen=True)
class Page:
    """The reports, the reader's choices, and what they amount to; ``days`` are those with sales orders.

    Of a warehouse that is not ``of_shop``, with other models, only its tables and its health are shown.
    """

    reports: Reports
    filters: Filters
    days: Period | None
    currencies: list[str]
    of_shop: bool = True

    @property
    def period(self) -> Period:
        """The days that are shown; raises FilterError."""
        return self.filters.period(self.days.until if self.days else None)

    @property
    def days_of_rows(self) -> Period | None:
        """The days from which a view's rows are shown; of other models no filter is offered, so all."""
        return self.period if self.of_shop else None

    @property
    def moment(self) -> datetime:
        """The moment that is shown."""
        return self.reports.moment or self.reports.freshness["as_of"] or datetime.now(UTC)


def open_page(reports: Reports, filters: Filters, *, of_shop: bool = False) -> Page:
    """A page on the reports; raises FilterError if they are empty.

    Raises OtherModels if the page is ``of_shop`` and the warehouse has other models.
    """
    if reports.freshness["last_batch"] is None:
        raise FilterError("the warehouse is empty: `make run` loads the first batch, then reload")
    if lacking := reports.lacking(_OF_SHOP):
        if of_shop:
            raise OtherModels(
                f"this page shows the models of transforms/, and the warehouse has no {lacking[0]}: choose"
                " Tables or Health, which show any models; an older release's warehouse is upgraded by"
                " `make run`"
            )
        return Page(reports, filters, None, [], of_shop=False)
    currencies = [row["currency_code"] for row in _choices(reports, "dim_currency", ["currency_code"])]
    return Page(reports, filters, days_with_sales(reports), currencies)


def days_with_sales(reports: Reports) -> Period | None:
    """The days from the oldest to the newest sales order; None without one."""
    relations = {name: reports.relation(name) for name in ("fact_sales_order", "dim_date")}
    found = reports.rows(statement("days_with_sales.sql").format(**relations))
    return Period(found[0]["since"], found[0]["until"]) if found else None


def choices(page: Page) -> Mapping[str, Sequence[Row]]:
    """What the filters offer."""
    if not page.of_shop:
        return {"departments": [], "counterparties": []}
    counterparty = ["counterparty_legal_name", "counterparty_id"]
    return {
        "departments": _choices(page.reports, "dim_staff", ["department_name"]),
        "counterparties": _choices(page.reports, "dim_counterparty", counterparty),
    }


def _choices(reports: Reports, view: str, columns: list[str]) -> list[Row]:
    query = sql.SQL("SELECT DISTINCT {0} FROM {1} ORDER BY {0}")
    return reports.rows(query.format(names(columns), reports.relation(view)))
