"""Reading the source: every type exactly, every committed change, one moment for all tables."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest

import pipeline.postgres
from demo.postgres import Postgres
from pipeline.columns import Column, schema_of
from pipeline.errors import SettingsError, SnapshotLost, SourceError
from pipeline.lake.buckets import Bucket
from pipeline.postgres import Connection, Unreachable, transaction
from pipeline.source import read, snapshots
from pipeline.source.catalogue import Table, describe
from pipeline.source.changes import Slice, probe
from pipeline.source.cursors import Cursor
from pipeline.source.read import read_rows
from tests.support import database, execute, value


@pytest.fixture(scope="module", params=[18, 16])
def types_url(servers: Callable[[int], Postgres], request: pytest.FixtureRequest) -> Iterator[str]:
    """One database for all types, in the newest and an older Postgres."""
    with database(servers(request.param), "types") as url:
        execute(
            url,
            "CREATE TYPE mood AS ENUM ('glad', 'so so', 'O''Keefe')",
            "CREATE DOMAIN price AS numeric(10,2) CHECK (value >= 0)",
            "CREATE DOMAIN word AS text",
            "CREATE DOMAIN dear AS price CHECK (value > 1)",
            "CREATE DOMAIN code AS char(5)",
        )
        yield url


def carried(url: str, name: str, slice_: Slice | None = None) -> pa.Table:
    """A table of the source as Arrow; the same whether it comes row by row or in packs."""
    with snapshots.snapshot(url) as (connection, _):
        table = describe(connection, "public", [name])[name]
        rows = arrow(connection, table, slice_ or Slice())
        if table.can_concatenate:
            concatenated = arrow(connection, table, concatenated_slice(table, slice_ or Slice()))
            assert in_order(concatenated) == in_order(rows)
        return rows


def arrow(connection: Connection, table: Table, slice_: Slice) -> pa.Table:
    """A slice of a table as Arrow."""
    batches = read_rows(connection, "public", table.name, table.columns, slice_)
    return pa.Table.from_batches(batches, schema_of(table.columns))


def concatenated_slice(table: Table, slice_: Slice) -> Slice:
    """The same rows, many at a time."""
    return slice_.model_copy(update={"first_page": 0, "end_page": table.pages, "concatenated": True})


def in_order(table: pa.Table) -> tuple[pa.Schema, list[str]]:
    """Types and rows, whatever order they came in; printed, because of what Python lacks."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("t", table)
        rows = connection.sql("SELECT COLUMNS(*)::VARCHAR FROM t").fetchall()
    return table.schema, sorted(map(repr, rows))


