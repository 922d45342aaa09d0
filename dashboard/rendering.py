"""Templates, with the filters and tables of columns that they use."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.templating import Jinja2Templates

from dashboard import wording
from dashboard.filters import Filters
from dashboard.warehouse import Row
from pipeline.words import counted

_FOLDER = Path(__file__).parent
_PRESETS = (("7 days", 7), ("30 days", 30), ("90 days", 90), ("1 year", 365))
_HEADINGS = {
    400: "This choice does not work",
    403: "No right to read this",
    404: "No such page",
    503: "The warehouse cannot be read",
    504: "This takes too long",
}

Columns = tuple[tuple[str, str], ...]
TREND_COLUMNS: Columns = (
    ("design_name", "Design"),
    ("design_id", "Id"),
    ("currency_code", "Currency"),
    ("revenue", "Revenue"),
    ("change", "Change"),
)
DEBT_COLUMNS: Columns = (
    ("counterparty_name", "Counterparty"),
    ("due_on", "Due on"),
    ("days_overdue", "Days overdue"),
    ("age_band", "Age"),
    ("currency_code", "Currency"),
    ("amount", "Amount"),
    ("payment_id", "Payment"),
)
DELIVERY_COLUMNS: Columns = (
    ("kind", "Kind"),
    ("order_id", "Order"),
    ("counterparty_name", "Counterparty"),
    ("agreed_delivery_date", "Agreed for"),
    ("days_until", "Days until"),
    ("status", "Status"),
)
SLIP_COLUMNS: Columns = (
    ("sales_order_id", "Sale"),
    ("purchase_order_id", "Purchase"),
    ("counterparty_name", "Counterparty"),
    ("first_agreed", "First agreed"),
    ("agreed_now", "Agreed now"),
    ("days_slipped", "Days slipped"),
)
REVENUE_COLUMNS: Columns = (
    ("month", "Month"),
    ("currency_code", "Currency"),
    ("revenue_then", "Revenue then"),
    ("from_new", "New orders"),
    ("from_amended", "Amended"),
    ("from_deleted", "Deleted"),
    ("revenue_now", "Revenue now"),
    ("difference", "Difference"),
)
REJECTED_COLUMNS: Columns = (
    ("table_name", "Table"),
    ("key", "Key"),
    ("reason", "Reason"),
    ("since", "Since (UTC)"),
    ("is_retried", "Retried"),
)
BATCH_COLUMNS: Columns = (
    ("moment", "Moment (UTC)"),
    ("loaded_at", "Loaded at (UTC)"),
    ("rows_added", "Added"),
    ("rows_changed", "Changed"),
    ("rows_deleted", "Deleted"),
    ("rows_rejected", "Rejected"),
    ("seconds", "Seconds"),
)
_SHARED: Columns = (("day", "Placed on"), ("staff_name", "Staff"), ("counterparty_name", "Counterparty"))
_PRICED: Columns = (("units", "Units"), ("unit_price", "Unit price"), ("currency_code", "Currency"))
ORDER_COLUMNS: Mapping[str, Columns] = {
    "sales": (
        ("sales_order_id", "Order"),
        *_SHARED,
        ("design_name", "Design"),
        *_PRICED,
        ("revenue", "Revenue"),
        ("agreed_delivery_date", "Delivery"),
    ),
    "purchases": (
        ("purchase_order_id", "Order"),
        *_SHARED,
        ("item_code", "Item"),
        *_PRICED,
        ("amount", "Amount"),
        ("agreed_delivery_date", "Delivery"),
    ),
}


class Renderer:
    """Renders templates; ``menu`` has the title of each page's path."""

    def __init__(self, menu: Mapping[str, str]) -> None:
        """Load the templates."""
        self._templates = Jinja2Templates(_FOLDER / "templates")
        environment = self._templates.env
        environment.trim_blocks = environment.lstrip_blocks = True
        environment.filters.update(
            cell=wording.cell, compact=wording.compact, integer=wording.integer, percent=wording.percent,
            span=wording.span, when=wording.when, counted=counted, local=_local, epoch=_epoch, exact=_exact,
            minus=_minus,
        )  # fmt: skip
        environment.globals.update(
            menu=list(menu.items()), version=_version(), is_number=_is_number, tone=_tone,
            trend_columns=TREND_COLUMNS, debt_columns=DEBT_COLUMNS, delivery_columns=DELIVERY_COLUMNS,
            slip_columns=SLIP_COLUMNS, revenue_columns=REVENUE_COLUMNS, rejected_columns=REJECTED_COLUMNS,
            batch_columns=BATCH_COLUMNS, order_columns=ORDER_COLUMNS,
        )  # fmt: skip

    def render(
        self,
        request: Request,
        template: str,
        values: Mapping[str, Any],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The page that a template makes of these values."""
        parameters = {
            name: text for name, text in request.query_params.items() if name in Filters.model_fields and text
        }

        def address(path: str, **changes: object) -> str:
            chosen = {name: value for name, value in {**parameters, **changes}.items() if value is not None}
            return f"{path}?{urlencode(chosen)}" if chosen else path

        here = request.url.path
        context = {
            "address": address,
            "parameters": parameters,
            "here": here,
            "heading": _HEADINGS.get(status, "This page failed"),
            "retry": address(here),
            **_periods(values),
            **values,
        }
        return self._templates.TemplateResponse(
            request, template, context, status_code=status, headers=dict(headers or {})
        )


def _periods(values: Mapping[str, Any]) -> dict[str, Any]:
    """The periods to choose from, which end at the newest order's day."""
    if not values.get("days"):
        return {"presets": (), "last_day": None}
    days = values["days"]
    shorter = [(name, length) for name, length in _PRESETS if length < days.days]
    return {"presets": [*shorter, ("All", days.days)], "last_day": days.until}


def _version() -> str:
    """A text that changes with the style and the scripts, so that browsers load them again."""
    texts = [path.read_bytes() for path in sorted((_FOLDER / "static").iterdir())]
    return hashlib.sha256(b"".join(texts)).hexdigest()[:10]


def _local(moment: datetime, *, up: bool = False) -> str:
    """A moment as a field for dates and times has it: UTC, whole seconds."""
    return f"{_seconds(moment, up=up):%Y-%m-%dT%H:%M:%S}"


def _epoch(moment: datetime, *, up: bool = False) -> int:
    return int(_seconds(moment, up=up).timestamp())


def _seconds(moment: datetime, *, up: bool) -> datetime:
    rounded = moment.astimezone(UTC).replace(microsecond=0)
    return rounded + timedelta(seconds=1) if up and moment.microsecond else rounded


def _minus(day: date, days: int) -> date:
    """The first of this many days that end with this one."""
    return day - timedelta(days - 1)


def _exact(value: Decimal) -> str:
    return f"{value:,}"


def _is_number(rows: Sequence[Row], name: str) -> bool:
    """Whether a column holds numbers that are aligned to the right; ids are names."""
    value = next((row[name] for row in rows if row.get(name) is not None), None)
    return (
        isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and not wording.is_name(name)
    )


def _tone(rising_is: str, change: float) -> str:
    """The class of a change: good, bad or neither."""
    if rising_is == "neither" or not change:
        return ""
    return "good" if (change > 0) == (rising_is == "good") else "bad"
