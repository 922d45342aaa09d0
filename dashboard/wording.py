"""Numbers, amounts, times and errors as the page shows them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import psycopg

from dashboard.filters import FilterError
from dashboard.warehouse import NoReports, OtherModels
from pipeline.errors import PipelineError, RightMissing
from pipeline.messages import message

_STEPS = ((Decimal(10**9), "bn"), (Decimal(10**6), "m"), (Decimal(10**4), "k"))
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def compact(number: Decimal | float | None) -> str:
    """A number with three digits or so: 12.4 m."""
    if number is None:
        return "-"
    value = Decimal(number)
    for least, suffix in _STEPS:
        if abs(value) >= least:
            scaled = value / (1000 if suffix == "k" else least)
            return f"{scaled:,.0f} {suffix}" if abs(scaled) >= 100 else f"{scaled:.1f} {suffix}"  # noqa: PLR2004
    return f"{value:,.0f}"


def cell(value: object, column: str = "") -> str:
    """A value of a table's cell; the column's name tells numbers from ids."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return when(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat(timespec="seconds")
    if isinstance(value, timedelta):
        return span(value)
    if isinstance(value, (Decimal, float)):
        return f"{value:,.2f}"
    if isinstance(value, int) and not is_name(column):
        return f"{value:,}"
    return _several(value)


def _several(value: object) -> str:
    """The members of a list or an object; the text of any other value."""
    if isinstance(value, list):
        return ", ".join(map(_within, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_within(each)}" for name, each in value.items())
    return str(value)


def _within(value: object) -> str:
    """A value within a list or an object."""
    if value is None:
        return "NULL"
    return f"({_several(value)})" if isinstance(value, (dict, list)) else str(value)


def is_name(column: str) -> bool:
    """Whether numbers of a column only name something: ids and years."""
    return column.endswith("_id") or column in {"", "year"}


def integer(value: float | Decimal | None) -> str:
    """A whole number with its digits in groups."""
    return "-" if value is None else f"{value:,.0f}"


def percent(share: float | None, *, signed: bool = False) -> str:
    """A share as percentage."""
    if share is None:
        return "-"
    return f"{share:+.1%}" if signed else f"{share:.1%}"


def when(moment: datetime | None) -> str:
    """A moment to the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if moment else "-"


def span(length: timedelta | None) -> str:
    """A length of time in its largest unit."""
    if length is None:
        return "-"
    seconds = max(0, int(length.total_seconds()))
    if seconds < 2 * _MINUTE:
        return f"{seconds} s"
    if seconds < 2 * _HOUR:
        return f"{seconds // _MINUTE} min"
    return f"{seconds // _HOUR} h" if seconds < 2 * _DAY else f"{seconds // _DAY} d"


def problem(error: Exception) -> tuple[int, str]:
    """The HTTP status and the line for an error: what failed and what to do."""
    if isinstance(error, FilterError):
        return 400, str(error)
    if isinstance(error, OtherModels):
        return 404, str(error)
    if isinstance(error, NoReports):
        return 503, str(error)
    if isinstance(error, RightMissing):
        return 403, f"{error.refusal}: the role lacks rights; docs/reader-role.sql grants them"
    if isinstance(error, PipelineError):
        return 503, f"{message(error)}; start the database or correct TOTESYS_DASHBOARD_URL, then reload"
    if isinstance(error, psycopg.errors.QueryCanceled):
        return 504, "the warehouse took longer than 30 s; choose a shorter period or more filters"
    if isinstance(
        error,
        (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction),
    ):
        return 503, f"{message(error)}: the warehouse is of another release; `make run` upgrades it"
    if isinstance(error, psycopg.OperationalError):
        return 503, f"the connection to the warehouse was lost: {message(error)}; reload when it is back"
    return 500, f"{type(error).__name__}: {message(error)}; please report this with the page's address"
