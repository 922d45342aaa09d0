"""Values of every type, and columns of any name, reach the warehouse unchanged."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from pipeline.lake.buckets import Bucket
from tests.house import Warehouse, plan_batch
from tests.made_up import MadeUp
from tests.support import execute, query, write_models
from tests.warehouse.shops import MODELS, TABLES

TYPES: dict[str, tuple[str, str, list[str | None]]] = {
    "s": ("smallint", "smallint", ["-32768", None, "7"]),
    "l": ("bigint", "bigint", ["9223372036854775807", "-9223372036854775808", None]),
    "n": ("numeric", "numeric", ["3.50", "NaN", "1e-30"]),
    "d": ("numeric(38,4)", "numeric(38,4)", ["-1234567890123456789012345678901234.5678", "0.0001", None]),
    "r": ("real", "real", ["0.1", "NaN", "-Infinity"]),
    "f": ("double precision", "double precision", ["5e-324", "1.7976931348623157e308", "-0"]),
    "b": ("boolean", "boolean", ["t", "f", None]),
    "x": ("text", "varchar", ["", None, "\\N line\n\"two\"\r\n'\\.'\t\\ 🧾 ,;"]),
    "x2": ("text", "text", ["\\.", "\n", " "]),
    "c": ("char(5)", "char(5)", ["a", "", None]),
    "da": ("date", "date", ["infinity", "0044-03-15 BC", "20223-01-01"]),
    "ti": ("time", "time", ["24:00:00", "00:00:00.000001", None]),
    "ts": ("timestamp", "timestamp", ["-infinity", "0044-03-15 12:00:00.5 BC", "20223-01-01 00:00:01"]),
    "tz": (
        "timestamptz",
        "timestamptz",
        ["infinity", "0044-03-15 12:00:00+02 BC", "2024-02-29 23:59:59.999999-08"],
    ),
    "tt": ("timetz", "timetz", ["10:00:00+05:30", None, "24:00:00-01"]),
    "iv": ("interval", "interval", ["1 mon", "30 days", "-1 year 00:00:01.5"]),
    "u": ("uuid", "uuid", ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", None, None]),
    "j": ("jsonb", "jsonb", ['{"a": [1.50, null, "\\\\N"]}', "null", None]),
    "a": ("text[]", "text[]", ['{"a,b",NULL,"NULL","\\"",""}', "{}", None]),
    "ba": ("bytea", "bytea", ["\\x", "\\x00ff0a5c22", None]),
    "i": ("inet", "inet", ["::1/64", "10.0.0.1", None]),
    "e": ("mood", "mood", ["so so", "O'Keefe", None]),
}


@pytest.mark.parametrize("kind", ["fact", "dim"])
def test_values_of_each_type_are_equal_in_source_and_warehouse(
    source_url: str, warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path, kind: str
) -> None:
    enum = "CREATE TYPE mood AS ENUM ('glad', 'so so', 'O''Keefe')"
    execute(
        source_url,
        enum,
        f"CREATE TABLE t (id int PRIMARY KEY, {', '.join(f'{n} {c[0]}' for n, c in TYPES.items())})",
    )
    execute(warehouse_url, enum)
    names = ", ".join(TYPES)
    declared = ", ".join(f"{name} {case[1]}" for name, case in TYPES.items())
    schema = f"CREATE TABLE IF NOT EXISTS {kind}_t (id int PRIMARY KEY, {declared});"
    if kind == "fact":
        schema = schema.replace("int PRIMARY KEY", "int NOT NULL")
    write_models(
        tmp_path / "models", {f"{kind}_t": f"-- key: id\nSELECT id, {names} FROM t", "schema": schema}
    )
    house = Warehouse(warehouse_url, tmp_path / "models", raw, processed)
    shown = ", ".join(f"{name}::text" for name in TYPES)
    for first in (0, 10):  # the first batch fills the table, the second is merged
        with psycopg.connect(source_url) as connection:
            for place in range(3):
                values = [case[2][place] for case in TYPES.values()]
                casts = ", ".join(f"%s::text::{case[0]}" for case in TYPES.values())
                connection.execute(f"INSERT INTO t VALUES (%s, {casts})".encode(), [first + place, *values])
        _, manifest = plan_batch(source_url, house)
        assert manifest is not None
        house.bring(manifest)
        assert house.rejected() == []
        source_rows = query(source_url, f"SELECT id, {shown} FROM t ORDER BY id")
        assert house.query(f"SELECT id, {shown} FROM {kind}_t ORDER BY id") == source_rows
    _, manifest = plan_batch(source_url, house, full=True)
    assert manifest is not None
    (counts,) = house.bring(manifest).values()
    assert counts.summary == "nothing new"


def test_a_change_to_an_equal_value_that_prints_differently_is_a_change(
    source_url: str, warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    files = {
        "fact_t": "-- key: id\nSELECT id, i, j, c FROM t",
        "schema": "CREATE TABLE IF NOT EXISTS fact_t (id int NOT NULL, i interval, j jsonb, c varchar)",
    }
    write_models(tmp_path / "models", files)
    house = Warehouse(warehouse_url, tmp_path / "models", raw, processed)
    execute(source_url, "CREATE TABLE t (id int PRIMARY KEY, i interval, j jsonb, c varchar)")
    execute(source_url, "INSERT INTO t VALUES (1, '30 days', '1.0', 'a')")
    changes = [
        "",
        "UPDATE t SET i = '1 mon'",
        "UPDATE t SET j = '1.00'",
        "UPDATE t SET c = 'a '",
        "UPDATE t SET c = 'a '",
    ]
    for change in changes:
        execute(source_url, *filter(None, [change]))
        _, manifest = plan_batch(source_url, house)
        assert manifest is not None
        house.bring(manifest)
    assert house.query("SELECT i::text, j::text, c FROM fact_t ORDER BY recorded_at") == [
        ("30 days", "1.0", "a"),
        ("1 mon", "1.0", "a"),
        ("1 mon", "1.00", "a"),
        ("1 mon", "1.00", "a "),
    ]


@pytest.mark.parametrize("kind", ["fact", "dim"])
def test_columns_may_have_names_that_the_engine_uses(house: Warehouse, raw: Bucket, kind: str) -> None:
    names = (
        "t",
        "s",
        "d",
        "o",
        "r",
        "version",
        "key",
        "row",
        "new",
        "stage",
        "reason",
        "waits",
        "moment",
        "latest",
        "select",
    )
    columns = ", ".join(f'"{name}"' for name in names)
    declared = ", ".join(f'"{name}" integer' for name in names)
    files = {
        f"{kind}_odd": f"-- key: id\nSELECT id, {columns} FROM odd",
        "schema": MODELS["schema"]
        + f"CREATE TABLE IF NOT EXISTS {kind}_odd (id integer NOT NULL, {declared});",
    }
    write_models(house.folder, files)
    batches = MadeUp(raw, TABLES | {"odd": ({"id": "integer"} | dict.fromkeys(names, "integer"), ("id",))})
    first = {"id": 1} | {name: place for place, name in enumerate(names)}
    for row in (first, first | {"t": 100}, first | {"d": 200}):
        house.bring(batches.batch({"odd": [row]}))
    history = house.query(f"SELECT t, d, {columns} FROM {kind}_odd_history ORDER BY valid_to")
    assert [row[:2] for row in history] == [(0, 2), (100, 2), (0, 200)]
    assert all(row[5:] == tuple(range(3, len(names))) for row in history)
