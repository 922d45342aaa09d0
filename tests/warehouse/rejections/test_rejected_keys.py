"""Rejections by rules, enums and keys that several rows share."""

from __future__ import annotations

import pytest

from tests.pair import Pair
from tests.support import execute
from tests.warehouse.rejections.shop import aside, log, sales


def test_a_key_of_rows_in_two_batches_is_rejected_until_one_is_deleted(shared: Pair) -> None:
    shared.fresh(
        {
            "fact_sale": "-- key: code\nSELECT code, units FROM sale",
            "schema": "CREATE TABLE IF NOT EXISTS fact_sale (code varchar, units integer)",
        },
        "CREATE TABLE sale (sale_id int PRIMARY KEY, code text, units int)",
        "INSERT INTO sale VALUES (1, 'a', 1)",
    )
    rows = "SELECT code, units FROM fact_sale_current"
    shared.run()
    shared.do("INSERT INTO sale VALUES (2, 'a', 2)")
    shared.run()
    assert aside(shared) == [("fact_sale", "a", "more than one row has this key")]
    shared.do("UPDATE sale SET units = 3 WHERE sale_id = 2")
    shared.run()
    assert aside(shared) == [("fact_sale", "a", "more than one row has this key")]
    assert shared.house.query(rows) == [("a", 1)], "no made-up history"
    shared.do("DELETE FROM sale WHERE sale_id = 1")
    shared.run()
    assert (shared.house.query(rows), aside(shared)) == ([("a", 3)], [])


def test_an_accepted_row_that_becomes_invalid_is_a_new_rejection(pair: Pair) -> None:
    for sold_on in ("soon", "2024-03-01", "later"):
        pair.do("DELETE FROM sale WHERE sale_id = 2", f"INSERT INTO sale VALUES (2, 1, '{sold_on}', 1, 1)")
        pair.run()
    assert log(pair) == [("fact_sale", False, 1, 1, True), ("fact_sale", False, 3, 3, False)]
    assert sales(pair) == [1, 2], "the last version that fitted"


