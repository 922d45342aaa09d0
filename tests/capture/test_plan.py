"""Planning: which tables a batch reads, how much of each, and why; on a real source."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline.capture import deletions
from pipeline.capture.batch import BatchPlan
from pipeline.errors import BucketError, ModelError, UnfitBatch
from pipeline.lake import manifests
from pipeline.lake.buckets import Bucket, File
from pipeline.lake.manifest import Chunk, Manifest, ReadChunk, StateDelta, Watermark, batch_id, batch_time
from pipeline.lake.manifests import read_manifest, seal, sealed_after
from pipeline.source.changes import MAX_AGE, Slice
from pipeline.source.cursors import Cursor
from pipeline.source.snapshots import Snapshot
from pipeline.warehouse import ledger
from tests.support import MadeUp, Warehouse, execute, parquet_rows, plan_batch, query, value, write_models

MODELS = {
    "dim_shop": "SELECT shop_id, city FROM shops LEFT JOIN towns USING (town_id)",
    "fact_order": "-- key: order_id\nSELECT order_id, shop_id, amount FROM orders",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city varchar);
        CREATE TABLE IF NOT EXISTS fact_order (order_id integer NOT NULL, shop_id integer, amount varchar);
    """,
}
SOURCE = (
    "CREATE TABLE towns (town_id int PRIMARY KEY, city text)",
    "CREATE TABLE shops (shop_id int PRIMARY KEY, town_id int)",
    "CREATE TABLE orders (order_id int PRIMARY KEY, shop_id int, amount text)",
    "INSERT INTO towns VALUES (1, 'York'), (2, 'Bath')",
    "INSERT INTO shops VALUES (1, 1), (2, 2)",
    "INSERT INTO orders SELECT i, 1 + i % 2, i::text FROM generate_series(1, 5) AS i",
)


@pytest.fixture
def house(source_url: str, warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path) -> Warehouse:
    """A source of three tables, and a warehouse of two."""
    execute(source_url, *SOURCE)
    write_models(tmp_path / "models", MODELS)
    return Warehouse(warehouse_url, tmp_path / "models", raw, processed)


def run(
    source_url: str, house: Warehouse, **options: Any
) -> tuple[dict[str, tuple[str, str]], Manifest | None]:
    """Take a batch and load it; returns each table's mode and reason."""
    planned, manifest = plan_batch(source_url, house, **options)
    if manifest:
        house.bring(manifest)
    return {
        name: (table.mode if table.is_new else "unchanged", table.reason)
        for name, table in planned.tables.items()
    }, manifest


UNCHANGED = ("unchanged", "changed rows")
REPLACED = "rows were changed or deleted, and it has no primary key"


def test_the_first_batch_reads_all_the_next_what_changed_and_then_nothing(
    source_url: str, house: Warehouse
) -> None:
    read, manifest = run(source_url, house)
    assert set(read.values()) == {("full", "first batch")}
    assert manifest is not None
    assert (manifest.previous, manifest.rows) == (None, 9)
    execute(
        source_url,
        "UPDATE towns SET city = 'Leeds' WHERE town_id = 1",
        "DELETE FROM orders WHERE order_id = 5",
    )
    read, second = run(source_url, house)
    changed = ("changes", "changed rows")
    assert read == {"towns": changed, "shops": UNCHANGED, "orders": changed}
    assert second is not None
    assert (second.previous, second.rows) == (manifest.batch_id, 1)
    assert second.tables["orders"].mode == "changes"
    assert parquet_rows(house.raw, second.tables["orders"].deleted) == [{"order_id": 5}]
    assert value(house.url, "SELECT count(*) FROM fact_order_current") == 4
    assert house.query("SELECT order_id FROM fact_order WHERE deleted") == [(5,)]
    assert house.query("SELECT * FROM dim_shop ORDER BY 1") == [(1, "Leeds"), (2, "Bath")]
    before = value(house.url, "SELECT up_to_date_at FROM etl.watermark")
    read, third = run(source_url, house)
    assert third is None
    assert set(read.values()) == {UNCHANGED}
    assert value(house.url, "SELECT up_to_date_at FROM etl.watermark") > before


