"""Values of every type arrive exactly."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from pipeline.columns import Column
from pipeline.errors import SourceError
from pipeline.source import snapshots
from pipeline.source.catalogue import describe
from pipeline.source.changes import Slice
from tests.source.reading import arrow, carried, concatenated_slice, stored
from tests.support import execute, value

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
    table = stored(types_url, type_, values)
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
    table = stored(types_url, type_, values)
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


@pytest.mark.parametrize(("type_", "written", "expected"), PADDED)
def test_blanks_that_postgres_ignores_are_not_read(
    types_url: str, type_: str, written: str, expected: str
) -> None:
    """So that DuckDB and Postgres agree on equality."""
    execute(
        types_url,
        "DROP TABLE IF EXISTS t",
        f"CREATE TABLE t (v {type_})",
        f"INSERT INTO t VALUES ({written})",
    )
    assert carried(types_url, "t")["v"].to_pylist() == [expected]


@pytest.mark.parametrize("locale", ["C", "de_DE.UTF-8", "ja_JP.UTF-8"])
def test_money_is_read_as_a_number_in_every_locale(source_url: str, locale: str) -> None:
    name = source_url.rsplit("/", 1)[1]
    try:
        execute(source_url, f"ALTER DATABASE {name} SET lc_monetary = '{locale}'")
    except psycopg.errors.InvalidParameterValue:
        pytest.skip(f"this machine has no locale {locale}")
    execute(source_url, "CREATE TABLE t AS SELECT 1234.5::money AS v")
    digits = value(source_url, "SELECT scale(v::numeric) FROM t")
    expected = value(source_url, "SELECT v::numeric FROM t")
    table = carried(source_url, "t")
    assert table.schema.field("v").type == pa.decimal128(19, digits)
    assert table["v"].to_pylist() == [expected]


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


def test_a_user_defined_type_has_its_name_without_a_schema(types_url: str) -> None:
    """With any search path: a name with a schema would be another name."""
    execute(
        types_url,
        "DROP TABLE IF EXISTS t",
        'CREATE SCHEMA IF NOT EXISTS "Odd.Schema"',
        """CREATE TYPE "Odd.Schema"."Kind.Of" AS ENUM ('a', 'b')""",
        """CREATE TABLE t AS SELECT 'a'::"Odd.Schema"."Kind.Of" AS k, 'glad'::mood AS m""",
    )
    assert [column.type for column in described(types_url, "t").values()] == ['"Kind.Of"', "mood"]
    execute(types_url, "DROP TABLE t", 'DROP SCHEMA "Odd.Schema" CASCADE')


def test_not_a_number_stays_not_a_number(types_url: str) -> None:
    execute(
        types_url, "DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT 'NaN'::float8 AS v, '-0'::float8 AS z"
    )
    row = carried(types_url, "t").to_pylist()[0]
    assert str(row["v"]) == "nan"
    assert str(row["z"]) == "-0.0"


@pytest.mark.parametrize("concatenated", [False, True])
def test_a_value_that_its_arrow_type_lacks_is_refused(types_url: str, concatenated: bool) -> None:
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