RULED = {
    "dim_mood": "SELECT mood_id, mood FROM mood",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, units, code FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_mood (mood_id integer PRIMARY KEY, mood mood NOT NULL);
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_id integer NOT NULL,
            units integer NOT NULL CONSTRAINT some_units CHECK (units > 0),
            code varchar CHECK (code ~ '^[a-z]{2}$'),
            CHECK (units % 100 < 50)
        );
    """,
}


@pytest.fixture
def ruled(shared: Pair) -> Pair:
    """Tables with an enum and CHECK rules."""
    shared.fresh(
        RULED,
        "CREATE TABLE mood (mood_id int PRIMARY KEY, mood text)",
        "CREATE TABLE sale (sale_id int PRIMARY KEY, units int, code text)",
        "INSERT INTO mood VALUES (1, 'calm')",
    )
    execute(shared.house.url, "CREATE TYPE public.mood AS ENUM ('calm', 'it''s \"fine\"')")
    return shared


@pytest.mark.parametrize(
    "first", ["INSERT INTO sale VALUES (1, 1, 'ab')", "SELECT 1"], ids=["merged", "filled"]
)
def test_a_row_that_breaks_a_rule_is_rejected(ruled: Pair, first: str) -> None:
    """In a table with rows, and in an empty one."""
    ruled.do(first)
    ruled.run()
    known = len(sales(ruled))
    ruled.do("INSERT INTO sale VALUES (2, 0, 'ab'), (3, 3, NULL), (4, 75, 'ABC'), (5, 5, 'cd')")
    ruled.run()
    assert [reason.split(", ")[0] for _, _, reason in aside(ruled)] == [
        "breaks the rule some_units",
        "breaks the rule fact_sale_code_check",
    ]
    assert "breaks the rule fact_sale_units_check, CHECK" in aside(ruled)[1][2]
    assert sales(ruled) == [1, 3, 5][1 - known :], "a rule that is NULL for a row is kept"
    constraints = (
        "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid = 'fact_sale'::regclass"
    )
    assert ruled.house.query(constraints) == [(3,)]
    ruled.do("UPDATE sale SET units = 7, code = 'zz' WHERE sale_id IN (2, 4)")
    ruled.run()
    assert sales(ruled) == [1, 2, 3, 4, 5][1 - known :]
    assert aside(ruled) == []


def test_rejected_rows_are_accepted_once_their_rule_is_dropped(ruled: Pair) -> None:
    ruled.do("INSERT INTO sale VALUES (2, 0, 'ab'), (3, 3, 'ab')")
    ruled.run()
    execute(ruled.house.url, "ALTER TABLE fact_sale DROP CONSTRAINT some_units")
    ruled.house.prepared = None
    ruled.do("INSERT INTO sale VALUES (4, 4, 'ab')")
    ruled.run()
    assert sales(ruled) == [2, 3, 4]
    assert aside(ruled) == []


def test_an_unknown_label_is_rejected_until_the_enum_has_it(ruled: Pair) -> None:
    ruled.do("INSERT INTO mood VALUES (2, 'it''s \"fine\"'), (3, 'blue')")
    ruled.run()
    assert aside(ruled) == [("dim_mood", "3", "mood does not fit public.mood")]
    assert ruled.house.query("SELECT mood_id FROM dim_mood ORDER BY 1") == [(1,), (2,)]
    execute(ruled.house.url, "ALTER TYPE public.mood ADD VALUE 'blue'")
    ruled.house.prepared = None
    ruled.run(full=True)
    assert ruled.house.query("SELECT mood_id FROM dim_mood ORDER BY 1") == [(1,), (2,), (3,)]
    assert aside(ruled) == []


def test_all_rows_of_a_repeated_key_are_recorded(shared: Pair) -> None:
    """etl.rejected has one row per key, which lists them."""
    shared.fresh(
        {
            "fact_sale": "-- key: code\nSELECT code, units FROM sale",
            "schema": "CREATE TABLE IF NOT EXISTS fact_sale (code varchar, units integer)",
        },
        "CREATE TABLE sale (sale_id int PRIMARY KEY, code text, units int)",
        "INSERT INTO sale VALUES (1, NULL, 1), (2, NULL, 2), (3, 'a', 3), (4, 'a', 4), (5, 'b', 5)",
    )
    shared.run()
    kept = shared.house.query('SELECT key, reason, "row" FROM etl.rejected ORDER BY key')
    assert kept == [
        (
            {"code": None},
            "code is missing (NULL)",
            [{"code": None, "units": "1"}, {"code": None, "units": "2"}],
        ),
        (
            {"code": "a"},
            "more than one row has this key",
            [{"code": "a", "units": "3"}, {"code": "a", "units": "4"}],
        ),
    ]


def test_a_deleted_row_whose_key_never_fitted_stops_nothing(shared: Pair) -> None:
    """Its rejection is resolved; the batch's other deletions are applied."""
    tables = {
        "fact_length": "varchar(3)",
        "fact_inet": "inet",
        "fact_short": "short",
        "fact_none": "some_text",
    }
    shared.fresh(
        {name: f"-- key: code\nSELECT code, units FROM {name[5:]}" for name in tables}
        | {
            "dim_grouped": "SELECT code, CAST(sum(units) AS bigint) AS units FROM grouped GROUP BY code",
            "schema": "".join(
                f"CREATE TABLE IF NOT EXISTS {name} (code {kind}, units integer);"
                for name, kind in tables.items()
            )
            + "CREATE TABLE IF NOT EXISTS dim_grouped (code varchar(3) PRIMARY KEY, units bigint);",
        },
        *(f"CREATE TABLE {name[5:]} (code text PRIMARY KEY, units int)" for name in tables),
        "CREATE TABLE grouped (sale_id int PRIMARY KEY, code text, units int)",
        "INSERT INTO length VALUES ('abc', 1), ('abcd', 2), ('abcde', 3)",
        "INSERT INTO inet VALUES ('10.0.0.1', 1), ('10.0.0.2', 2), ('nowhere', 3)",
        "INSERT INTO short VALUES ('a', 1), ('ab', 2), ('abcd', 3)",
        "INSERT INTO none VALUES ('a', 1), ('b', 2), ('', 3)",
        "INSERT INTO grouped VALUES (1, 'abc', 1), (2, 'abcd', 2), (3, 'ab', 3)",
    )
    execute(
        shared.house.url,
        "CREATE DOMAIN public.short AS varchar(3)",
        "CREATE DOMAIN public.some_text AS text CHECK (VALUE <> '')",
    )
    shared.run()
    rejected = {(table, key) for table, key, _ in aside(shared)}
    assert rejected == {
        ("fact_length", "abcd"), ("fact_length", "abcde"), ("fact_inet", "nowhere"), ("fact_short", "abcd"),
        ("fact_none", ""), ("dim_grouped", "abcd"),
    }  # fmt: skip
    shared.do(
        "DELETE FROM length WHERE code <> 'abcde'",
        "DELETE FROM inet WHERE code <> '10.0.0.2'",
        "DELETE FROM short WHERE code <> 'ab'",
        "DELETE FROM none WHERE code <> 'b'",
        "DELETE FROM grouped WHERE sale_id < 3",
    )
    shared.run()
    assert {(table, key) for table, key, _ in aside(shared)} == {("fact_length", "abcde")}
    for name, kept in {"length": [], "inet": ["10.0.0.2"], "short": ["ab"], "none": ["b"]}.items():
        present = shared.house.query(f"SELECT code::text FROM fact_{name}_current")
        assert [code for (code,) in present] == [code if name != "inet" else f"{code}/32" for code in kept]
    ended = "SELECT code FROM dim_grouped_history WHERE valid_to IS NULL"
    assert shared.house.query(ended) == [("ab",)]