def test_tables_that_no_model_names_are_not_read(source_url: str, house: Warehouse) -> None:
    execute(source_url, "CREATE TABLE _prisma_migrations (id int)")
    read, _ = run(source_url, house)
    assert set(read) == {"towns", "shops", "orders"}


def test_all_tables_are_read_at_one_moment(source_url: str, house: Warehouse) -> None:
    planned, manifest = plan_batch(source_url, house)
    assert manifest is not None
    assert {how.snapshot for _, how in planned.chunks("public")} == {planned.snapshot.name}


CHANGED_SHAPES = {
    "another table has this name now": (
        "CREATE TABLE new (LIKE orders INCLUDING ALL); INSERT INTO new SELECT * FROM orders;"
        " ALTER TABLE orders RENAME TO old; ALTER TABLE new RENAME TO orders"
    ),
    "its columns have changed": "ALTER TABLE orders ADD COLUMN note text",
}


@pytest.mark.parametrize("reason", CHANGED_SHAPES)
def test_a_table_that_is_not_what_it_was_is_read_whole(
    source_url: str, house: Warehouse, reason: str
) -> None:
    run(source_url, house)
    execute(source_url, CHANGED_SHAPES[reason])
    read, _ = run(source_url, house)
    assert read == {"towns": UNCHANGED, "shops": UNCHANGED, "orders": ("full", reason)}
    assert value(house.url, "SELECT count(*) FROM fact_order") == 5, "nothing doubles"


def test_a_heap_that_was_swapped_in_with_old_rows_loses_none(source_url: str, house: Warehouse) -> None:
    execute(
        source_url, "CREATE TABLE new (LIKE orders INCLUDING ALL)", "INSERT INTO new VALUES (1, 2, 'new')"
    )
    run(source_url, house)
    execute(source_url, "DROP TABLE orders", "ALTER TABLE new RENAME TO orders")
    run(source_url, house)
    assert value(house.url, "SELECT amount FROM fact_order_current WHERE order_id = 1") == "new"


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"reconcile": True}, "reconciling"), ({"full": True}, "requested")],
    ids=["reconcile", "full"],
)
def test_what_is_asked_for_is_read_whole(
    source_url: str, house: Warehouse, options: dict[str, bool], reason: str
) -> None:
    run(source_url, house)
    execute(source_url, "DELETE FROM orders WHERE order_id = 5")
    read, manifest = run(source_url, house, **options)
    assert set(read.values()) == {("full", reason)}
    assert manifest is not None
    assert value(house.url, "SELECT count(*) FROM fact_order_current") == 4


def test_a_changed_model_is_computed_anew_and_nothing_is_read_for_it(
    source_url: str, house: Warehouse
) -> None:
    run(source_url, house)
    write_models(
        house.folder,
        {"fact_order": "-- key: order_id\nSELECT order_id, shop_id, amount || '!' AS amount FROM orders"},
    )
    read, manifest = run(source_url, house)
    assert manifest is not None
    assert (set(read.values()), manifest.rows) == ({UNCHANGED}, 0)
    assert value(house.url, "SELECT count(*) FROM fact_order_current WHERE amount LIKE '%!'") == 5
    assert run(source_url, house)[1] is None


def test_a_changed_model_of_several_tables_needs_no_reading(source_url: str, house: Warehouse) -> None:
    run(source_url, house)
    write_models(
        house.folder,
        {"dim_shop": "SELECT shop_id, upper(city) AS city FROM shops LEFT JOIN towns USING (town_id)"},
    )
    read, manifest = run(source_url, house)
    assert manifest is not None
    assert (set(read.values()), manifest.rows) == ({UNCHANGED}, 0)
    assert house.query("SELECT city FROM dim_shop ORDER BY 1") == [("BATH",), ("YORK",)]
    assert run(source_url, house)[1] is None


