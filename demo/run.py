"""The steps of the demo: two databases, two runs of the flow, a working day between them."""

from __future__ import annotations

import atexit
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from demo import changes, shop, trading
from demo.changes import Change, Watermarks
from demo.home import PROJECT, SOURCE, WAREHOUSE, Home
from demo.interrupts import Interrupts
from demo.postgres import Postgres
from demo.processes import LiveDashboard, PrefectServer, Worker
from demo.queries import count, exists, statement, value
from demo.terminal import Terminal
from pipeline.words import counted

if TYPE_CHECKING:
    from tasks.report import BatchReport

_OVERTAKING = timedelta(minutes=1)


@dataclass(frozen=True)
class Run:
    """A run of the flow: the batches that it loaded, and its duration."""

    batches: list[BatchReport]
    seconds: float

    @property
    def rows_read(self) -> int:
        """Rows read from the source."""
        return sum(batch.rows_read for batch in self.batches)

    @property
    def rows_written(self) -> int:
        """Rows and versions written into the warehouse."""
        counts = [count for batch in self.batches for count in batch.counts]
        return sum(count.added + count.changed + count.deleted for count in counts)

    @property
    def at(self) -> datetime:
        """The time of the last snapshot."""
        return self.batches[-1].snapshot_at

    @property
    def tables(self) -> list[str]:
        """The warehouse's tables."""
        return [count.table for count in self.batches[-1].counts]

    def gained(self, table: str) -> str:
        """The changes of a warehouse table as text."""
        counts = [count for batch in self.batches for count in batch.counts if count.table == table]
        return "; ".join(count.summary for count in counts if count.summary != "nothing new") or "-"


@dataclass(frozen=True)
class Results:
    """What the report shows."""

    first: Run
    second: Run
    day: shop.Day
    changes: list[Change]
    watermarks: Watermarks


class Demo:
    """A demo with its servers."""

    def __init__(self, home: Home, terminal: Terminal, interrupts: Interrupts) -> None:
        """Describe a demo; nothing is started."""
        self.home = home
        self.terminal = terminal
        self.interrupts = interrupts
        self.postgres: Postgres = home.postgres()
        self.prefect: PrefectServer | None = None
        self.worker: Worker | None = None
        self.dashboard: LiveDashboard | None = None

    @property
    def source(self) -> str:
        """URL of the source."""
        return self.postgres.url(SOURCE)

    @property
    def warehouse(self) -> str:
        """URL of the warehouse."""
        return self.postgres.url(WAREHOUSE)

    def stop(self) -> None:
        """Stop whatever was started."""
        for process in (self.worker, self.dashboard, self.postgres, self.prefect):
            if process:
                process.stop()

    def open(self, orders: int) -> PrefectServer:
        """Start both servers and fill the source, with ``orders`` sales orders if it is new."""
        prefect = self._start_prefect()
        self._start_postgres()
        self._fill(orders)
        with self.terminal.step("Start Prefect") as step:
            self._connect(prefect)
            step.finish("its own server, and the blocks for databases and buckets")
        return prefect

    def start_worker(self, every: int) -> Worker:
        """Deploy the flows and start a worker, which is ready some seconds later."""
        from demo import flow

        with self.terminal.step("Deploy") as step:
            deployments = flow.deployments(self.home, every)
            with self.interrupts.held():
                self.worker = Worker(PROJECT, deployments)
            step.finish(f"prefect.yaml, with a run due every {every} s, and a worker")
        return self.worker

    def start_dashboard(self) -> LiveDashboard:
        """Start the page on the warehouse, which is ready some seconds later."""
        with self.interrupts.held():
            self.dashboard = LiveDashboard(self.warehouse, self.home.folder)
        return self.dashboard

    def _start_prefect(self) -> PrefectServer:
        """Start Prefect's server, which is ready some seconds later."""
        with self.interrupts.held():
            self.prefect = PrefectServer()
        # Registered before Prefect is imported, so it runs after Prefect's own exit handlers.
        atexit.register(self.prefect.stop)
        os.environ["PREFECT_API_URL"] = self.prefect.api
        return self.prefect

    def _start_postgres(self) -> None:
        """Start Postgres with both databases."""
        with self.terminal.step("Start Postgres") as step:
            with self.interrupts.held():
                self.postgres.start()
            for name in (SOURCE, WAREHOUSE):
                self.postgres.create_database(name)
            step.finish(f"one server, with the databases {SOURCE} and {WAREHOUSE}")

    def play(self, orders: int) -> Results:
        """Run the whole demo."""
        self.open(orders)
        with self._late_sale() as late:
            first = self._run("First run")
            with psycopg.connect(self.source) as connection:
                watermarks = changes.watermarks(connection)
            day = self._working_day()
        second = self._run("Second run")
        return Results(first, second, day, changes.of_day(day, late), watermarks)

    def _fill(self, orders: int) -> None:
        """Create and fill the source, unless an earlier demo did."""
        with self.terminal.step("Fill the source") as step, psycopg.connect(self.source) as connection:
            is_new = not exists(connection, "sales_order")
            if is_new:
                self.home.forget_buckets()
                shop.create(connection)
                # The working day that follows is today, or the last weekday.
                today = trading.last_weekday(datetime.now(UTC).date())
                shop.fill(connection, orders, until=today - timedelta(1))
            rows = sum(count(connection, table) for table in shop.COLUMNS)
            sales = count(connection, "sales_order")
            origin = "generated:" if is_new else "kept from before:"
            size = f"{counted(rows, 'row')} in {counted(len(shop.COLUMNS), 'table')}"
            step.finish(f"{origin} {counted(sales, 'sales order')}, {size}")

    def _connect(self, prefect: PrefectServer) -> None:
        """Save the blocks of the flow, once Prefect's server is ready."""
        from demo import flow

        prefect.wait()
        flow.save_blocks(self.source, self.warehouse, self.home)
        flow.show_progress(self.terminal)

    def _run(self, title: str) -> Run:
        from demo import flow

        with self.terminal.step(title) as step:
            began = time.monotonic()
            run = Run(flow.run(), time.monotonic() - began)
            result = f"{counted(run.rows_read, 'row')} read, {run.rows_written:,} written into the warehouse"
            step.finish(result if run.batches else "nothing new in the source")
        return run

    @contextmanager
    def _late_sale(self) -> Iterator[shop.Ids]:
        """A sale that is stamped before another one, and commits after it when the block ends."""
        with psycopg.connect(self.source) as connection:
            seed = count(connection, "sales_order")
        with shop.late_commit(self.source, seed) as late:
            with psycopg.connect(self.source) as connection:
                _overtake(connection, seed)
            yield late

    def _working_day(self) -> shop.Day:
        with self.terminal.step("Trade for a day") as step:
            day = shop.working_day(self.source)
            orders = len(day.sales) + len(day.purchases)
            numbers = {"order": orders, "payment": len(day.paid), "silent edit": len(day.edits)}
            events = ", ".join(counted(number, what) for what, number in numbers.items())
            step.finish(f"{day.day:%a %-d %B %Y}: {events}")
        return day


def _overtake(connection: psycopg.Connection, seed: int) -> None:
    """Add a sale a little after the newest order."""
    newest = value(connection, statement("newest_order.sql"))
    designs = [value(connection, sql.SQL("SELECT max({}) FROM design").format(sql.Identifier("design_id")))]
    shop.sell(connection, random.Random(seed), trading.within_hours(newest + _OVERTAKING), designs)
