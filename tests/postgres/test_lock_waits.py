"""A wait for a lock names the session that holds it, and ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from time import monotonic
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from pipeline.errors import LockTimeout
from pipeline.lock_waits import ORDINARY, LockWaits, Pace
from pipeline.postgres import once, transaction
from tests.pair import Pair
from tests.support import query, value

MODELS = {
    "fact_sale": "-- key: sale_id\nSELECT sale_id, units FROM sale",
    "schema": "CREATE TABLE IF NOT EXISTS fact_sale (sale_id integer NOT NULL, units integer)",
}
SOURCE = ("CREATE TABLE sale (sale_id int PRIMARY KEY, units int)", "INSERT INTO sale VALUES (1, 1)")
HOLDER = r"session \d+ of role postgres \(psql of ann\) holds"


@pytest.fixture
def pair(shared: Pair) -> Pair:
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    shared.do("UPDATE sale SET units = 2")
    return shared


# Tenths of a second instead of seconds.
QUICK = Pace(check=0.1, first_line=0.3, line=0.6)


@contextmanager
def watched(url: str, database: str) -> Iterator[psycopg.Connection]:
    """A transaction whose waits are logged soon."""
    with psycopg.connect(url) as connection:
        pid, second = connection.info.backend_pid, lambda: once(url, database)
        with LockWaits(connection, pid, database, second, 60, QUICK):
            yield connection


@contextmanager
def holding(url: str, statement: str) -> Iterator[psycopg.Connection]:
    """Another session with an open transaction."""
    with psycopg.connect(url, application_name="psql of ann") as connection:
        connection.execute(statement.encode())
        yield connection
        connection.rollback()


def test_a_wait_is_logged_after_five_seconds_and_at_its_end(
    pair: Pair, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOTESYS_LOCK_TIMEOUT", "8")
    assert ORDINARY.line == 60
    what = HOLDER + " ShareLock on table public.fact_sale"
    started = monotonic()
    with holding(pair.house.url, "LOCK TABLE fact_sale IN SHARE MODE"), pytest.raises(LockTimeout) as ended:
        pair.run()
    assert 8 <= monotonic() - started < 15
    (line,) = caplog.messages
    assert re.fullmatch(rf"warehouse: waiting for [4-7] s: {what}", line)
    assert re.fullmatch(
        rf"warehouse: {what}; gave up after 8 s \(TOTESYS_LOCK_TIMEOUT\);"
        r" nothing was changed, run again when the lock is free",
        str(ended.value),
    )
    assert pair.run() is None, "the batch that was sealed comes in first"
    assert value(pair.house.url, "SELECT units FROM fact_sale_current") == 2


WAITS = {
    "altered source": (
        "source",
        "ALTER TABLE sale ADD more int",
        "SELECT FROM sale",
        "AccessExclusiveLock on table public.sale",
    ),
    "altered warehouse": (
        "warehouse",
        "ALTER TABLE fact_sale ADD more int",
        "SELECT FROM fact_sale",
        "AccessExclusiveLock on table public.fact_sale",
    ),
    "changed rows": (
        "warehouse",
        "UPDATE etl.watermark SET source_xmin = source_xmin",
        "UPDATE etl.watermark SET source_xmin = source_xmin",
        "ExclusiveLock on rows that it has changed",
    ),
    "another run": (
        "warehouse",
        "SELECT pg_advisory_xact_lock(1, 2)",
        "SELECT pg_advisory_xact_lock(1, 2)",
        "ExclusiveLock on the run lock of the pipeline",
    ),
}


@pytest.mark.parametrize("case", WAITS)
def test_a_wait_is_logged_repeatedly_until_it_ends(
    pair: Pair, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    database, holds, waits, what = WAITS[case]
    url = pair.source_url if database == "source" else pair.house.url
    with ThreadPoolExecutor() as pool, holding(url, holds) as other, watched(url, database) as waiting:
        doing = pool.submit(waiting.execute, waits.encode())
        deadline = monotonic() + 30
        while len(caplog.messages) < 2 and monotonic() < deadline:
            query(url, "SELECT pg_sleep(0.05)")
        other.rollback()
        doing.result()
    assert len(caplog.messages) >= 2
    assert all(
        re.search(rf"{database}: waiting for \d+ s: {HOLDER} {what}$", line) for line in caplog.messages
    )


def test_a_wait_behind_several_sessions_names_them_all(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """Sessions that only wait in front are named too; the line stays short."""
    with (
        ThreadPoolExecutor() as pool,
        holding(pair.source_url, "SELECT * FROM sale"),
        watched(pair.source_url, "source") as waiting,
    ):
        readers = [psycopg.connect(pair.source_url) for _ in range(4)]
        for reader in readers:
            reader.execute("SELECT * FROM sale")
        altering = psycopg.connect(pair.source_url, application_name="a migration")
        pool.submit(altering.execute, "ALTER TABLE sale ADD more int")
        queued = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not value(pair.source_url, queued):
            pass
        doing = pool.submit(waiting.execute, "SELECT FROM sale")
        deadline = monotonic() + 30
        while not caplog.messages and monotonic() < deadline:
            query(pair.source_url, "SELECT pg_sleep(0.05)")
        for reader in (*readers, altering):
            reader.cancel()
            reader.close()
        doing.result()
    assert re.search(
        r"session \d+ of role postgres \(a migration\) asks for AccessExclusiveLock", caplog.messages[0]
    )


def test_a_long_query_is_not_a_wait(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    with watched(pair.source_url, "source") as connection:
        connection.execute("SELECT pg_sleep(1)")
    assert caplog.messages == []


def test_a_timeout_shorter_than_the_check_interval_still_names_the_session(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOTESYS_LOCK_TIMEOUT", "2")
    with (
        holding(pair.source_url, "ALTER TABLE sale ADD more int"),
        pytest.raises(
            LockTimeout, match=rf"source: {HOLDER} AccessExclusiveLock on table public\.sale; gave up"
        ),
    ):
        pair.run()


def test_a_timeout_of_the_caller_is_not_said_to_be_the_setting(pair: Pair) -> None:
    with (
        holding(pair.source_url, "ALTER TABLE sale ADD more int"),
        pytest.raises(LockTimeout, match=r"; gave up after 0\.5 s; nothing was changed"),
        transaction(pair.source_url, "source", lock_timeout=0.5) as connection,
    ):
        connection.execute("SELECT FROM public.sale")


def test_a_check_after_the_end_of_a_wait_does_not_hide_who_was_waited_for(pair: Pair) -> None:
    """A lock's timeout can end the wait while a check is under way."""
    checked = Event()
    found = iter([[("session 1 of role ann holds a lock", 0)], []])

    @contextmanager
    def second() -> Iterator[Any]:
        rows = next(found, None)
        if rows is None:
            checked.set()
            raise psycopg.OperationalError
        yield SimpleNamespace(execute=lambda *_: SimpleNamespace(fetchall=lambda: rows))

    with psycopg.connect(pair.source_url) as connection, ThreadPoolExecutor() as pool:
        waits = LockWaits(connection, connection.info.backend_pid, "source", second, 60, QUICK)
        with waits:
            doing = pool.submit(connection.execute, "SELECT pg_sleep(60)")
            assert checked.wait(30)
            connection.cancel()
        assert isinstance(doing.exception(), psycopg.errors.QueryCanceled)
    assert waits.blockers == "session 1 of role ann holds a lock"