def test_a_comment_in_a_model_is_no_change(source_url: str, house: Warehouse) -> None:
    run(source_url, house)
    write_models(
        house.folder, {name: f"-- noted\n{text}" for name, text in MODELS.items() if name != "schema"}
    )
    assert run(source_url, house)[1] is None


def test_a_model_that_joins_more_tables_from_now_on_reads_them_from_their_states(
    source_url: str, house: Warehouse
) -> None:
    run(source_url, house)
    joined = (
        "-- key: order_id\nSELECT order_id, orders.shop_id, city AS amount"
        " FROM orders LEFT JOIN shops USING (shop_id) LEFT JOIN towns USING (town_id)"
    )
    write_models(house.folder, {"fact_order": joined})
    read, _ = run(source_url, house)
    assert set(read.values()) == {UNCHANGED}
    execute(source_url, "UPDATE towns SET city = 'Hull' WHERE town_id = 1")
    read, _ = run(source_url, house)
    assert read["orders"] == UNCHANGED
    assert value(house.url, "SELECT count(*) FROM fact_order_current WHERE amount = 'Hull'") == 2


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
def test_every_run_finds_what_was_deleted(source_url: str, house: Warehouse, kind: str) -> None:
    change, left, deleted = DELETIONS[kind]
    run(source_url, house)
    execute(source_url, *change.split("; "))
    run(source_url, house)
    wanted = sorted(query(source_url, "SELECT order_id, shop_id, amount FROM orders"))
    assert sorted(house.query("SELECT order_id, shop_id, amount FROM fact_order_current")) == wanted
    assert len(wanted) == left
    assert value(house.url, "SELECT count(*) FROM fact_order WHERE deleted") == deleted
    assert run(source_url, house)[1] is None


