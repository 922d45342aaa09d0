"""The live demo: a worker runs the deployed flows while the shop trades; one line per run."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
from psycopg.rows import dict_row

from demo import shop
from demo.home import DemoError
from demo.processes import Worker
from demo.queries import Rows, statement
from pipeline.words import counted

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

    from demo.run import Demo

_EVENTS_A_SECOND = 2.0


def live(demo: Demo, orders: int, every: int) -> None:
    """Run until Ctrl-C, with a scheduled run every ``every`` seconds."""
    demo.home.forget_prefect()
    prefect = demo.open(orders)
    worker = demo.start_worker(every)
    dashboard = demo.start_dashboard()
    demo.terminal.heading(f"Open {prefect.address}/deployments", "Ctrl-C ends all of it")
    demo.terminal.show_verbatim(f"The dashboard is at {dashboard.address}")
    with (
        psycopg.connect(demo.source, autocommit=True) as source,
        psycopg.connect(demo.warehouse, autocommit=True) as warehouse,
    ):
        _trade_and_report(demo, worker, source, warehouse)
    raise DemoError("the worker has stopped")


def _trade_and_report(demo: Demo, worker: Worker, source: Rows, warehouse: Rows) -> None:
    from demo import flow

    rng, began, reported = random.Random(), datetime.now(UTC), set()
    while worker.running:
        shop.activity(source, rng)
        for run in flow.finished_since(began):
            if run.id not in reported:
                reported.add(run.id)
                demo.terminal.show_verbatim(_line(run, warehouse))
        time.sleep(rng.expovariate(_EVENTS_A_SECOND))


def _line(run: FlowRun, warehouse: Rows) -> str:
    """A line on a finished run: what it loaded, and how far the warehouse is behind."""
    head = f"{run.end_time or datetime.now(UTC):%H:%M:%S} UTC  {run.state_name}"
    if run.state is None or not run.state.is_completed():
        return f"{head}: {run.state.message if run.state else ''}"
    with warehouse.cursor(row_factory=dict_row) as cursor:
        loaded = cursor.execute(statement("loaded.sql"), {"from": run.start_time, "to": run.end_time})
        row = loaded.fetchone() or {}
    behind = ((run.end_time or datetime.now(UTC)) - row["up_to_date_at"]).total_seconds()
    return (
        f"{head}: {counted(row['added'], 'new row')} and {counted(row['versions'], 'new version')};"
        f" the warehouse is {behind:.1f} s behind the shop"
    )
