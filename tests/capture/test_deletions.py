"""Deleted rows are found by counts and keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from pipeline.capture.deletions import DeletionCheck, absent_keys
from pipeline.columns import Column, schema_of
from pipeline.duck import session
from pipeline.errors import SourceError
from pipeline.lake.manifest import Files, ReadChunk
from tests.capture.orders import MODELS, run, with_other_rows
from tests.house import Warehouse, plan_batch, readers
from tests.support import execute, query, value, write_models

REPLACED = "rows were changed or deleted, and it has no primary key"
DELETIONS = {
    "deleted": ("DELETE FROM orders WHERE order_id IN (2, 4)", 3, 2),
    "all deleted": ("DELETE FROM orders", 0, 5),
    "truncated": ("TRUNCATE orders", 0, 5),
    "deleted and inserted again": (
        "DELETE FROM orders WHERE order_id = 2; INSERT INTO orders VALUES (2, 1, '2')", 5, 0,
    ),
    "deleted, and another one inserted": (
        "DELETE FROM orders WHERE order_id = 2; INSERT INTO orders VALUES (6, 1, '2')", 5, 1,
    ),
    "another key": ("UPDATE orders SET order_id = 9 WHERE order_id = 2", 5, 1),
    "keys that change places": (
        "UPDATE orders SET order_id = order_id + 10; UPDATE orders SET order_id = 16 - order_id", 5, 0,
    ),
    "refilled": ("TRUNCATE orders; INSERT INTO orders VALUES (1, 1, '1'), (7, 1, '7')", 2, 4),
    "all but one deleted, and one changed": (
        "DELETE FROM orders WHERE order_id > 2; UPDATE orders SET amount = 'x' WHERE order_id = 1", 2, 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DELETIONS)
def test_every_run_finds_deleted_rows(source_url: str, house: Warehouse, kind: str) -> None:
    change, left, deleted = DELETIONS[kind]
    run(source_url, house)
    execute(source_url, *change.split("; "))
    run(source_url, house)
    expected = sorted(query(source_url, "SELECT order_id, shop_id, amount FROM orders"))
    assert sorted(house.query("SELECT order_id, shop_id, amount FROM fact_order_current")) == expected
    assert len(expected) == left
    assert value(house.url, "SELECT count(*) FROM fact_order WHERE deleted") == deleted
    assert run(source_url, house)[1] is None


@pytest.mark.parametrize(
    ("types", "held", "present", "absent"),
    [
        (("integer",), [(number,) for number in range(100)], [(number,) for number in range(9, 200)], 9),
        (("numeric",), [("1.0",), ("2",), ("3.10",)], [("1.00",), ("3.1",)], 1),
        (("double precision",), [(-0.0,), (1.5,)], [(0.0,)], 1),
        (("citext", "character(3)"), [("A", "b  "), ("ä", "b")], [("a", "b")], 1),
        (("text", "date"), [("", date(2024, 1, 1)), ("x", date.max)], [("x", date.max)], 1),
    ],
)
def test_keys_are_compared_in_passes_as_postgres_compares_them(
    types: Sequence[str], held: list[tuple[Any, ...]], present: list[tuple[Any, ...]], absent: int
) -> None:
    columns = [Column(name=f"key {number}", type=name) for number, name in enumerate(types)]
    with session() as connection:
        for name, keys in (("held", held), ("present", present)):
            rows = [{each.name: value for each, value in zip(columns, key, strict=True)} for key in keys]
            connection.register("rows", pa.Table.from_pylist(rows, schema_of(columns)))
            connection.execute(f"CREATE TEMP TABLE {name} AS FROM rows")
        for per_pass in (1, 10, 1_000):
            found = list(absent_keys(connection, columns, per_pass))
            assert sum(batch.num_rows for batch in found) == absent
            assert all(batch.schema == schema_of(columns) for batch in found)


def test_a_rolled_back_deletion_is_ignored_and_a_late_one_is_found_later(
    source_url: str, house: Warehouse
) -> None:
    run(source_url, house)
    with psycopg.connect(source_url) as late:
        late.execute("DELETE FROM orders WHERE order_id = 2")
        late.execute("SAVEPOINT s")
        late.execute("DELETE FROM orders WHERE order_id = 3")
        late.execute("ROLLBACK TO s")
        assert run(source_url, house)[1] is None
        assert value(house.url, "SELECT count(*) FROM fact_order_current") == 5
        late.commit()
    run(source_url, house)
    assert house.query("SELECT order_id FROM fact_order WHERE deleted") == [(2,)]


def test_a_row_deleted_while_a_batch_is_read_belongs_to_the_next_one(
    source_url: str, house: Warehouse
) -> None:
    run(source_url, house)
    execute(source_url, "DELETE FROM orders WHERE order_id = 2")
    real = readers(source_url, house.raw)

    def meanwhile(checks: Sequence[DeletionCheck]) -> Sequence[Files | None]:
        execute(source_url, "DELETE FROM orders WHERE order_id = 3")
        return real.find_deleted(checks)

    run(source_url, house, reading=replace(real, find_deleted=meanwhile))
    assert house.query("SELECT order_id FROM fact_order WHERE deleted") == [(2,)]
    run(source_url, house)
    assert house.query("SELECT order_id FROM fact_order WHERE deleted ORDER BY 1") == [(2,), (3,)]


def test_a_table_whose_counts_do_not_add_up_is_read_in_full(source_url: str, house: Warehouse) -> None:
    """The manifest has one row more than the table had."""
    with_other_rows(house, run(source_url, house)[1], 1)
    execute(source_url, "UPDATE orders SET amount = 'x' WHERE order_id = 1")
    _, manifest = plan_batch(source_url, house)
    assert manifest is not None
    orders = manifest.tables["orders"]
    assert (orders.mode, orders.reason) == ("full", "its rows do not add up")
    assert (orders.rows, orders.source_rows) == (5, 5)
    house.bring(manifest)
    kept = "SELECT source_rows ->> 'orders' FROM etl.batch ORDER BY batch_id DESC LIMIT 1"
    assert house.query(kept) == [("5",)]


def test_a_full_read_that_is_short_of_rows_is_an_error(source_url: str, house: Warehouse) -> None:
    real = readers(source_url, house.raw)

    def short(read: ReadChunk) -> ReadChunk:
        files = tuple(file.model_copy(update={"rows": file.rows - 1}) for file in read.files)
        return read.model_copy(update={"files": files}) if read.chunk.table == "orders" else read

    reading = replace(real, read=lambda chunks: [short(each) for each in real.read(chunks)])
    with pytest.raises(SourceError, match=r"^source: table orders: 4 rows were read in full, and 5 counted"):
        run(source_url, house, reading=reading)
    run(source_url, house)
    assert value(house.url, "SELECT count(*) FROM fact_order_current") == 5


def test_an_old_row_that_the_last_batch_did_not_have_means_reading_in_full(
    source_url: str, house: Warehouse
) -> None:
    with_other_rows(house, run(source_url, house)[1], -1)
    read, _ = run(source_url, house)
    assert read["orders"] == ("full", "it has old rows that the last batch did not have")


def test_a_new_model_over_a_joined_fact_sees_all_its_rows(source_url: str, house: Warehouse) -> None:
    joined = "-- key: order_id\nSELECT order_id, shop_id, amount FROM orders JOIN shops USING (shop_id)"
    write_models(house.folder, {"fact_order": joined})
    run(source_url, house)
    write_models(
        house.folder,
        {
            "dim_amount": "SELECT DISTINCT amount FROM fact_order",
            "schema": MODELS["schema"]
            + "CREATE TABLE IF NOT EXISTS dim_amount (amount varchar PRIMARY KEY);",
        },
    )
    run(source_url, house)
    assert value(house.url, "SELECT count(*) FROM dim_amount") == 5
    execute(source_url, "INSERT INTO orders VALUES (6, 1, 'six')")
    run(source_url, house)
    assert value(house.url, "SELECT count(*) FROM dim_amount") == 6
    assert run(source_url, house)[1] is None


def test_only_new_rows_of_a_table_without_a_key_are_read(source_url: str, house: Warehouse) -> None:
    execute(source_url, "CREATE TABLE log (word text)", "INSERT INTO log VALUES ('a'), ('a'), ('b')")
    sql = "SELECT word, count(*) AS n FROM log GROUP BY word"
    write_models(house.folder, {"fact_word": f"-- key: word\n{sql}"})
    with (house.folder / "schema.sql").open("a", encoding="utf-8") as schema:
        schema.write("CREATE TABLE IF NOT EXISTS fact_word (word text, n bigint);")
    current = "SELECT word, n FROM fact_word_current ORDER BY 1"
    run(source_url, house)
    for number in range(1, 6):
        execute(source_url, "INSERT INTO log VALUES ('a'), ('c'), ('c')")
        read, manifest = run(source_url, house)
        assert manifest is not None
        assert (read["log"], manifest.rows) == (("changes", "changed rows"), 3)
        assert house.query(current) == [("a", 2 + number), ("b", 1), ("c", 2 * number)]
        assert len(manifest.tables["log"].state or ()) < 5, "runs are merged"
    assert run(source_url, house)[1] is None
    with psycopg.connect(source_url) as late, psycopg.connect(source_url) as later:
        late.execute("INSERT INTO log VALUES ('d')")
        later.execute("INSERT INTO log VALUES ('d')")
        later.commit()
        assert run(source_url, house)[0]["log"] == ("changes", "changed rows")
        late.commit()
    read, _ = run(source_url, house)
    assert read["log"] == ("full", REPLACED), "the one of before counts as changed once more"
    assert house.query(current)[-1] == ("d", 2)
    execute(source_url, "DELETE FROM log WHERE word = 'b'", "INSERT INTO log VALUES ('b')")
    assert run(source_url, house)[0]["log"] == ("full", REPLACED)
    execute(source_url, "TRUNCATE log", "INSERT INTO log VALUES ('a')")
    assert run(source_url, house)[0]["log"] == ("full", REPLACED)
    assert house.query(current) == [("a", 1)]


def test_a_table_without_a_key_is_read_in_full_after_a_deletion(source_url: str, house: Warehouse) -> None:
    execute(source_url, "ALTER TABLE towns DROP CONSTRAINT towns_pkey")
    run(source_url, house)
    execute(
        source_url, "UPDATE towns SET city = 'Hull' WHERE town_id = 1", "DELETE FROM towns WHERE town_id = 2"
    )
    read, _ = run(source_url, house)
    assert read["towns"] == ("full", REPLACED)
    assert house.query("SELECT * FROM dim_shop ORDER BY 1") == [(1, "Hull"), (2, None)]
    assert run(source_url, house)[1] is None
    execute(source_url, "DELETE FROM towns")
    read, _ = run(source_url, house)
    assert read["towns"] == ("full", REPLACED)
    assert house.query("SELECT * FROM dim_shop ORDER BY 1") == [(1, None), (2, None)]
