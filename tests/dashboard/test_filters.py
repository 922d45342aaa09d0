"""The parameters of the page's address."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from dashboard.filters import FilterError, Period, parse


def test_a_period_is_compared_with_as_many_days_before() -> None:
    period = parse({"since": "2026-03-01", "until": "2026-03-31"}).period(None)
    assert (period.days, period.before) == (31, Period(date(2026, 1, 29), date(2026, 2, 28)))


def test_the_last_thirty_days_with_sales_are_the_default() -> None:
    assert parse({}).period(date(2026, 3, 31)) == Period(date(2026, 3, 2), date(2026, 3, 31))
    assert parse({"since": "", "unknown": "1"}).period(date(2026, 3, 31)).days == 30


def test_a_time_without_zone_is_utc() -> None:
    assert parse({"as_of": "2026-11-27T09:30"}).as_of == datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
    assert parse({"as_of": "2026-11-27T09:30+01:00"}).as_of == datetime(2026, 11, 27, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ({"since": "yesterday"}, "since: write a day as 2026-11-27"),
        ({"since": "0001-01-01"}, "since: write a day as 2026-11-27"),
        ({"as_of": "now()"}, r"as_of: write a time \(UTC\) as 2026-11-27T09:30"),
        ({"counterparty": "1 OR 1=1"}, "counterparty: write a number"),
        ({"counterparty": "9" * 5000}, "counterparty: write a number"),
        ({"department": "Sales\0"}, "department: write a name"),
        ({"by": "nobody", "order": "up"}, "by: write design, staff, .*; order: write asc or desc"),
    ],
)
def test_a_malformed_parameter_is_named_with_what_to_write(parameters: dict[str, str], line: str) -> None:
    with pytest.raises(FilterError, match=line):
        parse(parameters)


def test_a_period_does_not_end_before_it_begins() -> None:
    with pytest.raises(FilterError, match="since: 2026-03-02 is after 2026-03-01; choose an earlier day"):
        parse({"since": "2026-03-02", "until": "2026-03-01"}).period(None)


def test_the_longest_period_has_one_before() -> None:
    period = parse({"since": "1900-01-01", "until": "2999-12-31"}).period(None)
    assert period.before == Period(date(1900, 1, 1), date(1900, 1, 1))
