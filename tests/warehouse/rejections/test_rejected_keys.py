"""Rejections by rules, enums and keys that several rows share."""

from __future__ import annotations

import pytest

from tests.bench import Bench
from tests.support import execute
from tests.warehouse.rejections.shop import aside, log, sales


def test_a_key_of_rows_in_two_batches_is_rejected_until_one_is_deleted(shared: Bench) -> None:
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


def test_an_accepted_row_that_becomes_invalid_is_a_new_rejection(bench: Bench) -> None:
    for sold_on in ("soon", "2024-03-01", "later"):
        bench.do("DELETE FROM sale WHERE sale_id = 2", f"INSERT INTO sale VALUES (2, 1, '{sold_on}', 1, 1)")
        bench.run()
    assert log(bench) == [("fact_sale", False, 1, 1, True), ("fact_sale", False, 3, 3, False)]
    assert sales(bench) == [1, 2], "the last version that fitted"


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
def ruled(shared: Bench) -> Bench:
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
def test_a_row_that_breaks_a_rule_is_rejected(ruled: Bench, first: str) -> None:
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


def test_rejected_rows_are_accepted_once_their_rule_is_dropped(ruled: Bench) -> None:
    ruled.do("INSERT INTO sale VALUES (2, 0, 'ab'), (3, 3, 'ab')")
    ruled.run()
    execute(ruled.house.url, "ALTER TABLE fact_sale DROP CONSTRAINT some_units")
    ruled.house.prepared = None
    ruled.do("INSERT INTO sale VALUES (4, 4, 'ab')")
    ruled.run()
    assert sales(ruled) == [2, 3, 4]
    assert aside(ruled) == []


def test_an_unknown_label_is_rejected_until_the_enum_has_it(ruled: Bench) -> None:
    ruled.do("INSERT INTO mood VALUES (2, 'it''s \"fine\"'), (3, 'blue')")
    ruled.run()
    assert aside(ruled) == [("dim_mood", "3", "mood does not fit public.mood")]
    assert ruled.house.query("SELECT mood_id FROM dim_mood ORDER BY 1") == [(1,), (2,)]
    execute(ruled.house.url, "ALTER TYPE public.mood ADD VALUE 'blue'")
    ruled.house.prepared = None
    ruled.run(full=True)
    assert ruled.house.query("SELECT mood_id FROM dim_mood ORDER BY 1") == [(1,), (2,), (3,)]
    assert aside(ruled) == []


def test_all_rows_of_a_repeated_key_are_recorded(shared: Bench) -> None:
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
