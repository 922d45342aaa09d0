"""A source whose WAL is summarized: its tables, what a look at them finds, and its summarizer."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest

from pipeline.source import snapshots, wal_summaries
from pipeline.source.catalogue import describe
from pipeline.source.wal_summaries import Files, Marks, Unchanged
from tests.support import execute, query, value

NAMES = ("t", "other", "long", "parts", "loose")
CREATE = (
    "CREATE TABLE t (id int PRIMARY KEY, v int)",
    "INSERT INTO t SELECT i, 0 FROM generate_series(1, 40) AS i",
    "CREATE TABLE other (LIKE t INCLUDING ALL)",
    "INSERT INTO other TABLE t",
    "CREATE TABLE long (id int PRIMARY KEY, v text)",
    "ALTER TABLE long ALTER v SET STORAGE external",
    "INSERT INTO long SELECT i, repeat('x', 9000) FROM generate_series(1, 40) AS i",
    "CREATE TABLE parts (id int PRIMARY KEY, v int) PARTITION BY RANGE (id)",
    "CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (21)",
    "CREATE TABLE parts_high PARTITION OF parts DEFAULT",
    "INSERT INTO parts TABLE t",
    "CREATE UNLOGGED TABLE loose (LIKE t INCLUDING ALL)",
    "INSERT INTO loose TABLE t",
)


class Watched:
    """A source, and what it had at the last look."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.marks: Marks | None = None
        self.files: dict[str, str] = {}
        self.rows: dict[str, list[tuple[Any, ...]]] = {}
        self.look()

    def look(self, *, checkpoint: bool = True, url: str | None = None) -> Unchanged:
        """The unchanged tables; their rows are compared with those of the last look."""
        with snapshots.snapshot(url or self.url) as (connection, snapshot):
            files = {name: table.filenodes for name, table in describe(connection, "public", NAMES).items()}
            same = {
                name: Files(frozenset(map(int, numbers.split(","))), 1)
                for name, numbers in files.items()
                if numbers and numbers == self.files.get(name)
            }
            found = wal_summaries.unchanged(connection, snapshot, self.marks, same, checkpoint=checkpoint)
            rows = {
                name: connection.execute(f"SELECT * FROM public.{name} ORDER BY 1").fetchall()
                for name in NAMES
            }
            for name in found.tables:
                assert rows[name] == self.rows[name], name
            self.marks, self.files, self.rows = wal_summaries.marks(snapshot, self.marks), files, rows
        return found

    def settle(self) -> None:
        """Let the next look start in a summary without changes: one is written at each checkpoint."""
        self.look()
        execute(self.url, "CHECKPOINT")
        self.look()


def wait_for_summary(url: str) -> None:
    """Wait until the WAL before the last checkpoint is summarized."""
    deadline = monotonic() + 30
    summarized = "SELECT max(end_lsn) FROM pg_available_wal_summaries()"
    done = f"SELECT ({summarized}) >= redo_lsn FROM pg_control_checkpoint()"
    while not value(url, done):
        assert monotonic() < deadline
        sleep(0.02)


@contextmanager
def stopped_summarizer(url: str) -> Iterator[None]:
    """Stop the process that summarizes the WAL, for the block."""
    process = int(value(url, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsummarizer'"))
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + 30
    while not condition():
        assert monotonic() < deadline
        sleep(0.02)


def crash(url: str) -> None:
    """Kill a session, and wait until the server has ended the others, as after every crash."""
    with closing(psycopg.connect(url)) as victim, closing(psycopg.connect(url)) as other:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT pg_sleep(60)")


def answers(url: str) -> bool:
    with suppress(psycopg.OperationalError):
        return query(url, "SELECT 1") == [(1,)]
    return False
