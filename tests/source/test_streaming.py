"""Rows stream in buffers and in ranges of pages, each row once."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pipeline.source import snapshots
from pipeline.source.catalogue import describe
from pipeline.source.changes import Slice
from pipeline.source.table_names import spelled
from tests.source.reading import arrow, carried, concatenated_slice
from tests.support import execute


def test_a_single_column_of_nulls_keeps_its_rows(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (v text)", "INSERT INTO t VALUES (NULL), (''), (NULL)")
    assert carried(source_url, "t")["v"].to_pylist() == [None, "", None]


def test_an_empty_table_has_its_columns(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (a int, b jsonb, c timestamptz)")
    table = carried(source_url, "t")
    assert (table.num_rows, table.schema.names) == (0, ["a", "b", "c"])


@pytest.mark.parametrize("size", [1, 100, 5_000])
def test_rows_larger_than_a_buffer_and_buffers_of_any_size(source_url: str, size: int) -> None:
    execute(
        source_url, "CREATE TABLE t AS SELECT i, repeat(E'a\"\\n,', i) AS v FROM generate_series(0, 200) AS i"
    )
    rows = carried(source_url, "t", buffer_bytes=size).sort_by("i").to_pylist()
    assert rows == [{"i": i, "v": 'a"\n,' * i} for i in range(201)]


def test_a_byte_order_mark_at_the_start_of_a_buffer_is_data(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (v text)", "INSERT INTO t VALUES (U&'\\FEFFfirst'), ('second')")
    assert carried(source_url, "t")["v"].to_pylist() == ["\ufefffirst", "second"]


def test_names_of_any_kind_are_quoted(source_url: str) -> None:
    execute(
        source_url,
        'CREATE TABLE "transaction" (id int PRIMARY KEY)',
        'CREATE TABLE "Odd ""Name" ("Mixed Case" int, "select" text, "a,b" int)',
        'ALTER TABLE "Odd ""Name" ADD PRIMARY KEY ("select", "Mixed Case")',
        'INSERT INTO "transaction" VALUES (1)',
        """INSERT INTO "Odd ""Name" VALUES (1, 'x', 2)""",
    )
    assert carried(source_url, "transaction").to_pylist() == [{"id": 1}]
    odd = spelled('Odd "Name')
    assert carried(source_url, odd).to_pylist() == [{"Mixed Case": 1, "select": "x", "a,b": 2}]
    with snapshots.snapshot(source_url) as (connection, _):
        assert describe(connection, "public", [odd])[odd].key == ("select", "Mixed Case")


def test_a_dropped_column_leaves_no_trace(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (a int, b int, c int)", "INSERT INTO t VALUES (1, 2, 3)")
    execute(source_url, "ALTER TABLE t DROP COLUMN b")
    assert carried(source_url, "t").to_pylist() == [{"a": 1, "c": 3}]


def test_only_named_tables_of_the_schema_are_described(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (a int)", "CREATE SCHEMA other", "CREATE TABLE other.u (a int)")
    with snapshots.snapshot(source_url) as (connection, _):
        assert describe(connection, "public", ["t", "u", "missing"]).keys() == {"t"}


@pytest.mark.parametrize("pages_per_message", [0, 1, 2, 1000])
@pytest.mark.parametrize("pages_per_chunk", [1, 3, 7, 1000])
def test_ranges_of_pages_cover_a_table_exactly(
    source_url: str, pages_per_chunk: int, pages_per_message: int
) -> None:
    execute(
        source_url,
        "CREATE TABLE t AS SELECT i, repeat('x', 500) AS v FROM generate_series(1, 150) AS i",
        "DELETE FROM t WHERE i % 7 = 0",
        "UPDATE t SET v = 'y' WHERE i % 5 = 0",
    )
    with snapshots.snapshot(source_url) as (connection, _):
        table = describe(connection, "public", ["t"])["t"]
        bounds = [*range(0, table.pages, pages_per_chunk), table.pages if pages_per_message else None]
        slices = [
            Slice(first_page=first, end_page=end, concatenated=pages_per_message > 0)
            for first, end in pairwise(bounds)
        ]
        chunks = [arrow(connection, table, each, pages_per_message=pages_per_message) for each in slices]
    ids = [str(i) for chunk in chunks for i in chunk["i"].to_pylist()]
    assert sorted(map(int, ids)) == [i for i in range(1, 151) if i % 7]


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["CREATE TABLE t (v text)", "INSERT INTO t VALUES (repeat('short ', 300))"], True),
        (["CREATE MATERIALIZED VIEW t AS SELECT 1 AS i"], True),
        (["CREATE TABLE t (v text)", "INSERT INTO t VALUES (repeat('long ', 1000000))"], False),
        (["CREATE TABLE t (i int)", "CREATE TABLE child () INHERITS (t)"], False),
        (["CREATE TABLE t (i int) PARTITION BY HASH (i)"], False),
        (["CREATE VIEW t AS SELECT 1 AS i"], False),
    ],
    ids=["table", "materialized view", "values apart from their rows", "parent", "partitioned", "view"],
)  # fmt: skip
@pytest.mark.since(14, "finding a range of pages without reading all others")
def test_rows_are_concatenated_where_pages_hold_all_of_them(
    source_url: str, statements: list[str], expected: bool
) -> None:
    execute(source_url, *statements)
    with snapshots.snapshot(source_url) as (connection, _):
        assert describe(connection, "public", ["t"])["t"].can_concatenate == expected


def test_a_message_is_no_larger_than_its_pages_allow(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t AS SELECT i FROM generate_series(1, 300000) AS i")
    with snapshots.snapshot(source_url) as (connection, _):
        table = describe(connection, "public", ["t"])["t"]
        sizes = [
            len(rows) for rows in arrow(connection, table, concatenated_slice(table, Slice())).to_batches()
        ]
    assert len(sizes) == -(-table.pages // 128)
    assert sum(sizes) == 300_000


def test_columns_named_like_the_query_s_own_are_read(source_url: str) -> None:
    names = 'lines int, pages int, first_page int, message int, "read" text'
    execute(source_url, f"CREATE TABLE t ({names})", "INSERT INTO t VALUES (1, 2, 3, 4, 'five')")
    assert carried(source_url, "t").to_pylist() == [
        {"lines": 1, "pages": 2, "first_page": 3, "message": 4, "read": "five"}
    ]
