"""Errors for roles without rights, and for texts that are not UTF-8."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from demo.postgres import Postgres
from pipeline.errors import SourceError
from pipeline.source import snapshots
from pipeline.source.catalogue import describe
from pipeline.source.changes import Slice, probe
from tests.source.reading import arrow, carried, concatenated_slice
from tests.support import execute


def test_a_role_without_rights_gets_one_line(source_url: str, reader_url: str) -> None:
    execute(source_url, "CREATE TABLE t (id int)")
    with pytest.raises(SourceError) as caught:
        carried(reader_url, "t")
    assert str(caught.value) == "source: permission denied for table t; grant SELECT to the pipeline's role"
    execute(
        source_url, "CREATE SCHEMA crm", "CREATE TABLE crm.t (id int)", "GRANT USAGE ON SCHEMA crm TO public"
    )
    with pytest.raises(SourceError, match=r"^source: crm\.t: permission denied for table t; grant SELECT"):
        carried(reader_url, "crm.t")


def test_a_schema_that_the_role_may_not_use_is_named(source_url: str, reader_url: str) -> None:
    execute(source_url, "CREATE SCHEMA crm", "CREATE TABLE crm.t (id int)", "GRANT SELECT ON crm.t TO public")
    with pytest.raises(SourceError) as caught:
        carried(reader_url, "crm.t")
    assert str(caught.value) == (
        "source: the pipeline's role may not use schema crm, which has table t; GRANT USAGE ON SCHEMA"
        ' "crm" to it'
    )
    execute(source_url, "GRANT USAGE ON SCHEMA crm TO public", "INSERT INTO crm.t VALUES (1)")
    assert carried(reader_url, "crm.t").num_rows == 1


def test_a_role_that_may_only_read_is_enough(source_url: str, reader_url: str) -> None:
    execute(source_url, "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    execute(source_url, f"GRANT SELECT ON t TO {reader_url.split('/')[2].split(':', maxsplit=1)[0]}")
    assert carried(reader_url, "t").num_rows == 1


def test_a_role_reads_the_columns_that_it_has_rights_on(source_url: str, reader_url: str) -> None:
    role = reader_url.split("/")[2].split(":", maxsplit=1)[0]
    execute(
        source_url,
        "CREATE TABLE t (id int PRIMARY KEY, name char(3), secret text)",
        "INSERT INTO t VALUES (1, 'a', 'x')",
        f"GRANT SELECT (id, name) ON t TO {role}",
    )
    assert carried(reader_url, "t").to_pylist() == [{"id": 1, "name": "a"}]
    with snapshots.snapshot(reader_url) as (connection, before):
        table = describe(connection, "public", ["t"])["t"]
        assert probe(connection, "public", [(table, Slice())])["t"].rows == 1
    assert [column.name for column in table.unreadable] == ["secret"]
    assert (table.key, table.tracked, table.has_pages) == (("id",), False, False)
    execute(source_url, f"GRANT SELECT (xmin, ctid, tableoid) ON t TO {role}", "INSERT INTO t VALUES (2)")
    with snapshots.snapshot(reader_url) as (connection, _):
        assert describe(connection, "public", ["t"])["t"].tracked
    assert carried(reader_url, "t", Slice(since=before.xmin)).to_pylist() == [{"id": 2, "name": None}]


def test_a_key_with_an_unreadable_column_is_ignored(source_url: str, reader_url: str) -> None:
    role = reader_url.split("/")[2].split(":", maxsplit=1)[0]
    execute(
        source_url,
        "CREATE TABLE t (a int, b int, c int, PRIMARY KEY (a, b))",
        f"GRANT SELECT (a, c) ON t TO {role}",
    )
    with snapshots.snapshot(reader_url) as (connection, _):
        assert describe(connection, "public", ["t"])["t"].key == ()


@pytest.fixture(params=[18, 16])
def ascii_url(servers: Callable[[int], Postgres], request: pytest.FixtureRequest) -> Iterator[str]:
    """A database in SQL_ASCII, which accepts any bytes as text."""
    server = servers(request.param)
    name = f"ascii_{request.param}"
    execute(server.url("postgres"), f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    yield server.url(name)
    execute(server.url("postgres"), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("concatenated", [False, True])
def test_bytes_that_are_not_text_are_named_by_table_and_column(ascii_url: str, concatenated: bool) -> None:
    with psycopg.connect(ascii_url, autocommit=True, client_encoding="sql_ascii") as connection:
        connection.execute("CREATE TABLE t (id int, fine text, name text)")
        connection.execute(b"INSERT INTO t VALUES (1, 'Jos\xc3\xa9', 'fine'), (2, 'x', E'Jos\\351 Smith')")
    with snapshots.snapshot(ascii_url) as (connection, _):
        table = describe(connection, "public", ["t"])["t"]
        with pytest.raises(SourceError) as caught:
            arrow(connection, table, concatenated_slice(table, Slice()) if concatenated else Slice())
    assert str(caught.value) == (
        "source: table t, column name: a text cannot be carried exactly: invalid byte sequence for encoding"
        ' "UTF8"; correct it in the source and run again'
    )
    execute(ascii_url, "DELETE FROM t WHERE id = 2")
    assert carried(ascii_url, "t")["fine"].to_pylist() == ["José"]


def test_row_level_security_is_an_error(source_url: str, reader_url: str) -> None:
    role = reader_url.split("/")[2].split(":", maxsplit=1)[0]
    execute(
        source_url,
        "CREATE TABLE t (id int)",
        "INSERT INTO t VALUES (1), (2)",
        f"GRANT SELECT ON t TO {role}",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON t USING (id = 1)",
    )
    with pytest.raises(SourceError, match=r"row-level security.*BYPASSRLS"):
        carried(reader_url, "t")
