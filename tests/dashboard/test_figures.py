"""Headline figures, charts and texts."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest

from dashboard import charts, figures, wording
from dashboard.figures import Amount
from dashboard.filters import Period

MARCH = Period(date(2026, 3, 1), date(2026, 3, 31))


def row(day: date, currency: str, amount: int, reporting: int | None = None) -> dict[str, object]:
    return {"day": day, "currency_code": currency, "amount": Decimal(amount), "reporting": reporting}


def test_amounts_of_currencies_are_compared_one_by_one() -> None:
    rows = [
        row(date(2026, 3, 5), "GBP", 30),
        row(date(2026, 2, 5), "GBP", 20),
        row(date(2026, 3, 9), "USD", 5),
    ]
    found = figures.by_currency(rows, MARCH, "amount", ["EUR", "GBP", "USD"])
    assert found == [Amount(Decimal(30), Decimal(20), "GBP"), Amount(Decimal(5), Decimal(0), "USD")]
    assert [each.change for each in found] == [0.5, None]


def test_a_sum_in_the_reporting_currency_needs_every_rate() -> None:
    day = date(2026, 3, 5)
    with_rates = [row(day, "GBP", 3, 3), row(day, "USD", 4, 2)]
    assert figures.in_reporting_currency(with_rates) == (Decimal(5), [])
    assert figures.in_reporting_currency([*with_rates, row(day, "EUR", 1)]) == (None, ["EUR"])
    assert figures.in_reporting_currency([row(day, "EUR", 1)]) == (None, [])


@pytest.mark.parametrize(
    ("days", "unit", "points"),
    [(30, "day", 30), (92, "week", 14), (800, "month", 27)],
    ids=["days", "weeks", "months"],
)
def test_a_trend_has_a_point_for_each_day_week_or_month(days: int, unit: str, points: int) -> None:
    period = Period(date(2026, 3, 31) - timedelta(days - 1), date(2026, 3, 31))
    chart = charts.trend("Revenue", {"GBP": {period.until: Decimal(7)}}, period, ["GBP"])
    (line,) = json.loads(chart.spec)["data"]
    assert (chart.note, len(line["x"]), sum(line["y"])) == (f"per {unit}", points, 7)


def test_names_in_charts_are_text_and_not_html() -> None:
    chart = charts.bars("Revenue", {"<b>O'Keefe</b>": {"GBP": Decimal(1)}}, ["GBP"])
    assert json.loads(chart.spec)["data"][0]["y"] == ["&lt;b&gt;O&#x27;Keefe&lt;/b&gt;"]
    assert charts.bars("Revenue", {}, ["GBP"]).spec == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1234567.89"), "1.2 m"),
        (Decimal(-123_456_789), "-123 m"),
        (Decimal(9_999), "9,999"),
        (Decimal(10_000), "10.0 k"),
        (None, "-"),
    ],
)
def test_large_numbers_are_short(value: Decimal | None, text: str) -> None:
    assert wording.compact(value) == text


def test_cells_show_values_as_people_read_them() -> None:
    values = [
        None,
        True,
        12345,
        Decimal("12345.6"),
        date(2026, 1, 2),
        timedelta(hours=3),
        time(18, 12, 51, 515000),
        {"day": "2026-01-02", "id": None},
        ["a", "b"],
        {"dim_x": {"read": 1, "added": 0}, "tags": ["a"]},
    ]
    shown = [wording.cell(value, "amount") for value in values]
    assert shown[:7] == ["-", "yes", "12,345", "12,345.60", "2026-01-02", "3 h", "18:12:51"]
    assert shown[7:9] == ["day 2026-01-02, id NULL", "a, b"]
    assert shown[9:] == ["dim_x (read 1, added 0), tags (a)"]
    assert wording.cell(12345, "design_id") == "12345"
    assert wording.cell(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02 03:04:05"
