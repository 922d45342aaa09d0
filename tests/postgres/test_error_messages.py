"""Errors of Postgres, DuckDB, Arrow and pydantic show no value of a row."""

from __future__ import annotations

import duckdb
import psycopg
import pyarrow as pa
import pytest

from pipeline import messages
from tests.support import execute, query

# A failing statement with a value that must not be shown, and the message.
FAULTS = {
    "a number": (
        "SELECT 'Ann-Secret'::int",
        r"invalid text representation \(SQLSTATE 22P02\), type integer; TOTESYS_SHOW_VALUES=true shows",
    ),
    "a date": ("SELECT '2024-02-30'::date", r"datetime field overflow \(SQLSTATE 22008\)"),
    "a range": ("SELECT 987654::text::smallint", r"numeric value out of range.*, type smallint"),
    "a key": (
        "INSERT INTO people VALUES ('Ann-Secret', 1), ('Ann-Secret', 1)",
        r'duplicate key value violates unique constraint "people_pkey", key \(name, age\)',
    ),
    "a rule": ("INSERT INTO people VALUES ('Ann-Secret', 200)", r'violates check constraint "young"'),
    "a NULL": (
        "INSERT INTO people VALUES ('Ann-Secret', NULL)",
        r'null value in column "age" .*, column age$',
    ),
    "a trigger": (
        "DO $$ BEGIN RAISE EXCEPTION 'not Ann-Secret'; END $$",
        r"a trigger or function of the database refuses a row or a statement \(SQLSTATE P0001\)",
    ),
    "a trigger with a code of its own": (
        "DO $$ BEGIN RAISE EXCEPTION 'not Ann-Secret' USING ERRCODE = 'object_in_use'; END $$",
        r"a trigger or function of the database refuses a row or a statement \(SQLSTATE 55006\)",
    ),
    "a statement that a trigger runs": (
        "DO $$ BEGIN EXECUTE 'SELECT \"Ann-Secret\"'; END $$",
        r"a trigger or function of the database refuses a row or a statement \(SQLSTATE 42703\)",
    ),
    "a table that a trigger names without its schema": (
        "DO $$ BEGIN PERFORM 'Ann-Secret' FROM nowhere; END $$",
        r"function of the database fails: undefined table \(SQLSTATE 42P01\); .* the schema before",
    ),
    "no table": ("SELECT 'Ann-Secret' FROM nowhere", r'^relation "nowhere" does not exist$'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_of_postgres_shows_no_value(warehouse_url: str, fault: str) -> None:
    statement, pattern = FAULTS[fault]
    columns = "name text, age int CONSTRAINT young CHECK (age < 100), PRIMARY KEY (name, age)"
    execute(warehouse_url, f"CREATE TABLE people ({columns})")
    with pytest.raises(psycopg.Error) as caught:
        query(warehouse_url, statement)
    found = messages.message(caught.value)
    assert not [value for value in ("Secret", "2024-02-30", "987654", "(200") if value in found]
    with pytest.raises(psycopg.Error, match=pattern):
        raise messages.cleaned(caught.value)


def test_an_error_of_copy_names_the_column(warehouse_url: str) -> None:
    execute(warehouse_url, "CREATE TABLE people (name text, age int)")
    with (
        psycopg.connect(warehouse_url) as connection,
        pytest.raises(psycopg.DataError) as caught,
        connection.cursor().copy("COPY people FROM STDIN (FORMAT csv)") as copy,
    ):
        copy.write("Ann,Secret: 12\n")
    assert messages.message(caught.value).startswith(
        "invalid text representation (SQLSTATE 22P02), column age, type integer; "
    )


@pytest.mark.parametrize(
    ("expression", "pattern"),
    [
        (
            "CAST(x AS INTEGER) FROM (VALUES ('it''s Secret')) t(x)",
            "Conversion Error: a value of x does not fit integer; ",
        ),
        (
            "CAST(x AS DATE) FROM (VALUES ('2024-02-30')) t(x)",
            "Conversion Error: a value of x does not fit date; ",
        ),
        ("strptime(x, '%Y') FROM (VALUES ('Secret')) t(x)", "Invalid Input Error: a value does not fit; "),
        (
            "regexp_matches('a', x) FROM (VALUES ('(Secret')) t(x)",
            "Invalid Input Error: a value does not fit; ",
        ),
        ("x * x FROM (VALUES (987654::INTEGER)) t(x)", "Out of Range Error: a value does not fit integer; "),
        (
            "(SELECT x FROM (VALUES (1), (2)) t(x))",
            "Invalid Input Error: More than one row returned by a subquery",
        ),
        ("lable FROM (VALUES (1)) t(label)", 'Binder Error: Referenced column "lable" not found'),
    ],
)
def test_an_error_of_duckdb_shows_no_value(expression: str, pattern: str) -> None:
    with pytest.raises(duckdb.Error) as caught:
        duckdb.connect().execute(f"SELECT {expression}").fetchall()
    found = messages.message(caught.value)
    assert found.startswith(pattern)
    assert not [value for value in ("Secret", "2024-02-30", "987654") if value in found]


def test_an_error_of_arrow_shows_no_value() -> None:
    with pytest.raises(pa.ArrowInvalid) as caught:
        pa.array(["Secret"]).cast(pa.int32())
    assert messages.message(caught.value).startswith("a value does not fit int32; ")


def test_one_setting_shows_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTESYS_SHOW_VALUES", "true")
    messages.shows_values.cache_clear()
    try:
        with pytest.raises(pa.ArrowInvalid) as caught:
            pa.array(["Ann"]).cast(pa.int32())
        assert "'Ann'" in messages.message(caught.value)
    finally:
        messages.shows_values.cache_clear()
