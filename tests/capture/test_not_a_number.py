"""NaN in a numeric with precision, which no DECIMAL holds."""

from __future__ import annotations

import pytest

from pipeline.errors import ModelError, SourceError
from tests.pair import Pair
from tests.support import query, value

SOURCE = (
    "CREATE TABLE part (part_id int PRIMARY KEY, weight numeric(10, 2), price numeric(6, 2), made timestamp)",
    "INSERT INTO part SELECT i, i + 0.50, i, '2024-01-01' FROM generate_series(1, 5) AS i",
)
TABLE = """
    CREATE TABLE IF NOT EXISTS fact_part (part_id integer NOT NULL, weight numeric, price numeric(6, 2));
    CREATE TABLE IF NOT EXISTS dim_total (total_id integer PRIMARY KEY, price numeric);
"""
PASSED = {"fact_part": "-- key: part_id\nSELECT part_id, weight, price FROM part", "schema": TABLE}
# As text, because Python compares NaN with nothing.
ROWS = "SELECT part_id, weight::text, price::text FROM {} ORDER BY 1"


def equal(pair: Pair) -> None:
    assert pair.house.query(ROWS.format("fact_part_current")) == query(pair.source_url, ROWS.format("part"))


def versions(pair: Pair) -> int:
    return int(value(pair.house.url, "SELECT count(*) FROM fact_part"))


def test_it_is_carried_exactly_and_gives_other_rows_no_version(shared: Pair) -> None:
    shared.fresh(PASSED, *SOURCE)
    shared.run()
    shared.do(
        "UPDATE part SET weight = 'NaN' WHERE part_id = 2", "UPDATE part SET price = 9 WHERE part_id = 3"
    )
    shared.run()
    equal(shared)
    assert versions(shared) == 7
    assert shared.run() is None
    shared.do("UPDATE part SET price = 8 WHERE part_id = 4", "DELETE FROM part WHERE part_id = 1")
    counts = shared.run()
    assert counts is not None
    assert counts["fact_part"].changed == 1
    equal(shared)
    shared.do("UPDATE part SET weight = 1 WHERE part_id = 2")
    shared.run()
    equal(shared)
    assert versions(shared) == 10
    shared.run(full=True)
    shared.run(reconcile=True)
    equal(shared)
    assert versions(shared) == 10


def test_columns_of_several_tables_hold_it_from_the_first_batch_on(shared: Pair) -> None:
    models = PASSED | {
        "fact_box": "-- key: box_id\nSELECT box_id, height, width FROM box",
        "schema": TABLE
        + "CREATE TABLE IF NOT EXISTS fact_box (box_id numeric, height numeric, width numeric);",
    }
    box = "CREATE TABLE box (box_id numeric(4, 0) PRIMARY KEY, height numeric(5, 1), width numeric(5, 1))"
    shared.fresh(models, *SOURCE, box, "INSERT INTO box VALUES (1, 'NaN', 'NaN'), ('NaN', 1, 1)")
    shared.do("UPDATE part SET weight = 'NaN'")
    shared.run()
    equal(shared)
    shared.do("UPDATE box SET width = 2 WHERE box_id = 'NaN'", "DELETE FROM box WHERE box_id = 1")
    shared.run()
    rows = shared.house.query("SELECT box_id::text, height, width FROM fact_box_current")
    assert [(key, int(height), int(width)) for key, height, width in rows] == [("NaN", 1, 2)]


def test_a_column_of_the_warehouse_that_is_a_decimal_rejects_the_row(shared: Pair) -> None:
    shared.fresh(PASSED, *SOURCE)
    shared.do("UPDATE part SET price = 'NaN' WHERE part_id = 2")
    shared.run()
    rejected = "SELECT key, reason FROM etl.rejected WHERE NOT resolved"
    assert shared.house.query(rejected) == [({"part_id": "2"}, "price does not fit numeric(6,2)")]
    assert value(shared.house.url, "SELECT count(*) FROM fact_part_current") == 4
    shared.do("UPDATE part SET price = 2 WHERE part_id = 2")
    shared.run()
    assert shared.house.query(rejected) == []
    equal(shared)


def test_a_model_that_computes_with_it_stops_the_batch_and_names_the_column(shared: Pair) -> None:
    total = "SELECT 1 AS total_id, sum(price) AS price FROM part"
    shared.fresh(PASSED | {"dim_total": total}, *SOURCE)
    shared.run()
    shared.do("UPDATE part SET price = 'NaN' WHERE part_id = 2")
    with pytest.raises(ModelError, match=r"dim_total\.sql:1: column part\.price is NaN in a row"):
        shared.run()
    assert shared.house.query("SELECT price FROM dim_total") == [(15,)]


def test_a_model_that_cannot_read_it_as_a_number_without_precision_names_the_value(shared: Pair) -> None:
    printed = "SELECT part_id AS total_id, length('' || price * 2) AS price FROM part"
    shared.fresh(PASSED | {"dim_total": printed}, *SOURCE)
    shared.run()
    shared.do("UPDATE part SET price = 'NaN' WHERE part_id = 2")
    with pytest.raises(SourceError, match="table part, column price: a value cannot be carried exactly"):
        shared.run()
    shared.do("UPDATE part SET price = 200 WHERE part_id = 2")
    shared.run()
    assert shared.house.query("SELECT price FROM dim_total WHERE total_id = 2") == [(6,)]
