"""The web page on a large shop's warehouse: the seconds that each page and click takes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg

from bench.errors import BenchError
from bench.figures import SECONDS
from demo.processes import LiveDashboard

_TIMES = 3
_SECONDS_TO_START, _SECONDS_TO_ANSWER = 60, 600
# Each page and its clicks: longer periods, each filter and breakdown, a past moment.
CLICKS = (
    "/",
    "/?since={90 days}",
    "/?since={365 days}",
    "/?currency=GBP",
    "/?department=Sales",
    "/?counterparty=1",
    "/?as_of={first batch}",
    "/sales",
    "/sales?since={365 days}",
    "/sales?by=design",
    "/sales?by=staff",
    "/sales?by=department",
    "/sales?by=location",
    "/sales?as_of={first batch}",
    "/purchases",
    "/purchases?since={365 days}",
    "/owed",
    "/owed?counterparty=1",
    "/owed?as_of={first batch}",
    "/amendments",
    "/amendments?silent=1",
    "/table?view=sales",
    "/table?view=receivables",
    "/table?view=open_orders",
    "/table?view=amendments",
    "/health",
)


def clicks(url: str) -> dict[str, dict[str, float]]:
    """Each click's quickest of some tries, on a warehouse."""
    places = _places(url)
    with _served(url) as address:
        return {
            click: {SECONDS: min(_seconds(address + _filled(click, places)) for _ in range(_TIMES))}
            for click in CLICKS
        }


def _places(url: str) -> dict[str, str]:
    """What the clicks' placeholders stand for."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT first_batch, as_of FROM reporting.freshness").fetchone()
    if row is None or row[0] is None:
        raise BenchError("the warehouse has no batch to show")
    first, as_of = row
    days = {f"{{{days} days}}": str((as_of - timedelta(days)).date()) for days in (90, 365)}
    return {"{first batch}": quote(first.isoformat()), **days}


def _filled(click: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        click = click.replace(name, value)
    return click


@contextmanager
def _served(url: str) -> Iterator[str]:
    """The page on a warehouse while the block runs; its address."""
    with tempfile.TemporaryDirectory() as folder:
        page = LiveDashboard(url, Path(folder))
        try:
            _wait_for(page)
            yield page.address
        finally:
            page.stop()


def _wait_for(page: LiveDashboard) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while page.running and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            httpx.get(f"{page.address}/static/style.css", timeout=_SECONDS_TO_START)
            return
        time.sleep(0.1)
    raise BenchError("the web page did not start")


def _seconds(address: str) -> float:
    began = time.monotonic()
    answer = httpx.get(address, timeout=_SECONDS_TO_ANSWER)
    seconds = time.monotonic() - began
    # A query that took longer than the page waits counts as that long.
    if answer.is_error and answer.status_code != httpx.codes.GATEWAY_TIMEOUT:
        raise BenchError(f"{address}: status {answer.status_code}")
    return seconds
