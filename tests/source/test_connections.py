"""Connections that are refused, cut or slow."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from pipeline.columns import schema_of
from pipeline.errors import SettingsError, SourceError
from pipeline.lake.buckets import Bucket
from pipeline.postgres import Unreachable, transaction
from pipeline.source import snapshots
from pipeline.source.catalogue import describe
from pipeline.source.changes import Slice
from pipeline.source.read import read_rows
from tests.source.reading import carried
from tests.support import end_sessions, execute


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace(":", ":x", 2).replace("x//", "//", 1), "password authentication failed"),
        (lambda url: url.rsplit("/", 1)[0] + "/nowhere", 'database "nowhere" does not exist'),
    ],
    ids=["password", "database"],
)
def test_a_refused_login_fails_at_once_without_showing_the_password(
    source_url: str, reader_url: str, change: Callable[[str], str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as caught, transaction(change(reader_url), "source"):
        pass
    assert "S3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_dropped_during_the_read_is_named(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (a int, b int)")
    with snapshots.snapshot(source_url) as (connection, _):
        columns = describe(connection, "public", ["t"])["t"].columns
    execute(source_url, "ALTER TABLE t DROP COLUMN b")
    with (
        snapshots.snapshot(source_url) as (connection, _),
        pytest.raises(SourceError, match=r'source: t: column "b" does not exist.*run again'),
    ):
        list(read_rows(connection, "public", "t", columns, Slice()))


def test_a_connection_that_is_cut_is_retried(source_url: str, raw: Bucket) -> None:
    execute(source_url, "CREATE TABLE t AS SELECT repeat('x', 1000) AS v FROM generate_series(1, 20000)")

    def cut(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield next(batches)
        end_sessions(source_url)
        yield from batches

    with (  # noqa: PT012  what is read is written as it comes
        pytest.raises(psycopg.OperationalError),
        snapshots.snapshot(source_url) as (connection, _),
    ):
        table = describe(connection, "public", ["t"])["t"]
        rows = read_rows(connection, "public", "t", table.columns, Slice(), buffer_bytes=100_000)
        raw.write_rows("t", schema_of(table.columns), cut(rows))
    assert raw.list("t") == []


def test_sessions_print_values_the_same_whatever_the_role_is_set_to(source_url: str) -> None:
    name = source_url.rsplit("/", 1)[1]
    execute(
        source_url,
        f"ALTER DATABASE {name} SET datestyle = 'German'",
        f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'",
        f"ALTER DATABASE {name} SET bytea_output = 'escape'",
        f"ALTER DATABASE {name} SET extra_float_digits = -10",
        f"ALTER DATABASE {name} SET intervalstyle = 'iso_8601'",
    )
    execute(
        source_url,
        "CREATE TABLE t AS SELECT '2024-02-01 00:00+00'::timestamptz AS a, '2024-02-01'::date AS b,"
        " '\\x00'::bytea AS c, 0.1::float8 + 0.2::float8 AS d, '1 day'::interval AS e",
    )
    assert carried(source_url, "t").to_pylist() == [
        {
            "a": datetime(2024, 2, 1, tzinfo=UTC),
            "b": date(2024, 2, 1),
            "c": "\\x00",
            "d": 0.30000000000000004,
            "e": "1 day",
        }
    ]


def test_a_server_that_does_not_answer_is_retried() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else answers there
        url = f"postgresql://me:S3cret-word@127.0.0.1:{taken.getsockname()[1]}/db"
        with (
            pytest.raises(Unreachable, match="source: cannot be reached: ") as caught,
            transaction(url, "source", pauses=(0.01, 0.01)),
        ):
            pass
    assert "S3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_comes_back_is_reached(source_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = psycopg.connect, 0

    def restarting(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise psycopg.OperationalError("the database system is starting up")
        return real(*arguments, **options)

    monkeypatch.setattr(psycopg, "connect", restarting)
    with transaction(source_url, "source", pauses=(0.01, 0.01)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert calls == 3


@pytest.mark.parametrize(
    "url", ["postgresql://me:S3cret-word@127.0.0.1:99999/db", "postgresql://me:S3cret-word@h/db?nonsense=1"]
)
def test_a_url_that_libpq_refuses_is_a_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="source: ") as caught, transaction(url, "source"):
        pass
    assert "S3cret" not in str(caught.value)