def printed(column: pa.ChunkedArray[Any]) -> list[str | None]:
    """Dates and times as DuckDB prints them, which knows what Python does not."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("t", pa.table({"v": column}))
        return [row[0] for row in connection.sql("SELECT v::VARCHAR FROM t").fetchall()]


NASTY = [
    "",
    None,
    " ",
    "NULL",
    "None",
    "nan",
    "t",
    "0",
    "007",
    "\\N",
    "\\.",
    "\\",
    '"',
    '""',
    "'",
    ",",
    ";",
    "a\nb",
    "a\r\nb",
    "\r",
    "\n",
    "\t",
    "line\n\\.\nline",
    "naïve Ω 日本 🧾👩‍👩‍👧",
    "\ufeffmark",
    "\x01\x1f",
    "x" * 100_000,
]
DIGITS = "-" + "1234567890" * 99 + ".0987654321"

EXACT: list[tuple[str, list[Any], pa.DataType]] = [
    ("smallint", [-32768, 0, None, 32767], pa.int16()),
    ("integer", [-(2**31), None, 2**31 - 1], pa.int32()),
    ("bigint", [-(2**63), 2**53 + 1, None, 2**63 - 1], pa.int64()),
    ("boolean", [True, False, None], pa.bool_()),
    (
        "numeric(10,2)",
        [Decimal("3.50"), Decimal("-99999999.99"), Decimal("0.00"), None],
        pa.decimal128(10, 2),
    ),
    ("numeric(38,19)", [Decimal("1234567890123456789.0123456789012345678")], pa.decimal128(38, 19)),
    ("price", [Decimal("3.50"), None], pa.decimal128(10, 2)),
    ("dear", [Decimal("3.50"), None], pa.decimal128(10, 2)),
    ("money", [Decimal("1234.50"), Decimal("-92233720368547758.08"), None], pa.decimal128(19, 2)),
    ("real", [0.0, 1.5, -0.10000000149011612, float("inf"), None], pa.float32()),
    (
        "double precision",
        [1.7976931348623157e308, 5e-324, -2.2250738585072014e-308, 0.1, float("inf"), float("-inf"), None],
        pa.float64(),
    ),
    ("text", NASTY, pa.string()),
    ("word", NASTY, pa.string()),
    ("varchar(7)", ["0001234", "", None, "7 signs"], pa.string()),
    ("mood", ["so so", "O'Keefe", None], pa.string()),
    ("date", [date(2023, 12, 31), date(1, 1, 1), date(9999, 12, 31), None], pa.date32()),
    ("time", [time(23, 59, 59, 999999), time(0), None], pa.time64("us")),
    (
        "timestamp",
        [datetime(2023, 11, 6, 8, 0, 0, 123456), datetime(1969, 12, 31, 23, 59), None],
        pa.timestamp("us"),
    ),
    ("timestamp(3)", [datetime(2023, 11, 6, 8, 0, 0, 123000), None], pa.timestamp("us")),
    ("timestamptz", [datetime(2023, 11, 6, 8, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
]


@pytest.mark.parametrize(("type_", "values", "arrow"), EXACT, ids=[case[0] for case in EXACT])
def test_a_type_arrives_exactly(types_url: str, type_: str, values: list[Any], arrow: pa.DataType) -> None:
    with psycopg.connect(types_url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS t; CREATE TABLE t (v {type_}, place int)".encode())
        cast = f"INSERT INTO t VALUES (%s::{type_}, %s)".encode()
        connection.cursor().executemany(cast, [(given, place) for place, given in enumerate(values)])
    table = carried(types_url, "t").sort_by("place")
    assert table.schema.field("v").type == arrow
    assert table["v"].to_pylist() == values


AS_TEXT: list[tuple[str, list[str]]] = [
    ("numeric", ["3.50", "3.5", "NaN", DIGITS, "0.00"]),
    ("numeric(60,2)", ["1" * 58 + ".25"]),
    ("uuid", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("jsonb", ['{"a": [1, 2.50, "x\\ny", null], "é": "\\"q\\""}', "null", '""', "3.50"]),
    ("json", ['{ "b":1, "b":2 ,"a":"\\u00e9"}']),
    ("integer[]", ["{1,NULL,3}", "{}", "{{1,2},{3,4}}"]),
    ("text[]", ['{"a,b","NULL",NULL,"\\"q\\"","\\\\N",""}']),
    ("bytea", ["\\x", "\\x00ff5c2e0a"]),
    ("interval", ["1 year 2 mons 3 days 04:05:06.789", "-00:00:01"]),
    ("timetz", ["24:00:00+00", "10:30:00.5-07:30"]),
    ("inet", ["10.0.0.1", "::1/64"]),
    ("int4range", ["[1,5)", "empty"]),
]


LATER = [
    pytest.param(type_, values, marks=pytest.mark.since(version, what), id=what)
    for version, what, type_, values in [
        (14, "an infinite numeric", "numeric", ["Infinity", "-Infinity"]),
        (15, "a negative scale", "numeric(3,-2)", ["12300"]),
    ]
]


@pytest.mark.parametrize(
    ("type_", "values"), [*(pytest.param(*case, id=case[0]) for case in AS_TEXT), *LATER]
)
def test_other_types_arrive_as_the_text_that_postgres_reads_back(
    types_url: str, type_: str, values: list[str]
) -> None:
    with psycopg.connect(types_url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS t; CREATE TABLE t (v {type_}, place int)".encode())
        cast = f"INSERT INTO t VALUES (%s::text::{type_}, %s)".encode()
        connection.cursor().executemany(cast, [(given, place) for place, given in enumerate(values)])
    table = carried(types_url, "t").sort_by("place")
    assert table.schema.field("v").type == pa.string()
    assert table["v"].to_pylist() == values


PADDED = [
    ("char(5)", "'a'", "a"),
    ("char(5)", "' a b '", " a b"),
    ("char(5)", "''", ""),
    ("bpchar", "'a  '", "a"),
    ("code", "'a'", "a"),
    ("char(5)[]", "ARRAY['a', 'b,']", '{a,"b,"}'),
    ("code[]", "ARRAY['a', NULL]::code[]", "{a,NULL}"),
    ("varchar(5)", "'a '", "a "),
    ("text[]", "ARRAY['a ']", '{"a "}'),
    ("money[]", "ARRAY[1.5::money]", "{1.50}"),
]


@pytest.mark.parametrize(("type_", "given", "wanted"), PADDED)
def test_blanks_that_do_not_count_for_postgres_are_not_read(
    types_url: str, type_: str, given: str, wanted: str
) -> None:
    """So that DuckDB finds the same rows equal."""
    execute(
        types_url, "DROP TABLE IF EXISTS t", f"CREATE TABLE t (v {type_})", f"INSERT INTO t VALUES ({given})"
    )
    assert carried(types_url, "t")["v"].to_pylist() == [wanted]


@pytest.mark.parametrize("locale", ["C", "de_DE.UTF-8", "ja_JP.UTF-8"])
def test_money_is_read_as_a_number_in_every_locale(source_url: str, locale: str) -> None:
    name = source_url.rsplit("/", 1)[1]
    try:
        execute(source_url, f"ALTER DATABASE {name} SET lc_monetary = '{locale}'")
    except psycopg.errors.InvalidParameterValue:
        pytest.skip(f"this machine has no locale {locale}")
    execute(source_url, "CREATE TABLE t AS SELECT 1234.5::money AS v")
    digits = value(source_url, "SELECT scale(v::numeric) FROM t")
    wanted = value(source_url, "SELECT v::numeric FROM t")
    table = carried(source_url, "t")
    assert table.schema.field("v").type == pa.decimal128(19, digits)
    assert table["v"].to_pylist() == [wanted]


def described(url: str, name: str) -> dict[str, Column]:
    """The columns of a source table by name."""
    with snapshots.snapshot(url) as (connection, _):
        return {column.name: column for column in describe(connection, "public", [name])[name].columns}


def test_the_order_of_labels_is_described(types_url: str) -> None:
    execute(
        types_url,
        "DROP TABLE IF EXISTS t",
        "CREATE DOMAIN feeling AS mood",
        "CREATE TABLE t (m mood, d feeling, a mood[], i int)",
    )
    columns = described(types_url, "t")
    labels = ("glad", "so so", "O'Keefe")
    assert {name: column.labels for name, column in columns.items()} == {
        "m": labels, "d": labels, "a": (), "i": (),
    }  # fmt: skip
    assert [columns[name].type for name in "mda"] == ["mood", "mood", "mood[]"]
    execute(types_url, "DROP TABLE t", "DROP DOMAIN feeling")


def test_a_type_of_the_source_s_own_goes_by_its_bare_name(types_url: str) -> None:
    """Whatever the search path is: a name with its schema would be another one."""
    execute(
        types_url,
        "DROP TABLE IF EXISTS t",
        'CREATE SCHEMA IF NOT EXISTS "Odd.Schema"',
        """CREATE TYPE "Odd.Schema"."Kind.Of" AS ENUM ('a', 'b')""",
        """CREATE TABLE t AS SELECT 'a'::"Odd.Schema"."Kind.Of" AS k, 'glad'::mood AS m""",
    )
    assert [column.type for column in described(types_url, "t").values()] == ['"Kind.Of"', "mood"]
    execute(types_url, "DROP TABLE t", 'DROP SCHEMA "Odd.Schema" CASCADE')


FAR_AWAY: list[tuple[str, list[str], list[str]]] = [
    (
        "date",
        [
            "infinity",
            "-infinity",
            "0044-03-15 BC",
            "20223-01-01",
            "4713-01-01 BC",
            "5874897-12-31",
            "2024-02-29",
        ],
        [
            "infinity",
            "-infinity",
            "0044-03-15 (BC)",
            "20223-01-01",
            "4713-01-01 (BC)",
            "5874897-12-31",
            "2024-02-29",
        ],
    ),
    (
        "timestamp",
        [
            "infinity",
            "-infinity",
            "0044-03-15 12:00:00.5 BC",
            "20223-01-01 01:02:03.000004",
            "294246-12-31 23:59:59",
        ],
        [
            "infinity",
            "-infinity",
            "0044-03-15 (BC) 12:00:00.5",
            "20223-01-01 01:02:03.000004",
            "294246-12-31 23:59:59",
        ],
    ),
    (
        "timestamptz",
        [
            "infinity",
            "-infinity",
            "0044-03-15 12:00:00.5+00 BC",
            "20223-01-01 01:02:03+00",
            "2024-01-01 00:00:00+02",
        ],
        [
            "infinity",
            "-infinity",
            "0044-03-15 (BC) 12:00:00.5+00",
            "20223-01-01 01:02:03+00",
            "2023-12-31 22:00:00+00",
        ],
    ),
    ("time", ["24:00:00", "12:00:00"], ["24:00:00", "12:00:00"]),
]


@pytest.mark.parametrize(("type_", "given", "wanted"), FAR_AWAY, ids=[case[0] for case in FAR_AWAY])
def test_dates_and_times_that_python_lacks_arrive(
    types_url: str, type_: str, given: list[str], wanted: list[str]
) -> None:
    with psycopg.connect(types_url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS t; CREATE TABLE t (v {type_}, place int)".encode())
        cast = f"INSERT INTO t VALUES (%s::text::{type_}, %s)".encode()
        connection.cursor().executemany(cast, [(text, place) for place, text in enumerate(given)])
    assert printed(carried(types_url, "t").sort_by("place")["v"]) == wanted


def test_not_a_number_stays_one(types_url: str) -> None:
    execute(
        types_url, "DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT 'NaN'::float8 AS v, '-0'::float8 AS z"
    )
    row = carried(types_url, "t").to_pylist()[0]
    assert str(row["v"]) == "nan"
    assert str(row["z"]) == "-0.0"


@pytest.mark.parametrize("concatenated", [False, True])
def test_a_value_that_its_arrow_type_lacks_is_refused_in_words(types_url: str, concatenated: bool) -> None:
    execute(types_url, "DROP TABLE IF EXISTS t")
    execute(types_url, "CREATE TABLE t AS SELECT 1 AS id, 'NaN'::numeric(10,2) AS amount, true AS paid")
    with snapshots.snapshot(types_url) as (connection, _):
        table = describe(connection, "public", ["t"])["t"]
        with pytest.raises(SourceError, match=r"source: table t, column amount: a value cannot be carried"):
            arrow(connection, table, concatenated_slice(table, Slice()) if concatenated else Slice())


def test_columns_that_postgres_computes_are_read(source_url: str) -> None:
    execute(
        source_url,
        "CREATE TABLE t (net numeric(10,2), gross numeric(10,2) GENERATED ALWAYS AS (net * 1.2) STORED)",
        "INSERT INTO t VALUES (10)",
    )
    assert carried(source_url, "t").to_pylist() == [{"net": Decimal("10.00"), "gross": Decimal("12.00")}]


def test_a_single_column_of_nulls_keeps_its_rows(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (v text)", "INSERT INTO t VALUES (NULL), (''), (NULL)")
    assert carried(source_url, "t")["v"].to_pylist() == [None, "", None]


def test_an_empty_table_has_its_columns(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (a int, b jsonb, c timestamptz)")
    table = carried(source_url, "t")
    assert (table.num_rows, table.schema.names) == (0, ["a", "b", "c"])


@pytest.mark.parametrize("size", [1, 100, 5_000])
def test_rows_larger_than_a_chunk_and_chunks_of_any_size(
    source_url: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(read, "_BUFFER_BYTES", size)
    execute(
        source_url, "CREATE TABLE t AS SELECT i, repeat(E'a\"\\n,', i) AS v FROM generate_series(0, 200) AS i"
    )
    rows = carried(source_url, "t").sort_by("i").to_pylist()
    assert rows == [{"i": i, "v": 'a"\n,' * i} for i in range(201)]


def test_a_byte_order_mark_at_the_start_of_a_chunk_is_data(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (v text)", "INSERT INTO t VALUES (U&'\\FEFFfirst'), ('second')")
    assert carried(source_url, "t")["v"].to_pylist() == ["\ufefffirst", "second"]


def test_names_are_taken_as_they_are(source_url: str) -> None:
    execute(
        source_url,
        'CREATE TABLE "transaction" (id int PRIMARY KEY)',
        'CREATE TABLE "Odd ""Name" ("Mixed Case" int, "select" text, "a,b" int)',
        'ALTER TABLE "Odd ""Name" ADD PRIMARY KEY ("select", "Mixed Case")',
        'INSERT INTO "transaction" VALUES (1)',
        """INSERT INTO "Odd ""Name" VALUES (1, 'x', 2)""",
    )
    assert carried(source_url, "transaction").to_pylist() == [{"id": 1}]
    assert carried(source_url, 'Odd "Name').to_pylist() == [{"Mixed Case": 1, "select": "x", "a,b": 2}]
    with snapshots.snapshot(source_url) as (connection, _):
        assert describe(connection, "public", ['Odd "Name'])['Odd "Name'].key == ("select", "Mixed Case")


def test_a_dropped_column_leaves_no_trace(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (a int, b int, c int)", "INSERT INTO t VALUES (1, 2, 3)")
    execute(source_url, "ALTER TABLE t DROP COLUMN b")
    assert carried(source_url, "t").to_pylist() == [{"a": 1, "c": 3}]


def test_only_named_tables_of_the_schema_are_described(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (a int)", "CREATE SCHEMA other", "CREATE TABLE other.u (a int)")
    with snapshots.snapshot(source_url) as (connection, _):
        assert describe(connection, "public", ["t", "u", "missing"]).keys() == {"t"}


# One moment


def test_what_commits_after_the_snapshot_is_not_seen(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)")
    with snapshots.snapshot(source_url) as (_, snapshot):
        execute(
            source_url, "INSERT INTO t VALUES (2)", "UPDATE t SET a = 10 WHERE a = 1", "CREATE TABLE u ()"
        )
        with snapshots.adopt(source_url, snapshot.name) as connection:
            table = describe(connection, "public", ["t"])["t"]
            (batch,) = read_rows(connection, "public", "t", table.columns, Slice())
    assert batch.to_pylist() == [{"a": 1}]


def test_a_snapshot_that_has_ended_is_lost(source_url: str) -> None:
    with snapshots.snapshot(source_url) as (_, snapshot):
        name = snapshot.name
    for gone in (name, "0000FFFF-00000001-1"):
        with (
            pytest.raises(SnapshotLost, match=f"snapshot {gone} has ended"),
            snapshots.adopt(source_url, gone),
        ):
            pass


def test_a_snapshot_says_whose_moment_it_is(source_url: str) -> None:
    with snapshots.snapshot(source_url) as (_, one), snapshots.snapshot(source_url) as (_, two):
        assert one.identity == two.identity
        assert one.taken_at <= two.taken_at
        assert one.xmin <= one.xmax
    other = source_url.rsplit("/", 1)[0] + "/postgres"
    with snapshots.snapshot(other) as (_, elsewhere):
        assert elsewhere.identity != one.identity


def test_the_source_is_only_read(source_url: str) -> None:
    with (
        snapshots.snapshot(source_url) as (connection, _),
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        connection.execute("CREATE TABLE t ()")


@pytest.mark.parametrize("pages_per_message", [0, 1, 2, 1000])
@pytest.mark.parametrize("pages_per_chunk", [1, 3, 7, 1000])
def test_ranges_of_pages_cover_a_table_exactly(
    source_url: str, monkeypatch: pytest.MonkeyPatch, pages_per_chunk: int, pages_per_message: int
) -> None:
    monkeypatch.setattr(read, "_PAGES_PER_MESSAGE", pages_per_message)
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
        found = [str(i) for slice_ in slices for i in arrow(connection, table, slice_)["i"].to_pylist()]
    assert sorted(map(int, found)) == [i for i in range(1, 151) if i % 7]


@pytest.mark.parametrize(
    ("statements", "packs"),
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
def test_rows_come_in_packs_where_pages_hold_all_of_them(
    source_url: str, statements: list[str], packs: bool
) -> None:
    execute(source_url, *statements)
    with snapshots.snapshot(source_url) as (connection, _):
        assert describe(connection, "public", ["t"])["t"].can_concatenate == packs


def test_a_pack_is_no_larger_than_its_pages_allow(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t AS SELECT i FROM generate_series(1, 300000) AS i")
    with snapshots.snapshot(source_url) as (connection, _):
        table = describe(connection, "public", ["t"])["t"]
        sizes = [
            len(rows) for rows in arrow(connection, table, concatenated_slice(table, Slice())).to_batches()
        ]
    assert len(sizes) == -(-table.pages // 128)
    assert sum(sizes) == 300_000


def test_columns_named_like_the_query_s_own_are_read(source_url: str) -> None:
    names = 'lines int, pages int, first_page int, pack int, "read" text'
    execute(source_url, f"CREATE TABLE t ({names})", "INSERT INTO t VALUES (1, 2, 3, 4, 'five')")
    assert carried(source_url, "t").to_pylist() == [
        {"lines": 1, "pages": 2, "first_page": 3, "pack": 4, "read": "five"}
    ]


# What no snapshot shields from


REWRITES = ["TRUNCATE t", "VACUUM FULL t", "ALTER TABLE t ALTER i TYPE bigint"]


@pytest.mark.parametrize("rewrite", REWRITES)
def test_a_table_keeps_its_rows_while_a_batch_reads_it(source_url: str, rewrite: str) -> None:
    execute(source_url, "CREATE TABLE t (i int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    with snapshots.snapshot(source_url) as (connection, _):
        table = describe(connection, "public", ["t"])["t"]
        with pytest.raises(psycopg.errors.LockNotAvailable):
            execute(source_url, "SET lock_timeout = 50", rewrite)
        assert arrow(connection, table, Slice()).num_rows == 1


def test_somebody_who_waits_to_alter_a_table_is_let_past(
    source_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind them a reader would wait for ever: they wait for who holds the snapshot, who waits for it."""
    monkeypatch.setattr(snapshots, "LOCK_WAIT", 50)
    execute(source_url, "CREATE TABLE t (i int)", "INSERT INTO t VALUES (1)")
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
    with ThreadPoolExecutor(1) as somebody:
        with snapshots.snapshot(source_url) as (connection, snapshot):
            table = describe(connection, "public", ["t"])["t"]
            altered = somebody.submit(
                execute, source_url, "SET lock_timeout = '20s'", "ALTER TABLE t ADD COLUMN j int"
            )
            while value(source_url, waiting) == 0:
                assert not altered.done()
            with (
                snapshots.adopt(source_url, snapshot.name) as reader,
                pytest.raises(SourceError, match=r"source: t: another session waits to alter.*run again"),
            ):
                arrow(reader, table, Slice())
        altered.result()
    assert carried(source_url, "t").column_names == ["i", "j"]


