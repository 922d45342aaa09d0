"""The transactions of a run use connections again, and nothing of a session is left to the next one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from contextvars import copy_context
from time import monotonic, sleep

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from demo.postgres import Postgres
from pipeline import pool, postgres
from pipeline.postgres import transaction
from pipeline.source import snapshots
from tests.support import database, execute, query, value

SESSIONS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)
LEAVINGS = (
    "SET TimeZone = 'Asia/Tokyo'",
    "SET search_path = nowhere",
    "SET work_mem = '1MB'",
    "SELECT set_config('some.word', 'S3cret', false)",
    "CREATE TEMP TABLE left_behind (id integer)",
    "PREPARE left_behind AS SELECT 1",
    "LISTEN left_behind",
    "SELECT pg_advisory_lock(7)",
    "CREATE SEQUENCE public.numbers",
    "SELECT nextval('public.numbers')",
    "SET ROLE pg_monitor",
)
LEFT = """
    SELECT 'setting', name FROM pg_settings
    WHERE source = 'session' AND name NOT IN ({ours})
    UNION ALL SELECT 'word', current_setting('some.word', true) WHERE current_setting('some.word', true) <> ''
    UNION ALL SELECT 'prepared', name FROM pg_prepared_statements
    UNION ALL SELECT 'lock', mode FROM pg_locks WHERE locktype = 'advisory'
    UNION ALL SELECT 'temporary', relname FROM pg_class WHERE pg_my_temp_schema() = relnamespace
    UNION ALL SELECT 'channel', c FROM pg_listening_channels() AS c
    UNION ALL SELECT 'role', current_user::text WHERE current_user <> session_user
"""


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> Iterator[str]:
    with database(postgres, "pool") as made:
        yield made


def pid(connection: postgres.Connection) -> object:
    """The process of the server that the connection leads to."""
    return connection.execute("SELECT pg_backend_pid()").fetchone()


def pid_of_one(url: str, pauses: Sequence[float] | None = None) -> object:
    with transaction(url, "warehouse", pauses=pauses) as connection:
        return pid(connection)


def sessions_left(url: str) -> list[tuple[object, ...]]:
    """The sessions that have not ended; a server takes a moment to end one whose client has closed it."""
    deadline = monotonic() + 10
    while (left := query(url, SESSIONS)) and monotonic() < deadline:
        sleep(0.02)
    return left


def test_transactions_one_after_another_share_a_connection_and_none_outlives_the_block(url: str) -> None:
    with pool.reused():
        with pool.reused():
            pids = {pid_of_one(url) for _ in range(3)}
        with transaction(url, "source", reading=True) as reading, postgres.once(url, "source") as other:
            pids.add(pid(reading))
            assert pid(other) not in pids
        assert len(query(url, SESSIONS)) == 2
    assert len(pids) == 1
    assert sessions_left(url) == []
    assert pid_of_one(url) != pid_of_one(url)


def test_no_connection_to_the_source_outlives_the_snapshot(url: str) -> None:
    with pool.reused():
        with snapshots.snapshot(url) as (_, snapshot):
            for _ in range(2):
                with snapshots.adopt(url, snapshot.name):
                    pass
            assert len(query(url, SESSIONS)) == 2
        assert sessions_left(url) == []


def test_threads_of_the_block_share_the_connections_and_use_each_alone(url: str) -> None:
    with pool.reused(), ThreadPoolExecutor(4) as threads:
        running = [threads.submit(copy_context().run, pid_of_one, url) for _ in range(40)]
        assert len({each.result() for each in running}) <= 4
        assert len(query(url, SESSIONS)) <= 4


def test_nothing_that_sql_leaves_in_a_session_reaches_the_next_transaction(url: str) -> None:
    with pool.reused():
        with transaction(url, "warehouse") as connection:
            first = pid(connection)
            own = [
                name
                for (name,) in connection.execute("SELECT name FROM pg_settings WHERE source = 'session'")
            ]
            for statement in LEAVINGS:
                connection.execute(statement.encode())
        with transaction(url, "warehouse") as connection:
            left = LEFT.format(ours=", ".join(f"'{name}'" for name in own))
            assert pid(connection) == first
            assert connection.execute(left.encode()).fetchall() == []
            assert connection.execute("SHOW TimeZone").fetchone() == ("UTC",)
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState), connection.transaction():
                connection.execute("SELECT lastval()")


def test_a_transaction_that_fails_is_rolled_back_and_leaves_its_connection(url: str) -> None:
    with pool.reused():
        first = pid_of_one(url)
        for error in (ValueError, psycopg.Rollback):
            with suppress(ValueError), transaction(url, "warehouse") as connection:
                connection.execute("CREATE TABLE public.unfinished (id integer)")
                raise error
            assert value(url, "SELECT to_regclass('public.unfinished')") is None
        with pytest.raises(psycopg.errors.DivisionByZero), transaction(url, "warehouse") as connection:
            connection.execute("SELECT 1 / 0")
        assert pid_of_one(url) == first


def test_a_connection_that_was_lost_while_idle_is_replaced(url: str) -> None:
    with pool.reused():
        with ExitStack() as stack:
            lost = {pid(stack.enter_context(transaction(url, "warehouse"))) for _ in range(3)}
        execute(url, f"SELECT pg_terminate_backend(pid, 5000) FROM ({SESSIONS}) AS s")
        assert pid_of_one(url, pauses=()) not in lost
        with postgres.once(url, "warehouse") as connection:
            assert pid(connection) not in lost


def lose_connection(url: str) -> None:
    with transaction(url, "warehouse") as connection:
        execute(url, f"SELECT pg_terminate_backend(pid, 5000) FROM ({SESSIONS}) AS s")
        connection.execute("SELECT 1")


def test_a_connection_that_is_lost_in_use_is_an_error_and_not_used_again(url: str) -> None:
    with pool.reused():
        first = pid_of_one(url)
        with pytest.raises(psycopg.errors.AdminShutdown):
            lose_connection(url)
        assert pid_of_one(url) != first


@pytest.mark.parametrize("case", ["idle for long", "forked", "another login"])
def test_a_connection_is_not_used_again(url: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pool.reused(longest_idle=0.0 if case == "idle for long" else 60.0):
        first = pid_of_one(url)
        if case == "forked":
            monkeypatch.setattr("os.getpid", lambda: 0)
        elif case == "another login":
            url = make_conninfo(url, options="-c work_mem=1MB")
        assert pid_of_one(url) != first
        monkeypatch.undo()
