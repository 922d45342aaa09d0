"""The page of receivables, payables and deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from psycopg import sql

from dashboard import charts, figures, orders, rows
from dashboard.charts import Chart
from dashboard.figures import Amount, Card
from dashboard.page import Page
from dashboard.warehouse import Row, statement
from dashboard.wording import compact

_ROWS = 25
# Which mart lists the payments of each direction.
_MARTS = {"receivable": "receivables", "payable": "payables"}


def owed(page: Page) -> dict[str, Any]:
    """Receivables and payables by age, and deliveries."""
    ages = unpaid(page)
    sides = [
        _side(page, direction, [row for row in ages if row["direction"] == direction]) for direction in _MARTS
    ]
    slipped = page.filters.model_copy(update={"sort": "days_slipped", "order": "desc"})
    return {
        "cards": [side["card"] for side in sides],
        "charts": [side["chart"] for side in sides],
        "sides": sides,
        "deliveries": _upcoming(page),
        "slips": rows.shown(page.reports, "delivery_slips", slipped, None, _ROWS),
    }


def unpaid(page: Page) -> list[Row]:
    """Unpaid amounts by direction, currency and age, the youngest first."""
    view = page.reports.view("unpaid_by_age")
    condition, bound = orders.filtered(view, page.filters)
    query = statement("unpaid_by_age.sql").format(view=page.reports.relation(view.name), condition=condition)
    return page.reports.rows(query, bound)


def by_currency(ages: Iterable[Row], direction: str = "receivable") -> dict[str, Decimal]:
    """The sum of a direction for each currency."""
    sums: dict[str, Decimal] = {}
    for row in ages:
        if row["direction"] == direction:
            sums[row["currency_code"]] = sums.get(row["currency_code"], Decimal(0)) + row["amount"]
    return dict(sorted(sums.items()))


def overdue_text(ages: Iterable[Row], direction: str = "receivable") -> str:
    """A line with the overdue amounts."""
    overdue: Mapping[str, Decimal] = by_currency((row for row in ages if row["days_overdue"] > 0), direction)
    if not overdue:
        return "nothing is overdue"
    return f"overdue: {', '.join(f'{currency} {compact(amount)}' for currency, amount in overdue.items())}"


def _side(page: Page, direction: str, ages: list[Row]) -> dict[str, Any]:
    """Receivables or payables: the sum, by age, and the longest overdue."""
    name = _MARTS[direction]
    amounts = [Amount(amount, None, currency) for currency, amount in by_currency(ages, direction).items()]
    # By the day on which they are due, which has an index.
    longest = page.filters.model_copy(update={"sort": "due_on", "order": "asc"})
    note = overdue_text(ages, direction)
    return {
        "name": name,
        "card": Card(name.capitalize(), "amount", amounts, "neither", note, ""),
        "chart": _by_age(page, name, ages),
        "rows": rows.shown(page.reports, name, longest, None, _ROWS),
    }


def _by_age(page: Page, name: str, ages: list[Row]) -> Chart:
    by_age = figures.by_name(ages, lambda row: str(row["age_band"]), "amount")
    series = {
        currency: [float(amounts.get(currency, 0)) for amounts in by_age.values()]
        for currency in page.currencies
        if any(currency in amounts for amounts in by_age.values())
    }
    shades = [charts.colour(currency, page.currencies) for currency in series]
    return charts.columns(
        f"{name.capitalize()} by age", "days after the due date", list(by_age), series, shades
    )


def _upcoming(page: Page) -> list[Row]:
    """The next deliveries; the condition on the day, not on the days until it, reaches the orders early."""
    view = page.reports.view("deliveries")
    condition, bound = orders.filtered(view, page.filters)
    query = statement("upcoming.sql").format(
        deliveries=page.reports.relation(view.name),
        today=page.reports.relation("today"),
        condition=condition,
        limited=sql.Literal(_ROWS),
    )
    return page.reports.rows(query, bound)
