"""The page of receivables, payables and deliveries."""

from __future__ import annotations

from collections.abc import Mapping
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


def owed(page: Page) -> dict[str, Any]:
    """Receivables and payables by age, and deliveries."""
    sides = [_side(page, name) for name in ("receivables", "payables")]
    slipped = page.filters.model_copy(update={"sort": "days_slipped", "order": "desc"})
    return {
        "cards": [side["card"] for side in sides],
        "charts": [side["chart"] for side in sides],
        "sides": sides,
        "deliveries": _upcoming(page),
        "slips": rows.shown(page.reports, "delivery_slips", slipped, None, _ROWS),
    }


def unpaid(page: Page, name: str) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """Unpaid amounts of receivables or payables by currency, and those of them that are overdue."""
    condition, bound = orders.filtered(page.reports.view(name), page.filters)
    query = statement("unpaid.sql").format(view=page.reports.relation(name), condition=condition)
    found = page.reports.rows(query, bound)
    amounts = {row["currency_code"]: row["amount"] for row in found}
    return amounts, {row["currency_code"]: row["overdue"] for row in found if row["overdue"]}


def overdue_text(overdue: Mapping[str, Decimal]) -> str:
    """A line with the overdue amounts."""
    if not overdue:
        return "nothing is overdue"
    return f"overdue: {', '.join(f'{currency} {compact(amount)}' for currency, amount in overdue.items())}"


def _side(page: Page, name: str) -> dict[str, Any]:
    """Receivables or payables: the sum, by age, and the longest overdue."""
    now, overdue = unpaid(page, name)
    amounts = [Amount(amount, None, currency) for currency, amount in now.items()]
    longest = page.filters.model_copy(update={"sort": "days_overdue", "order": "desc"})
    return {
        "name": name,
        "card": Card(name.capitalize(), "amount", amounts, "neither", overdue_text(overdue), ""),
        "chart": _by_age(page, name),
        "rows": rows.shown(page.reports, name, longest, None, _ROWS),
    }


def _by_age(page: Page, name: str) -> Chart:
    youngest = page.filters.model_copy(update={"sort": "most_days_overdue", "order": "asc"})
    ages: list[Row] = rows.shown(page.reports, f"{name}_by_age", youngest, None, 10_000)
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
    view = page.reports.view("deliveries")
    condition, bound = orders.filtered(view, page.filters)
    query = sql.SQL("SELECT * FROM {} WHERE days_until >= 0 AND {} ORDER BY days_until LIMIT {}").format(
        page.reports.relation(view.name), condition, _ROWS
    )
    return page.reports.rows(query, bound)