@pytest.mark.parametrize("rewrite", REWRITES)
def test_a_table_rewritten_since_the_snapshot_is_not_read(source_url: str, rewrite: str) -> None:
    execute(source_url, "CREATE TABLE t (i int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    with snapshots.snapshot(source_url) as (connection, _):
        execute(source_url, rewrite)
        with pytest.raises(
            SourceError, match="table t was emptied or rewritten while this run started; run again"
        ):
            describe(connection, "public", ["t"])


def test_a_table_whose_index_alone_is_new_is_read(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (i int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    with snapshots.snapshot(source_url) as (connection, _):
        execute(source_url, "REINDEX TABLE t")
        assert describe(connection, "public", ["t"]).keys() == {"t"}


def test_a_partition_emptied_since_the_snapshot_is_noticed(source_url: str) -> None:
    execute(
        source_url,
        "CREATE TABLE t (i int) PARTITION BY HASH (i)",
        "CREATE TABLE p PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "INSERT INTO t VALUES (1)",
    )
    with snapshots.snapshot(source_url) as (connection, _):
        execute(source_url, "TRUNCATE p")
        with pytest.raises(SourceError, match="table t was emptied"):
            describe(connection, "public", ["t"])


# Every committed change


class Schedule:
    """Concurrent transactions on one table, some of which commit late, and what they left."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.random = random.Random(seed)
        execute(url, "CREATE TABLE t (id int PRIMARY KEY, v int)")
        execute(url, "INSERT INTO t SELECT i, 0 FROM generate_series(1, 40) AS i")
        self.open: list[psycopg.Connection] = []
        self.held: dict[psycopg.Connection, set[int]] = {}
        self.next_id = 100

    def step(self) -> None:
        """Begin, write, nest, commit or roll back, whatever comes."""
        if not self.open or (len(self.open) < 4 and self.random.random() < 0.3):
            connection = psycopg.connect(self.url)
            connection.execute("SELECT 1")
            self.open.append(connection)
            self.held[connection] = set()
            return
        connection = self.random.choice(self.open)
        action = self.random.choice(["write", "write", "write", "nested", "undone", "commit", "rollback"])
        if action in {"commit", "rollback"}:
            self.finish(connection, action)
        elif action == "write":
            self.write(connection)
        else:
            connection.execute("SAVEPOINT s")
            self.write(connection)
            connection.execute("ROLLBACK TO s" if action == "undone" else "RELEASE s")

    def write(self, connection: psycopg.Connection) -> None:
        """Insert, change or delete a row that no other open transaction holds."""
        kind = self.random.choice(["insert", "update", "update", "delete"])
        if kind == "insert":
            self.next_id += 1
            connection.execute("INSERT INTO t VALUES (%s, 0)", [self.next_id])
            return
        taken = set().union(*(ids for other, ids in self.held.items() if other is not connection))
        row = self.random.choice([i for i in range(1, 41) if i not in taken])
        self.held[connection].add(row)
        connection.execute(
            "UPDATE t SET v = v + 1 WHERE id = %s" if kind == "update" else "DELETE FROM t WHERE id = %s",
            [row],
        )

    def finish(self, connection: psycopg.Connection, how: str) -> None:
        """End a transaction one way or the other."""
        self.open.remove(connection)
        del self.held[connection]
        getattr(connection, how)()
        connection.close()

    def finish_all(self) -> None:
        """Commit whatever is open."""
        for connection in list(self.open):
            self.finish(connection, "commit")


@pytest.mark.parametrize("source_version", [16, 18])
@pytest.mark.parametrize("seed", range(4))
def test_every_committed_change_is_in_the_next_slice(source_url: str, seed: int) -> None:
    schedule = Schedule(source_url, seed)
    known: dict[int, int] = {}
    since: int | None = None
    rows_read = rows_there = 0
    try:
        for _ in range(25):
            with snapshots.snapshot(source_url) as (connection, snapshot):
                columns = describe(connection, "public", ["t"])["t"].columns
                slice_ = Slice(since=since)
                read = [
                    (row["id"], row["v"])
                    for batch in read_rows(connection, "public", "t", columns, slice_)
                    for row in batch.to_pylist()
                ]
                there = {
                    int(str(i)): int(str(v)) for i, v in connection.execute("SELECT id, v FROM public.t")
                }
                table = describe(connection, "public", ["t"])["t"]
                survey = probe(connection, "public", [(table, slice_)])["t"]
                assert (survey.total, survey.rows) == (len(there), len(read))
            known.update(read)
            assert {i: v for i, v in known.items() if i in there} == there
            rows_read += len(read)
            rows_there += len(there)
            since = snapshot.xmin
            for _ in range(schedule.random.randrange(12)):
                schedule.step()
    finally:
        schedule.finish_all()
    assert rows_read < rows_there, "a slice holds what changed, not the whole table"


def test_a_late_commit_is_seen_by_the_next_slice_only(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (id int)")
    with psycopg.connect(source_url) as late:
        late.execute("SAVEPOINT s")
        late.execute("INSERT INTO t VALUES (1)")
        late.execute("RELEASE s")
        execute(source_url, "INSERT INTO t VALUES (2)")
        with snapshots.snapshot(source_url) as (_, before):
            pass
        assert carried(source_url, "t").num_rows == 1
        late.commit()
    assert {row["id"] for row in carried(source_url, "t", Slice(since=before.xmin)).to_pylist()} == {1, 2}


def test_nothing_changed_means_nothing_read(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    with snapshots.snapshot(source_url) as (_, before):
        pass
    assert carried(source_url, "t", Slice(since=before.xmin)).num_rows == 0


def test_a_transaction_id_beyond_32_bits_is_compared_in_its_epoch(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    with snapshots.snapshot(source_url) as (_, before):
        pass
    execute(source_url, "INSERT INTO t VALUES (2)")
    later_epoch = Slice(since=before.xmin + 3 * 2**32)
    assert carried(source_url, "t", later_epoch).to_pylist() == [{"id": 2}]


# Relations of other kinds


def test_a_view_is_read_whole_or_by_its_cursor(source_url: str) -> None:
    execute(
        source_url,
        "CREATE TABLE t (id int, changed_at timestamptz)",
        "INSERT INTO t VALUES (1, '2024-01-01'), (2, '2024-01-02 00:30'), (3, '2024-01-03'), (4, NULL)",
        "CREATE VIEW v AS SELECT * FROM t",
    )
    with snapshots.snapshot(source_url) as (connection, _):
        table = describe(connection, "public", ["v"])["v"]
    assert (table.has_xmin, table.has_pages, table.key) == (False, False, ())
    assert carried(source_url, "v").num_rows == 4
    cursor = Cursor(column="changed_at", overlap="1 hour")
    slice_ = Slice(cursor=cursor, reached="2024-01-02 01:00:00+00")
    assert {row["id"] for row in carried(source_url, "v", slice_).to_pylist()} == {2, 3, 4}


def test_a_partitioned_table_is_one_table(source_url: str) -> None:
    execute(
        source_url,
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
        "INSERT INTO t VALUES (1), (11)",
    )
    with snapshots.snapshot(source_url) as (connection, before):
        table = describe(connection, "public", ["t"])["t"]
    assert (table.has_xmin, table.has_pages, table.key) == (True, False, ("id",))
    execute(source_url, "INSERT INTO t VALUES (12)")
    assert carried(source_url, "t").num_rows == 3
    assert carried(source_url, "t", Slice(since=before.xmin)).to_pylist() == [{"id": 12}]


@pytest.mark.parametrize(
    "swap",
    [
        "ALTER TABLE t RENAME TO old; CREATE TABLE t (LIKE old); INSERT INTO t SELECT * FROM old",
        """
        CREATE TABLE p (LIKE t) PARTITION BY RANGE (id);
        ALTER TABLE t RENAME TO leaf;
        ALTER TABLE p RENAME TO t;
        ALTER TABLE t ATTACH PARTITION leaf DEFAULT;
        CREATE TABLE other PARTITION OF t FOR VALUES FROM (100) TO (200)
        """,
    ],
    ids=["renamed", "partition attached"],
)
def test_another_heap_under_the_same_name_is_noticed(source_url: str, swap: str) -> None:
    execute(source_url, "CREATE TABLE t (id int NOT NULL)")

    def heaps() -> str:
        with snapshots.snapshot(source_url) as (connection, _):
            return describe(connection, "public", ["t"])["t"].heaps

    before = heaps()
    execute(source_url, "INSERT INTO t VALUES (1)", "VACUUM FULL t", "TRUNCATE t")
    assert heaps() == before
    execute(source_url, swap)
    assert heaps() != before


# What goes wrong


@pytest.fixture
def reader_url(source_url: str) -> Iterator[str]:
    """A role that may connect and nothing else, named after its database."""
    role = "reader_" + source_url.rsplit("_", 1)[1]
    execute(source_url, f"CREATE ROLE {role} LOGIN PASSWORD 'S3cret-word'")
    _, _, tail = source_url.partition("@")
    yield f"postgresql://{role}:S3cret-word@{tail}"
    execute(source_url, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_role_without_rights_gets_one_line(source_url: str, reader_url: str) -> None:
    execute(source_url, "CREATE TABLE t (id int)")
    with pytest.raises(SourceError) as caught:
        carried(reader_url, "t")
    assert str(caught.value) == "source: permission denied for table t; grant SELECT to the pipeline's role"


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


def test_a_key_that_may_not_be_read_is_none(source_url: str, reader_url: str) -> None:
    role = reader_url.split("/")[2].split(":", maxsplit=1)[0]
    execute(
        source_url,
        "CREATE TABLE t (a int, b int, c int, PRIMARY KEY (a, b))",
        f"GRANT SELECT (a, c) ON t TO {role}",
    )
    with snapshots.snapshot(reader_url) as (connection, _):
        assert describe(connection, "public", ["t"])["t"].key == ()


# Text that is no UTF-8


@pytest.fixture(params=[18, 16])
def ascii_url(servers: Callable[[int], Postgres], request: pytest.FixtureRequest) -> Iterator[str]:
    """A database that takes any bytes for text."""
    server = servers(request.param)
    name = f"ascii_{request.param}"
    execute(server.url("postgres"), f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    yield server.url(name)
    execute(server.url("postgres"), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("concatenated", [False, True])
def test_bytes_that_are_no_text_are_named_by_table_and_column(ascii_url: str, concatenated: bool) -> None:
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


def test_row_level_security_is_an_error_and_not_silence(source_url: str, reader_url: str) -> None:
    role = reader_url.split("/")[2].split(":", maxsplit=1)[0]
    execute(
        source_url,
        "CREATE TABLE t (id int)",
        "INSERT INTO t VALUES (1), (2)",
        f"GRANT SELECT ON t TO {role}",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON t USING (id = 1)",
    )
    with pytest.raises(SourceError, match="row-level security"):
        carried(reader_url, "t")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace(":", ":x", 2).replace("x//", "//", 1), "password authentication failed"),
        (lambda url: url.rsplit("/", 1)[0] + "/nowhere", 'database "nowhere" does not exist'),
    ],
    ids=["password", "database"],
)
def test_a_refused_login_ends_at_once_and_tells_no_password(
    source_url: str, reader_url: str, change: Callable[[str], str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as caught, transaction(change(reader_url), "source"):
        pass
    assert "S3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_that_goes_away_meanwhile_is_named(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (a int, b int)")
    with snapshots.snapshot(source_url) as (connection, _):
        columns = describe(connection, "public", ["t"])["t"].columns
    execute(source_url, "ALTER TABLE t DROP COLUMN b")
    with (
        snapshots.snapshot(source_url) as (connection, _),
        pytest.raises(SourceError, match=r'source: t: column "b" does not exist.*run again'),
    ):
        list(read_rows(connection, "public", "t", columns, Slice()))


def test_a_connection_that_is_cut_on_the_way_is_worth_another_try(
    source_url: str, raw: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "_BUFFER_BYTES", 100_000)
    execute(source_url, "CREATE TABLE t AS SELECT repeat('x', 1000) AS v FROM generate_series(1, 20000)")

    def cut(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield next(batches)
        execute(
            source_url,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        yield from batches

    with (  # noqa: PT012  what is read is written as it comes
        pytest.raises(psycopg.OperationalError),
        snapshots.snapshot(source_url) as (connection, _),
    ):
        table = describe(connection, "public", ["t"])["t"]
        rows = read_rows(connection, "public", "t", table.columns, Slice())
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


def test_a_survey_of_nothing_asks_nothing(source_url: str) -> None:
    with snapshots.snapshot(source_url) as (connection, _):
        assert probe(connection, "public", []) == {}


# Connecting


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(pipeline.postgres, "PAUSES", (0.01, 0.01))


@pytest.mark.usefixtures("impatient")
def test_a_server_that_does_not_answer_is_worth_another_try() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else answers there
        url = f"postgresql://me:S3cret-word@127.0.0.1:{taken.getsockname()[1]}/db"
        with (
            pytest.raises(Unreachable, match="source: cannot be reached: ") as caught,
            transaction(url, "source"),
        ):
            pass
    assert "S3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_comes_back_is_reached(source_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = psycopg.connect, 0

    def restarting(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise psycopg.OperationalError("the database system is starting up")
        return real(*arguments, **options)

    monkeypatch.setattr(psycopg, "connect", restarting)
    with transaction(source_url, "source") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert calls == 3


@pytest.mark.parametrize(
    "url", ["postgresql://me:S3cret-word@127.0.0.1:99999/db", "postgresql://me:S3cret-word@h/db?nonsense=1"]
)
def test_a_url_that_libpq_refuses_is_a_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="source: ") as caught, transaction(url, "source"):
        pass
    assert "S3cret" not in str(caught.value)