def test_a_deletion_that_is_rolled_back_is_none_and_a_late_one_is_found_later(
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
    source_url: str, house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(source_url, house)
    execute(source_url, "DELETE FROM orders WHERE order_id = 2")
    real = deletions.read_keys

    def meanwhile(*arguments: Any) -> Any:
        execute(source_url, "DELETE FROM orders WHERE order_id = 3")
        return real(*arguments)

    monkeypatch.setattr(deletions, "read_keys", meanwhile)
    run(source_url, house)
    monkeypatch.undo()
    assert house.query("SELECT order_id FROM fact_order WHERE deleted") == [(2,)]
    run(source_url, house)
    assert house.query("SELECT order_id FROM fact_order WHERE deleted ORDER BY 1") == [(2,), (3,)]


def test_rows_that_numbers_do_not_explain_are_read_whole(
    source_url: str, house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a state is not what the table was: the manifest says one row more than there was."""
    run(source_url, house)
    real = manifests.read_manifest

    def of_one_more(bucket: Bucket, path: str) -> Manifest:
        found = real(bucket, path)
        orders = found.tables["orders"]
        more = orders.model_copy(update={"source_rows": (orders.source_rows or 0) + 1})
        return found.model_copy(update={"tables": found.tables | {"orders": more}})

    monkeypatch.setattr(manifests, "read_manifest", of_one_more)
    execute(source_url, "UPDATE orders SET amount = 'x' WHERE order_id = 1")
    _, manifest = plan_batch(source_url, house)
    assert manifest is not None
    orders = manifest.tables["orders"]
    assert (orders.mode, orders.reason) == ("full", "its rows do not add up")
    assert (orders.rows, orders.source_rows) == (5, 5)


def test_a_row_that_the_last_batch_did_not_have_means_reading_whole(
    source_url: str, house: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(source_url, house)
    real = manifests.read_manifest

    def of_one_less(bucket: Bucket, path: str) -> Manifest:
        found = real(bucket, path)
        orders = found.tables["orders"]
        less = orders.model_copy(update={"source_rows": (orders.source_rows or 0) - 1})
        return found.model_copy(update={"tables": found.tables | {"orders": less}})

    monkeypatch.setattr(manifests, "read_manifest", of_one_less)
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


@pytest.mark.parametrize(
    ("change", "city"),
    [
        ("ALTER TABLE towns ALTER city TYPE int USING 7", "7"),
        ("ALTER TABLE towns ALTER city TYPE varchar(3) USING left(city, 3)", "Yor"),
        ("ALTER TABLE towns ALTER city TYPE date USING '2024-02-29'", "2024-02-29"),
        ("UPDATE towns SET city = '007'; ALTER TABLE towns ALTER city TYPE int USING city::int", "7"),
    ],
)
def test_a_column_that_changes_its_type_arrives(
    source_url: str, house: Warehouse, change: str, city: str
) -> None:
    write_models(
        house.folder,
        {"dim_shop": "SELECT shop_id, city::varchar AS city FROM shops LEFT JOIN towns USING (town_id)"},
    )
    first, _, second = change.rpartition("; ")
    execute(source_url, *filter(None, [first]))
    run(source_url, house)
    execute(source_url, second)
    run(source_url, house)
    assert value(house.url, "SELECT city FROM dim_shop WHERE shop_id = 1") == city


def test_columns_that_come_and_go_do_not_matter_to_models_that_do_not_read_them(
    source_url: str, house: Warehouse
) -> None:
    run(source_url, house)
    execute(source_url, "ALTER TABLE towns ADD COLUMN extra int DEFAULT 7")
    run(source_url, house)
    execute(source_url, "ALTER TABLE towns DROP COLUMN extra", "UPDATE towns SET city = 'Hull'")
    read, _ = run(source_url, house)
    assert read["towns"] == ("full", "its columns have changed")
    assert house.query("SELECT DISTINCT city FROM dim_shop") == [("Hull",)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "DROP TABLE orders",
            "fact_order.sql: reads table orders, which schema public of the source does not have",
        ),
        ("ALTER TABLE orders RENAME amount TO total", 'fact_order.sql:2: .*"amount" not found'),
    ],
)
def test_what_a_model_needs_and_the_source_lost_is_named(
    source_url: str, house: Warehouse, change: str, words: str
) -> None:
    run(source_url, house)
    before = ledger.watermark(house.url, "public")
    execute(source_url, change)
    with pytest.raises(ModelError, match=words):
        run(source_url, house)
    assert ledger.watermark(house.url, "public") == before


def test_nothing_is_read_until_a_model_that_does_not_fit_is_mended(source_url: str, house: Warehouse) -> None:
    run(source_url, house)
    execute(source_url, "ALTER TABLE orders RENAME amount TO total")
    with pytest.raises(ModelError):
        run(source_url, house)
    write_models(
        house.folder,
        {"fact_order": "-- key: order_id\nSELECT order_id, shop_id, total AS amount FROM orders"},
    )
    assert sealed_after(house.raw, ledger.last_batch(house.url, "public")) is None
    read, _ = run(source_url, house)
    assert read["orders"] == ("full", "its columns have changed")
    assert value(house.url, "SELECT count(*) FROM fact_order") == 5
    assert run(source_url, house)[1] is None


# Relations without xmin or key


def test_a_view_is_read_by_its_cursor_with_an_overlap(source_url: str, house: Warehouse) -> None:
    execute(
        source_url,
        "ALTER TABLE orders ADD COLUMN changed_at timestamptz",
        "UPDATE orders SET changed_at = now() - order_id * interval '1 hour'",
        "CREATE VIEW order_view AS SELECT * FROM orders",
    )
    text = (
        "-- key: order_id\n-- cursor: order_view.changed_at 0 seconds\n"
        "SELECT order_id, shop_id, amount FROM order_view"
    )
    write_models(house.folder, {"fact_order": text})
    run(source_url, house)
    execute(
        source_url, "UPDATE orders SET amount = 'new', changed_at = now() + '1 minute' WHERE order_id = 2"
    )
    planned, manifest = plan_batch(source_url, house)
    assert manifest is not None
    house.bring(manifest)
    slice_ = planned.tables["order_view"].slice
    assert slice_.cursor == Cursor(column="changed_at", overlap="0 seconds")
    assert (planned.tables["order_view"].mode, manifest.rows) == ("changes", 2), "the highest one again"
    assert value(house.url, "SELECT amount FROM fact_order_current WHERE order_id = 2") == "new"


def test_a_row_of_a_cursors_view_that_leaves_a_filter_leaves_the_result(
    source_url: str, house: Warehouse
) -> None:
    execute(
        source_url,
        "ALTER TABLE orders ADD COLUMN changed_at timestamptz DEFAULT now()",
        "CREATE VIEW order_view AS SELECT * FROM orders",
    )
    text = (
        "-- key: order_id\n-- cursor: order_view.changed_at 0 seconds\n"
        "SELECT order_id, shop_id, amount FROM order_view WHERE amount <> 'void'"
    )
    write_models(house.folder, {"fact_order": text})
    run(source_url, house)
    execute(
        source_url,
        "UPDATE orders SET amount = 'void', changed_at = now() + '1 minute' WHERE order_id = 2",
        "DELETE FROM orders WHERE order_id = 3",
    )
    run(source_url, house)
    assert house.query("SELECT order_id FROM fact_order WHERE deleted") == [(2,)], "a cursor sees no deletion"
    execute(source_url, "UPDATE orders SET amount = '4', changed_at = now() WHERE order_id = 4")
    run(source_url, house, reconcile=True)
    assert house.query("SELECT order_id FROM fact_order WHERE deleted ORDER BY 1") == [(2,), (3,)]
    execute(source_url, "UPDATE orders SET amount = '2', changed_at = now() + '2 minutes' WHERE order_id = 2")
    run(source_url, house)
    assert house.query("SELECT order_id FROM fact_order_current ORDER BY 1") == [(1,), (2,), (4,), (5,)]


def test_a_view_without_a_cursor_is_read_whole_every_time(source_url: str, house: Warehouse) -> None:
    execute(source_url, "CREATE VIEW order_view AS SELECT * FROM orders")
    write_models(
        house.folder, {"fact_order": "-- key: order_id\nSELECT order_id, shop_id, amount FROM order_view"}
    )
    run(source_url, house)
    execute(source_url, "UPDATE orders SET amount = 'new' WHERE order_id = 2")
    read, _ = run(source_url, house)
    assert read["order_view"] == ("full", "no xmin and no cursor column")
    assert value(house.url, "SELECT count(*) FROM fact_order") == 6


def test_of_a_table_without_a_key_new_rows_are_read_alone(source_url: str, house: Warehouse) -> None:
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


def test_a_table_without_a_key_is_read_whole_where_rows_went(source_url: str, house: Warehouse) -> None:
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


# Another source than before


def snapshot(xmin: int = 100, xmax: int = 100, at: datetime = datetime(2024, 1, 1, tzinfo=UTC)) -> Snapshot:
    return Snapshot(
        name="0000000A-00000001-1",
        xmin=xmin,
        xmax=xmax,
        taken_at=at,
        system="1",
        timeline=1,
        database="made_up",
        database_oid=1,
        wal=1,
        standby=False,
        started_at=at,
    )


@pytest.mark.parametrize("field", ["system", "timeline", "database", "database_oid"])
def test_another_source_is_read_whole(
    source_url: str, house: Warehouse, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    run(source_url, house)
    real = manifests.read_manifest

    def of_another(bucket: Bucket, path: str) -> Manifest:
        found = real(bucket, path)
        other = 99 if field in {"timeline", "database_oid"} else "another"
        return found.model_copy(update={"identity": found.identity.model_copy(update={field: other})})

    monkeypatch.setattr(manifests, "read_manifest", of_another)
    read, _ = run(source_url, house)
    assert set(read.values()) == {("full", "another source than the last batch's")}
    assert value(house.url, "SELECT count(*) FROM fact_order") == 5


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_lost_or_damaged_manifest_means_reading_all(
    source_url: str, house: Warehouse, harm: Callable[[Path], object]
) -> None:
    _, manifest = run(source_url, house)
    assert manifest is not None
    harm(Path(house.raw.root, manifest.path))
    read, second = run(source_url, house)
    assert set(read.values()) == {("full", "the last batch's manifest is lost")}
    assert second is not None
    assert second.previous == manifest.batch_id


@pytest.mark.parametrize(
    ("source_xmin", "reason"),
    [
        (10**12, "the source was restored to an earlier state"),
        (-MAX_AGE, "the watermark's transaction ids have wrapped around"),
    ],
)
def test_a_watermark_too_old_or_from_the_future_means_reading_all(
    source_url: str, house: Warehouse, source_xmin: int, reason: str
) -> None:
    run(source_url, house)
    execute(house.url, f"UPDATE etl.watermark SET source_xmin = {source_xmin}")
    read, _ = run(source_url, house)
    assert set(read.values()) == {("full", reason)}


# Parts


@pytest.mark.since(14, "finding a range of pages without reading all others")
@pytest.mark.parametrize("pages", [1, 3, 1_000])
def test_a_large_table_is_read_in_ranges_of_pages(source_url: str, house: Warehouse, pages: int) -> None:
    execute(source_url, "INSERT INTO orders SELECT i, 1, repeat('x', 500) FROM generate_series(6, 200) AS i")
    planned, manifest = plan_batch(source_url, house, pages=pages)
    parts = [(part, how) for part, how in planned.chunks("public", pages) if part.table == "orders"]
    size = planned.tables["orders"].table.pages
    assert len(parts) == -(-size // pages)
    bounds = [(how.slice.first_page, how.slice.end_page) for _, how in parts]
    if len(parts) > 1:
        assert bounds[0][0] == 0
        assert bounds[-1][1] == size
        assert all(before[1] == after[0] for before, after in pairwise(bounds))
        assert parts[1][0].name == f"orders 2 of {len(parts)}"
    else:
        assert (bounds, parts[0][0].name) == ([(0, size)], "orders")
    assert all(how.slice.concatenated for _, how in parts)
    assert manifest is not None
    rows = parquet_rows(house.raw, manifest.tables["orders"].files)
    assert sorted(row["order_id"] for row in rows) == list(range(1, 201))


def test_changes_are_read_in_one_part(source_url: str, house: Warehouse) -> None:
    run(source_url, house)
    execute(source_url, "INSERT INTO orders SELECT i, 1, repeat('x', 500) FROM generate_series(6, 200) AS i")
    planned, _ = plan_batch(source_url, house)
    ((part, how),) = planned.chunks("public", 1)
    assert (part.table, part.of, how.slice.first_page, how.expected_rows) == ("orders", 1, None, 195)


@pytest.mark.since(14, "finding a range of pages without reading all others")
def test_a_table_whose_pages_are_not_all_is_read_to_its_open_end(source_url: str, house: Warehouse) -> None:
    execute(source_url, "INSERT INTO orders SELECT i, 1, repeat('x', 500) FROM generate_series(6, 200) AS i")
    execute(source_url, "CREATE TABLE more_orders () INHERITS (orders)")
    execute(
        source_url,
        "INSERT INTO more_orders SELECT i, 1, repeat('x', 500) FROM generate_series(201, 900) AS i",
    )
    planned, manifest = plan_batch(source_url, house, pages=3)
    slices = [how.slice for part, how in planned.chunks("public", 3) if part.table == "orders"]
    assert not any(slice_.concatenated for slice_ in slices)
    assert (slices[0].first_page, slices[-1].end_page) == (0, None)
    assert manifest is not None
    rows = parquet_rows(house.raw, manifest.tables["orders"].files)
    assert sorted(row["order_id"] for row in rows) == list(range(1, 901))


def test_a_table_without_ranges_of_pages_is_read_in_one_part(source_url: str, house: Warehouse) -> None:
    """As all tables of Postgres 13 and before."""
    planned, _ = plan_batch(source_url, house)
    orders = planned.tables["orders"]
    old = orders.table.model_copy(update={"has_pages": False, "pages": 1_000_000})
    planned = replace(planned, tables={"orders": replace(orders, table=old)})
    ((_, how),) = planned.chunks("public", 1)
    assert how.slice == Slice()


def test_the_story_tells_what_is_read(source_url: str, house: Warehouse) -> None:
    planned, manifest = plan_batch(source_url, house)
    assert manifest is not None
    house.bring(manifest)
    assert all(words in planned.summary for words in ("orders", "shops", "towns", "first batch"))
    execute(source_url, "INSERT INTO orders SELECT i FROM generate_series(1001, 3000) AS i")
    planned, _ = plan_batch(source_url, house)
    assert "2,000 rows" in planned.summary
    assert "orders" in planned.summary


# Names and seals


def watermark(at: datetime) -> Watermark:
    return Watermark(batch_id="20230101", manifest="m", snapshot_at=at, source_xmin=1)


def test_batch_ids_sort_by_time_even_if_the_clock_goes_back() -> None:
    moment = datetime(2024, 1, 1, 12, tzinfo=UTC)
    clocks = [
        moment,
        moment - timedelta(days=1),
        moment - timedelta(days=1),
        moment,
        moment + timedelta(seconds=1),
    ]
    ids: list[str] = []
    mark = None
    for clock in clocks:
        taken = snapshot(at=clock)
        at = batch_time(taken, mark)
        assert mark is None or at > mark.snapshot_at
        mark = watermark(at)
        ids.append(batch_id(at, taken))
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert ids[0] == "20240101T120000000000Z-0000000A-00000001-1"


def empty_plan(**changes: Any) -> BatchPlan:
    usual: dict[str, Any] = {
        "snapshot": snapshot(),
        "watermark": watermark(datetime(2023, 1, 1, tzinfo=UTC)),
        "previous": None,
        "tables": {},
        "changed_models": frozenset(),
        "reconcile": False,
    }
    return BatchPlan(**(usual | changes))


@pytest.mark.parametrize(
    ("changes", "nothing"),
    [
        ({}, True),
        ({"watermark": None}, False),
        ({"reconcile": True}, False),
        ({"changed_models": frozenset({"dim_x"})}, False),
    ],
)
def test_nothing_new_is_nothing_at_all(changes: dict[str, Any], nothing: bool) -> None:
    assert empty_plan(**changes).nothing_new == nothing


def test_a_sealed_batch_is_found_by_the_one_before_it(raw: Bucket) -> None:
    made = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))})
    first = made.batch({"t": [{"id": 1}]})
    second = made.batch({})
    assert sealed_after(raw, None) is None
    for manifest in (first, second):
        seal(raw, manifest)
    assert sealed_after(raw, None) == first
    assert sealed_after(raw, first.batch_id) == second
    assert sealed_after(raw, second.batch_id) is None
    assert read_manifest(raw, first.path) == first
    assert first.path == f"_manifests/after=nothing/{first.batch_id}.json"


def test_a_manifest_of_the_first_format_is_read_as_one_of_today(raw: Bucket) -> None:
    def file(table: str) -> dict[str, Any]:
        return {"path": f"{table}/batch=b/part-0.parquet", "rows": 3, "bytes": 10}

    def table(name: str, mode: str, state: Any, before: Any) -> dict[str, Any]:
        columns = [{"name": "id", "type": "integer"}]
        usual = {"reason": "made up", "columns": columns, "key": ["id"], "heaps": "1", "files": [file(name)]}
        return usual | {"table": name, "mode": mode, "state": state, "before": before}

    carried = file("carried")
    manifest = {
        "format": 1,
        "batch_id": "b",
        "previous": None,
        "snapshot_at": "2024-01-01T00:00:00Z",
        "source_xmin": 1,
        "identity": {"system": "1", "timeline": 1, "database": "made_up", "database_oid": 1},
        "reconcile": False,
        "landed": [
            {"part": {"batch_id": "b", "table": "carried", "number": 0, "of": 1}, "files": [carried]},
        ],
        "tables": {
            "carried": table("carried", "changes", [[carried], [carried]], [[carried]]),
            "whole": table("whole", "full", None, None),
            "unknown": table("unknown", "changes", None, None),
        },
    }
    path = "_manifests/after=nothing/b.json"
    raw.write_text(path, json.dumps(manifest))
    read = read_manifest(raw, path)
    run_ = StateDelta(files=(File(**carried),))
    assert {name: table.state for name, table in read.tables.items()} == {
        "carried": (run_, run_),
        "whole": (StateDelta(files=(File(**file("whole")),)),),
        "unknown": None,
    }
    assert all(table.source_rows is None and not table.deleted for table in read.tables.values())
    assert read_manifest(raw, path) == sealed_after(raw, None)
    assert Manifest.model_validate_json(read.model_dump_json()) == read


def test_after_a_manifest_of_the_first_format_states_are_kept(source_url: str, house: Warehouse) -> None:
    """A warehouse of the version before: every table is read whole once, and nothing doubles."""
    _, first = run(source_url, house)
    assert first is not None
    old = json.loads(first.model_dump_json())
    for table in old["tables"].values():
        table["state"] = table["before"] = None
        del table["source_rows"], table["deleted"]
    old["landed"] = [{"part": each["chunk"], "files": each["files"]} for each in old.pop("chunks")]
    for landed in old["landed"]:
        del landed["part"]["whole"]
    house.raw.write_text(first.path, json.dumps(old | {"format": 1}))
    execute(house.url, "UPDATE etl.model SET result = NULL")
    house.prepared = None
    execute(source_url, "DELETE FROM orders WHERE order_id = 5")
    read, _ = run(source_url, house)
    assert set(read.values()) == {("full", "its state was not stored before")}
    assert value(house.url, "SELECT count(*) FROM fact_order") == 6
    assert value(house.url, "SELECT count(*) FROM fact_order_current") == 4
    assert run(source_url, house)[1] is None


def test_a_sealed_batch_without_the_states_that_a_model_needs_is_unfit(
    source_url: str, house: Warehouse
) -> None:
    run(source_url, house)
    execute(source_url, "UPDATE towns SET city = 'Hull' WHERE town_id = 1")
    _, manifest = plan_batch(source_url, house)
    assert manifest is not None
    tables = {
        name: table.model_copy(update={"state": None, "source_rows": None})
        for name, table in manifest.tables.items()
    }
    with pytest.raises(UnfitBatch, match=r"batch .* was read without the state of (shops|towns)"):
        house.bring(manifest.model_copy(update={"tables": tables}))


def test_a_manifest_of_another_kind_is_refused(raw: Bucket) -> None:
    raw.write_text("_manifests/after=nothing/x.json", '{"format": 4}')
    line = r"after=nothing/x\.json has format 4, made by a later release; .*; update the pipeline$"
    with pytest.raises(BucketError, match=line):
        sealed_after(raw, None)
    raw.write_text("_manifests/after=nothing/x.json", '{"format": 2}')
    with pytest.raises(BucketError, match=r"x\.json is .*: it is not a manifest of this version"):
        sealed_after(raw, None)


def test_a_manifest_holds_no_secret(source_url: str, house: Warehouse) -> None:
    _, manifest = run(source_url, house)
    assert manifest is not None
    text = house.raw.read_text(manifest.path)
    password = source_url.split(":")[2].split("@", maxsplit=1)[0]
    assert password not in text
    assert "postgresql://" not in text


def test_what_landed_is_what_the_manifest_lists(raw: Bucket) -> None:
    planned = empty_plan()
    part = Chunk(batch_id=planned.batch_id, table="t", number=0, of=2)
    files = (File(path=f"{part.folder}/part-1.parquet", rows=3, bytes=10),)
    landed = [
        ReadChunk(chunk=part, files=files),
        ReadChunk(chunk=part.model_copy(update={"number": 1}), files=()),
    ]
    manifest = planned.manifest(landed, {}, {})
    assert manifest.chunks == tuple(landed)
    assert (part.name, part.folder) == ("t 1 of 2", f"t/batch={planned.batch_id}")
