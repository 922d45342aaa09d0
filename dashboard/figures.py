"""Headline figures: an amount for each currency in a period, and its change against the period before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from dashboard.filters import Period
from dashboard.warehouse import Row


@dataclass(frozen=True)
class Amount:
    """An amount now and before; ``before`` is None if it is not known."""

    now: Decimal
    before: Decimal | None
    currency: str = ""

    @property
    def change(self) -> float | None:
        """The relative change; None if it cannot be told."""
        return float(self.now / self.before - 1) if self.before else None


@dataclass(frozen=True)
class Card:
    """A headline figure. ``rising_is`` is good, bad or neither; ``note`` is a line below."""

    title: str
    unit: str
    amounts: list[Amount]
    rising_is: str = "good"
    note: str = ""
    against: str = "the period before"
    notes: list[str] = field(default_factory=list)


def by_currency(rows: Iterable[Row], period: Period, value: str, currencies: Iterable[str]) -> list[Amount]:
    """The sum of a column for each currency, in the period and in the one before."""
    now, before = _sums(rows, period, value), _sums(rows, period.before, value)
    return [
        Amount(now.get(currency, Decimal(0)), before.get(currency, Decimal(0)), currency)
        for currency in currencies
        if currency in now or currency in before
    ]


def overall(rows: Iterable[Row], period: Period, value: str) -> Amount:
    """The sum of a column that adds up over currencies."""
    now, before = _sums(rows, period, value), _sums(rows, period.before, value)
    return Amount(sum(now.values(), Decimal(0)), sum(before.values(), Decimal(0)))


def _sums(rows: Iterable[Row], period: Period, value: str) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for row in rows:
        if row["day"] in period:
            sums[row["currency_code"]] = sums.get(row["currency_code"], Decimal(0)) + (row[value] or 0)
    return sums


def by_day(rows: Iterable[Row], period: Period, value: str) -> dict[str, dict[date, Decimal]]:
    """A column by currency and day."""
    found: dict[str, dict[date, Decimal]] = {}
    for row in rows:
        if row["day"] in period:
            amounts = found.setdefault(row["currency_code"], {})
            amounts[row["day"]] = amounts.get(row["day"], Decimal(0)) + Decimal(row[value] or 0)
    return dict(sorted(found.items()))


def by_name(rows: Iterable[Row], name: Callable[[Row], str], value: str) -> dict[str, dict[str, Decimal]]:
    """A column by a name and currency."""
    found: dict[str, dict[str, Decimal]] = {}
    for row in rows:
        amounts = found.setdefault(name(row), {})
        currency = row["currency_code"]
        amounts[currency] = amounts.get(currency, Decimal(0)) + Decimal(row[value] or 0)
    return found


def in_reporting_currency(rows: Iterable[Row]) -> tuple[Decimal | None, list[str]]:
    """The sum in the reporting currency, and the currencies without a rate.

    The sum is None if a currency has none; without any rate nothing is told of them.
    """
    rows = list(rows)
    lacking = sorted({row["currency_code"] for row in rows if row["reporting"] is None})
    known = [row["reporting"] for row in rows if row["reporting"] is not None]
    if not known:
        return None, []
    return (None if lacking else sum(known, Decimal(0))), lacking


def shares(amounts: Mapping[str, Mapping[str, Decimal]]) -> dict[tuple[str, str], float]:
    """Each amount's share of its currency's sum, by name and currency."""
    sums: dict[str, Decimal] = {}
    for by_currency_ in amounts.values():
        for currency, amount in by_currency_.items():
            sums[currency] = sums.get(currency, Decimal(0)) + amount
    return {
        (name, currency): float(amount / sums[currency]) if sums[currency] else 0.0
        for name, by_currency_ in amounts.items()
        for currency, amount in by_currency_.items()
    }
