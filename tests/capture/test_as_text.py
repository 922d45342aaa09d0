"""Values that no Arrow type holds: NaN in a numeric with precision, and moments after the year 294246."""

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


def versions(pair: Pair, fact: str = "fact_part") -> int:
    return int(value(pair.house.url, f"SELECT count(*) FROM {fact}"))


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


MOMENTS = "local timestamp, zoned timestamptz, ats timestamp[], span tsrange"
TIMES = (
    f"CREATE TABLE visit (visit_id int PRIMARY KEY, {MOMENTS})",
    "INSERT INTO visit SELECT i, '2024-01-01 10:00', '2024-01-01 10:00+00' FROM generate_series(1, 5) AS i",
    "UPDATE visit SET local = '0044-03-15 12:30:00.5 BC', zoned = '4000-01-01 BC' WHERE visit_id = 4",
    "UPDATE visit SET local = 'infinity', zoned = '-infinity' WHERE visit_id = 5",
)
LATE = "294276-12-31 23:59:59"
ARRAYS = "UPDATE visit SET ats = '{{{0}}}', span = '[{0},)' WHERE visit_id = 1"
VISIT = f"CREATE TABLE IF NOT EXISTS fact_visit (visit_id int NOT NULL, {MOMENTS});"
VISITS = "SELECT visit_id, local::text, zoned::text, ats::text, span::text FROM {} ORDER BY 1"


@pytest.mark.parametrize("column", ["local", "zoned"])
def test_a_moment_after_the_year_294246_is_rejected_alone(shared: Pair, column: str) -> None:
    models = {
        "fact_visit": "-- key: visit_id\nSELECT visit_id, local, zoned, ats, span FROM visit",
        "schema": VISIT,
    }
    shared.fresh(models, *TIMES)
    shared.run()
    shared.do(ARRAYS.format(LATE))
    shared.run()
    here, there = (
        shared.house.query(VISITS.format("fact_visit_current")),
        shared.source(VISITS.format("visit")),
    )
    assert here == there
    assert shared.house.rejected() == []
    shared.do(
        f"UPDATE visit SET {column} = '{LATE}' WHERE visit_id = 2",
        "UPDATE visit SET local = now() WHERE visit_id = 3",
    )
    shared.run()
    kept = [row for row in shared.source(VISITS.format("visit")) if row[0] != 2]
    assert [row for row in shared.house.query(VISITS.format("fact_visit_current")) if row[0] != 2] == kept
    ((_, key, reason),) = shared.house.rejected()
    assert key == {"visit_id": "2"}
    assert reason == f"{column} is after the year 294246, which is the last that is carried"
    ((row,),) = shared.house.query("SELECT row FROM etl.rejected WHERE NOT resolved")
    assert row[column].startswith(LATE)
    assert versions(shared, "fact_visit") == 7
    assert shared.run() is None
    shared.do(f"UPDATE visit SET {column} = '2024-01-02' WHERE visit_id = 2")
    shared.run()
    assert shared.house.rejected() == []
    shared.run(full=True)
    shared.run(reconcile=True)
    assert shared.house.query(VISITS.format("fact_visit_current")) == shared.source(VISITS.format("visit"))
    assert versions(shared, "fact_visit") == 8


def test_models_cast_other_moments_of_the_column(shared: Pair) -> None:
    models = {
        "fact_visit": "-- key: visit_id\nSELECT visit_id, CAST(zoned AS date) AS day,"
        " CAST(local AS time) AS time FROM visit",
        "schema": "CREATE TABLE IF NOT EXISTS fact_visit (visit_id int NOT NULL, day date, time time);",
    }
    shared.fresh(models, *TIMES, "UPDATE visit SET local = now() WHERE visit_id = 5")
    shared.run()
    shared.do(
        f"UPDATE visit SET zoned = '{LATE}' WHERE visit_id = 2",
        f"UPDATE visit SET local = '{LATE}' WHERE visit_id = 3",
    )
    shared.run()
    texts = "SELECT visit_id, {}::text, {}::text FROM {} WHERE visit_id <> 3 ORDER BY 1"
    assert shared.house.query(texts.format("day", "time", "fact_visit_current")) == shared.source(
        texts.format("(zoned AT TIME ZONE 'UTC')::date", "local::time", "visit")
    )
    ((_, key, reason),) = shared.house.rejected()
    assert (key, "Conversion Error" in reason) == ({"visit_id": "3"}, True)


@pytest.mark.parametrize("column", ["local", "zoned"])
@pytest.mark.parametrize(
    "computed",
    [
        "CAST(date_trunc('day', {0}) AS date)",
        "CASE WHEN {0} > '2000-01-01' THEN CAST({0} AS date) END",
        "CASE WHEN {0} + INTERVAL '1 day' > '2000-01-01' THEN DATE '2000-01-01' END",
    ],
)
def test_a_row_is_rejected_if_its_model_computes_with_such_a_moment(
    shared: Pair, column: str, computed: str
) -> None:
    """Also with BC dates and infinity in other rows, and in later batches."""
    computed = computed.format(column)
    models = {
        "fact_visit": f"-- key: visit_id\nSELECT visit_id, {computed} AS day FROM visit",
        "schema": "CREATE TABLE IF NOT EXISTS fact_visit (visit_id int NOT NULL, day date);",
    }
    shared.fresh(models, *TIMES)
    shared.do(f"UPDATE visit SET {column} = '{LATE}' WHERE visit_id = 2")
    expected = f"SELECT visit_id, ({computed})::text FROM visit WHERE visit_id <> 2 ORDER BY 1"
    for change in ("SELECT", f"UPDATE visit SET {column} = '2025-01-01' WHERE visit_id = 3"):
        shared.do(change)
        shared.run()
        rows = shared.house.query("SELECT visit_id, day::text FROM fact_visit_current ORDER BY 1")
        assert rows == shared.source(expected)
        assert [key for _, key, _ in shared.house.rejected()] == [{"visit_id": "2"}]
    shared.do(f"UPDATE visit SET {column} = '2024-01-02' WHERE visit_id = 2")
    shared.run()
    assert shared.house.rejected() == []


def test_a_model_of_several_rows_that_passes_such_a_moment_on_rejects_its_row(shared: Pair) -> None:
    models = {
        "dim_before": "SELECT visit_id, COALESCE(lag(local) OVER (ORDER BY visit_id), local) AS local"
        " FROM visit",
        "schema": "CREATE TABLE IF NOT EXISTS dim_before (visit_id int PRIMARY KEY, local timestamp);",
    }
    shared.fresh(models, *TIMES)
    shared.do(f"UPDATE visit SET local = '{LATE}' WHERE visit_id = 2")
    shared.run()
    assert [key for _, key, _ in shared.house.rejected()] == [{"visit_id": "3"}]
    assert shared.house.query("SELECT visit_id FROM dim_before ORDER BY 1") == [(1,), (2,), (4,), (5,)]


def test_a_model_of_several_rows_that_computes_with_such_a_moment_names_the_column(shared: Pair) -> None:
    models = {
        "dim_last": "SELECT 1 AS last_id, max(local) AS local FROM visit",
        "schema": "CREATE TABLE IF NOT EXISTS dim_last (last_id int PRIMARY KEY, local timestamp);",
    }
    shared.fresh(models, *TIMES, f"UPDATE visit SET local = '{LATE}' WHERE visit_id = 2")
    with pytest.raises(ModelError, match=r"dim_last\.sql:1: .+ a value of local does not fit timestamp"):
        shared.run()
