"""Columns that change or disappear, and relations with a cursor."""

from __future__ import annotations

import pytest

from pipeline.errors import ModelError
from pipeline.lake.manifests import sealed_after
from pipeline.source.cursors import Cursor
from pipeline.warehouse import ledger
from tests.capture.orders import run
from tests.house import Warehouse, plan_batch
from tests.support import execute, value, write_models


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
            (
                "fact_order.sql:2: reads table orders, which schema public of the source does not have;"
                " create it or the seed seeds/orders.csv, or correct its name"
            ),
        ),
        (
            "DROP TABLE orders; CREATE TABLE orders ()",
            "fact_order.sql:2: reads table orders, of which the source's role may read no column; ",
        ),
        (
            "ALTER TABLE orders RENAME amount TO total",
            (
                r"fact_order\.sql:2: reads orders\.amount, which the source no longer has; it has total now;"
                " change the model$"
            ),
        ),
    ],
)
def test_a_lost_table_or_column_that_a_model_needs_is_named(
    source_url: str, house: Warehouse, change: str, words: str
) -> None:
    run(source_url, house)
    before = ledger.fetch_watermark(house.url, "public")
    execute(source_url, change)
    with pytest.raises(ModelError, match=words):
        run(source_url, house)
    assert ledger.fetch_watermark(house.url, "public") == before


def test_a_seed_is_suggested_for_a_table_that_is_missing_but_no_model_for_itself(
    source_url: str, house: Warehouse
) -> None:
    write_models(house.folder, {"dim_method": "SELECT code AS shop_id FROM seed_method"})
    (house.folder / "seeds").mkdir()
    (house.folder / "seeds/method.csv").write_text("code,label\n1,Card\n", encoding="utf-8")
    execute(house.url, "CREATE TABLE dim_method (shop_id bigint PRIMARY KEY)")
    with pytest.raises(ModelError, match=r"dim_method\.sql:\d: reads table seed_method.*; write method$"):
        run(source_url, house)


def test_nothing_is_read_until_a_model_that_does_not_fit_is_fixed(source_url: str, house: Warehouse) -> None:
    run(source_url, house)
    execute(source_url, "ALTER TABLE orders RENAME amount TO total")
    with pytest.raises(ModelError):
        run(source_url, house)
    write_models(
        house.folder,
        {"fact_order": "-- key: order_id\nSELECT order_id, shop_id, total AS amount FROM orders"},
    )
    assert sealed_after(house.raw, ledger.fetch_last_batch(house.url, "public")) is None
    read, _ = run(source_url, house)
    assert read["orders"] == ("full", "its columns have changed")
    assert value(house.url, "SELECT count(*) FROM fact_order") == 5
    assert run(source_url, house)[1] is None


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
    execute(source_url, "UPDATE orders SET amount = '44', changed_at = '2020-01-01' WHERE order_id = 4")
    amount = "SELECT amount FROM fact_order_current WHERE order_id = 4"
    run(source_url, house)
    assert house.query(amount) == [("4",)], "a cursor sees no change that does not raise its column"
    run(source_url, house, reconcile=True)
    assert house.query(amount) == [("44",)]
    assert house.query("SELECT order_id FROM fact_order WHERE deleted ORDER BY 1") == [(2,), (3,)]
    execute(source_url, "UPDATE orders SET amount = '2', changed_at = now() + '2 minutes' WHERE order_id = 2")
    run(source_url, house)
    assert house.query("SELECT order_id FROM fact_order_current ORDER BY 1") == [(1,), (2,), (4,), (5,)]


def test_a_view_without_a_cursor_is_read_in_full_every_time(source_url: str, house: Warehouse) -> None:
    execute(source_url, "CREATE VIEW order_view AS SELECT * FROM orders")
    write_models(
        house.folder, {"fact_order": "-- key: order_id\nSELECT order_id, shop_id, amount FROM order_view"}
    )
    run(source_url, house)
    execute(source_url, "UPDATE orders SET amount = 'new' WHERE order_id = 2")
    read, _ = run(source_url, house)
    assert read["order_view"] == ("full", "no xmin and no cursor column")
    assert value(house.url, "SELECT count(*) FROM fact_order") == 6
    execute(source_url, "DELETE FROM orders WHERE order_id = 3")
    run(source_url, house)
    assert house.query("SELECT order_id FROM fact_order WHERE deleted") == [(3,)]
