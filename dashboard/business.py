"""The overview, and the pages of sales and of purchases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from psycopg import sql

from dashboard import charts, debts, figures, orders, rows
from dashboard.charts import Chart
from dashboard.figures import Amount, Card
from dashboard.filters import Period
from dashboard.orders import PURCHASES, SALES, Subject
from dashboard.page import Page
from dashboard.warehouse import Row, statement
from pipeline.words import counted

_NO_RATE = (
    "No rate for {currencies} on some of these days, so there is no sum in the reporting currency: add it to"
    " transforms/seeds/exchange_rate.csv"
)
_FEW, _MANY = 8, 200


def overview(page: Page) -> dict[str, Any]:
    """Headline figures, trends and the largest names."""
    # Departments are few: one query gives their sums by day, and those of all.
    sold, bought = _daily(page, SALES, "department"), _daily(page, PURCHASES)
    by_counterparty = _breakdown(page, SALES, "counterparty")
    largest = [_bars(page, SALES, "counterparty", by_counterparty)]
    largest.append(_bars(page, SALES, "department", [row for row in sold if row["day"] in page.period]))
    return {
        "cards": [*_cards(page, SALES, sold), _amounts(page, PURCHASES, bought), _receivables(page)],
        "charts": [_trend(page, SALES, sold), _trend(page, PURCHASES, bought), *_level(largest)],
        **_trends(page),
        "notes": _notes(by_counterparty),
    }


def sales(page: Page) -> dict[str, Any]:
    """Sales: figures, trend, a breakdown, the newest orders, new and lost customers."""
    return {**_orders(page, SALES), "customers": _customers(page)}


def purchases(page: Page) -> dict[str, Any]:
    """Purchases, likewise."""
    return _orders(page, PURCHASES)


def _orders(page: Page, subject: Subject) -> dict[str, Any]:
    by = page.filters.by if page.filters.by in subject.dimensions else "counterparty"
    daily, breakdown = _daily(page, subject), _breakdown(page, subject, by)
    table = _table(breakdown, _namer(subject, by))
    drawn = _level([_trend(page, subject, daily), _bars(page, subject, by, breakdown)])
    return {
        "subject": subject,
        "by": by,
        "cards": [*_cards(page, subject, daily), _units(page, daily), _average(page, daily)],
        "charts": drawn,
        "breakdown": table,
        "largest": max((row["share"] for row in table), default=0) or 1,
        "newest": rows.shown(page.reports, subject.name, page.filters, page.period, 25),
        "mart": f"{subject.name}_by_{'day' if by == 'currency' else by}",
        "has_rates": any(row["reporting"] is not None for row in breakdown),
        "notes": _notes(breakdown),
    }


def _daily(page: Page, subject: Subject, by: str = "currency") -> list[Row]:
    """Totals of each day of the period and of the one before."""
    both = Period(page.period.before.since, page.period.until)
    return orders.totals(page.reports, subject, page.filters, both, ["day", *subject.dimensions[by]])


def _breakdown(page: Page, subject: Subject, by: str) -> list[Row]:
    found = orders.totals(page.reports, subject, page.filters, page.period, subject.dimensions[by])
    return sorted(found, key=lambda row: row["amount"] or 0, reverse=True)


def _namer(subject: Subject, by: str) -> Callable[[Row], str]:
    """What a row of a breakdown is called; designs of one name are told apart by their ids."""
    columns = subject.dimensions[by] or (orders.CURRENCY,)
    if by == "design":
        return lambda row: f"{row[columns[-1]]} #{row[columns[0]]}"
    return lambda row: str(row[columns[-1]])


def _cards(page: Page, subject: Subject, daily: list[Row]) -> list[Card]:
    number = figures.overall(daily, page.period, "orders")
    number_card = Card(f"{subject.order.capitalize()}s", "", [number], subject.rising_is)
    return [_amounts(page, subject, daily), number_card]


def _units(page: Page, daily: list[Row]) -> Card:
    return Card("Units", "", [figures.overall(daily, page.period, "units")], "neither")


def _amounts(page: Page, subject: Subject, daily: list[Row]) -> Card:
    amounts = figures.by_currency(daily, page.period, "amount", page.currencies)
    total, lacking = figures.in_reporting_currency(row for row in daily if row["day"] in page.period)
    notes = [f"{total:,.0f} in the reporting currency"] if total is not None and not lacking else []
    return Card(subject.amount_title, "amount", amounts, subject.rising_is, notes=notes)


def _average(page: Page, daily: list[Row]) -> Card:
    """The average price of a unit in each period."""
    amounts = figures.by_currency(daily, page.period, "amount", page.currencies)
    units = {
        each.currency: each for each in figures.by_currency(daily, page.period, "units", page.currencies)
    }
    averages = [
        Amount(
            amount.now / (units[amount.currency].now or 1),
            (amount.before or Decimal(0)) / (units[amount.currency].before or 1),
            amount.currency,
        )
        for amount in amounts
    ]
    return Card("Average price", "price", averages, "neither")


def _trend(page: Page, subject: Subject, daily: list[Row]) -> Chart:
    amounts = figures.by_day(daily, page.period, "amount")
    return charts.trend(subject.amount_title, amounts, page.period, page.currencies)


def _bars(page: Page, subject: Subject, by: str, breakdown: list[Row]) -> Chart:
    amounts = figures.by_name(breakdown, _namer(subject, by), "amount")
    return charts.bars(f"{subject.amount_title} by {by}", amounts, page.currencies)


def _level(drawn: Sequence[Chart]) -> list[Chart]:
    """Charts that stand side by side, of one height."""
    height = max(chart.height for chart in drawn)
    return [replace(chart, height=height) for chart in drawn]


def _table(breakdown: list[Row], name: Callable[[Row], str]) -> list[dict[str, Any]]:
    shares = figures.shares(figures.by_name(breakdown, name, "amount"))
    return [
        {
            **row,
            "name": name(row),
            "average": row["amount"] / row["units"] if row["units"] else None,
            "share": shares.get((name(row), row["currency_code"]), 0.0),
        }
        for row in breakdown[:_MANY]
    ]


def _receivables(page: Page) -> Card:
    """What customers owe now, and a period earlier if a batch shows that time."""
    ages = debts.unpaid(page)
    then, first = (
        page.moment - timedelta(min(page.period.days, 100_000)),
        page.reports.freshness["first_batch"],
    )
    before = None
    if first and then >= first:
        page.reports.look_at(then)
        before = debts.by_currency(debts.unpaid(page))
        page.reports.look_at(page.reports.moment)
    amounts = [
        Amount(amount, before.get(currency, Decimal(0)) if before is not None else None, currency)
        for currency, amount in debts.by_currency(ages).items()
    ]
    against = f"{counted(page.period.days, 'day')} earlier"
    return Card("Receivables", "amount", amounts, "neither", debts.overdue_text(ages), against)


def _trends(page: Page) -> dict[str, list[Row]]:
    """The designs that rise and those that fade most."""
    view = page.reports.view("design_trends")
    condition, bound = orders.filtered(view, page.filters)
    names = {"trends": page.reports.relation(view.name), "condition": condition, "limited": sql.Literal(_FEW)}
    found = page.reports.rows(statement("trends.sql").format(**names), bound)
    return {
        "rising": [row for row in found if row["change"] > 0],
        "fading": [row for row in found if row["change"] < 0],
    }


def _customers(page: Page) -> dict[str, int]:
    """How many counterparties are new, active and lost."""
    query = sql.SQL("SELECT status, count(*) AS customers FROM {} GROUP BY status ORDER BY status")
    found = page.reports.rows(query.format(page.reports.relation("counterparty_activity")))
    return {row["status"]: row["customers"] for row in found}


def _notes(found: Iterable[Row]) -> list[str]:
    _, lacking = figures.in_reporting_currency(found)
    return [_NO_RATE.format(currencies=", ".join(lacking))] if lacking else []
