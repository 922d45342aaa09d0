"""Which tables a batch reads, and how much of each."""

from __future__ import annotations

import pytest

from pipeline import RELEASE
from tests.capture.orders import MODELS, run
from tests.house import Warehouse, plan_batch
from tests.support import execute, parquet_rows, query, value, write_models

UNCHANGED = ("unchanged", "changed rows")


def test_the_first_batch_reads_all_rows_and_the_next_the_changed_ones(
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


def test_all_tables_are_read_at_one_snapshot(source_url: str, house: Warehouse) -> None:
    planned, _ = plan_batch(source_url, house)
    assert {spec.snapshot for _, spec in planned.chunks("public", 1_000)} == {planned.snapshot.name}


def test_a_manifest_names_the_release(source_url: str, house: Warehouse) -> None:
    _, manifest = plan_batch(source_url, house)
    assert manifest is not None
    assert manifest.release == RELEASE


def test_states_between_two_batches_are_not_captured(source_url: str, house: Warehouse) -> None:
    run(source_url, house)
    execute(
        source_url,
        "INSERT INTO orders VALUES (6, 1, 'short-lived')",
        "DELETE FROM orders WHERE order_id = 6",
        "UPDATE orders SET amount = 'between' WHERE order_id = 1",
        "UPDATE orders SET amount = 'last' WHERE order_id = 1",
    )
    run(source_url, house)
    versions = "SELECT amount FROM fact_order WHERE order_id IN (1, 6) ORDER BY recorded_at"
    assert house.query(versions) == [("1",), ("last",)]


def test_a_table_that_a_model_reads_for_the_first_time_is_read_in_full(
    source_url: str, house: Warehouse
) -> None:
    execute(source_url, "CREATE TABLE regions (town_id int PRIMARY KEY, city text)")
    run(source_url, house)
    write_models(house.folder, {"dim_shop": "SELECT town_id AS shop_id, city FROM regions"})
    read, _ = run(source_url, house)
    assert read["regions"] == ("full", "not read before")


def test_a_table_whose_model_is_removed_and_put_back_is_read_in_full(
    source_url: str, house: Warehouse
) -> None:
    """A run without the model does not look at the table, but moves the watermark past its changes."""
    run(source_url, house)
    model = house.folder / "fact_order.sql"
    execute(source_url, "UPDATE orders SET amount = '77' WHERE order_id = 1")
    text = model.read_text(encoding="utf-8")
    model.unlink()
    read, _ = run(source_url, house)
    assert set(read) == {"towns", "shops"}
    model.write_text(text, encoding="utf-8")
    read, _ = run(source_url, house)
    assert read["orders"] == ("full", "not read before")
    assert house.query("SELECT amount FROM fact_order_current WHERE order_id = 1") == [("77",)]


def test_a_table_with_another_primary_key_is_read_in_full(source_url: str, house: Warehouse) -> None:
    run(source_url, house)
    execute(source_url, "ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (shop_id, order_id)")
    read, _ = run(source_url, house)
    assert read == {"towns": UNCHANGED, "shops": UNCHANGED, "orders": ("full", "its primary key has changed")}
    assert run(source_url, house)[0]["orders"] == UNCHANGED


CHANGED_SHAPES = {
    "another table has this name now": (
        "CREATE TABLE new (LIKE orders INCLUDING ALL); INSERT INTO new SELECT * FROM orders;"
        " ALTER TABLE orders RENAME TO old; ALTER TABLE new RENAME TO orders"
    ),
    "its columns have changed": "ALTER TABLE orders ADD COLUMN note text",
}


@pytest.mark.parametrize("reason", CHANGED_SHAPES)
def test_a_table_with_a_changed_definition_is_read_in_full(
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
    present = "SELECT order_id, shop_id, amount FROM {} ORDER BY 1"
    assert house.query(present.format("fact_order_current")) == query(source_url, present.format("orders"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"reconcile": True}, "reconciling"), ({"full": True}, "requested")],
    ids=["reconcile", "full"],
)
def test_a_requested_full_or_reconciling_run_reads_in_full(
    source_url: str, house: Warehouse, options: dict[str, bool], reason: str
) -> None:
    run(source_url, house)
    execute(source_url, "DELETE FROM orders WHERE order_id = 5")
    read, manifest = run(source_url, house, **options)
    assert set(read.values()) == {("full", reason)}
    assert manifest is not None
    assert value(house.url, "SELECT count(*) FROM fact_order_current") == 4


def test_changes_count_as_missed_only_in_models_where_an_ordinary_run_finds_none(
    source_url: str, house: Warehouse
) -> None:
    """Not in models over views, with or without a cursor, nor in unstable ones or over changed tables."""
    names = {
        "dim_view": "SELECT town_id, city FROM town_view",
        "dim_cursor": "-- cursor: cursor_view.town_id\nSELECT town_id, city FROM cursor_view",
        "dim_unstable": "-- unstable: allowed\nSELECT town_id, md5(uuid()::varchar) AS city FROM towns",
    }
    for view in ("town_view", "cursor_view"):
        execute(source_url, f"CREATE VIEW {view} AS SELECT * FROM towns")
    tables = (
        f"CREATE TABLE IF NOT EXISTS {name} (town_id integer PRIMARY KEY, city text);" for name in names
    )
    write_models(house.folder, names | {"schema": MODELS["schema"] + "".join(tables)})
    run(source_url, house)
    execute(source_url, "UPDATE orders SET amount = 'x' WHERE order_id = 1")
    planned, _ = plan_batch(source_url, house, reconcile=True)
    assert planned.unchanged == {"dim_shop"}


def test_a_changed_model_is_recomputed_without_reading_the_source(source_url: str, house: Warehouse) -> None:
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


def test_a_changed_model_of_several_tables_is_recomputed_without_reading(
    source_url: str, house: Warehouse
) -> None:
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


def test_a_model_that_joins_more_tables_reads_them_from_their_states(
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
