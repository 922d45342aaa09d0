"""Warehouse tables and keys that change, and names that are refused."""

from __future__ import annotations

import pytest

from pipeline.errors import ModelError, PipelineError, WarehouseError
from pipeline.warehouse import ledger
from tests.capture.sales import MODELS, SOURCE, STAR, equal
from tests.pair import Pair
from tests.support import execute, value, write_models

WAREHOUSE = {
    "renamed": (
        "ALTER TABLE fact_sale RENAME amount TO total",
        r'public\.fact_sale cannot have a history: .* "amount" to "total"; .* drop its fact_sale_\* views',
    ),
    "one more that is required": (
        "DELETE FROM fact_sale; ALTER TABLE fact_sale ADD COLUMN more int NOT NULL",
        r"fact_sale\.sql: yields no column more, which the warehouse table fact_sale requires",
    ),
    "retyped": (
        "DROP TABLE fact_sale CASCADE; CREATE TABLE fact_sale (sale_id int, shop_id date, amount text)",
        r"fact_sale\.sql:2: column shop_id is INTEGER, the warehouse column is date; cast it in the model",
    ),
    "its key missing": (
        "ALTER TABLE fact_sale DROP COLUMN sale_id CASCADE",
        r"warehouse: public\.fact_sale lacks its key column sale_id; somebody has dropped it\. DROP TABLE",
    ),
}


@pytest.mark.parametrize("case", WAREHOUSE)
def test_a_changed_warehouse_column_is_named(pair: Pair, case: str) -> None:
    change, words = WAREHOUSE[case]
    execute(pair.house.url, *change.split("; "))
    pair.house.prepared = None
    pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
    before = ledger.fetch_watermark(pair.house.url, "public")
    with pytest.raises(PipelineError, match=words) as caught:
        pair.run()
    assert "\n" not in str(caught.value)
    assert ledger.fetch_watermark(pair.house.url, "public") == before


def test_dropped_views_are_created_again(pair: Pair) -> None:
    execute(pair.house.url, "DROP VIEW fact_sale_current, fact_sale_history, dim_shop_history CASCADE")
    pair.house.prepared = None
    pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
    pair.run()
    equal(pair)
    assert value(pair.house.url, "SELECT count(*) FROM fact_sale_as_of(now())") == 5
    assert value(pair.house.url, "SELECT count(*) FROM dim_shop_history") == 2


def test_a_fact_may_get_another_key(pair: Pair) -> None:
    """Its index, views and function use the new key."""
    models = MODELS | {
        "fact_sale": MODELS["fact_sale"].replace("-- key: sale_id", "-- key: sale_id, shop_id")
    }
    write_models(pair.house.folder, models)
    pair.do("UPDATE sale SET shop_id = 3 - shop_id WHERE sale_id = 1")
    with pytest.raises(WarehouseError, match='allow it by ALLOW="rekey fact_sale"'):
        pair.house.prepare()
    pair.house.allow = ("rekey fact_sale",)
    pair.house.prepare()
    pair.run()
    equal(pair)
    assert pair.house.query("SELECT shop_id FROM fact_sale WHERE sale_id = 1 AND deleted") == [(2,)]
    assert pair.house.query("SELECT count(*) FROM fact_sale_as_of(now())") == [(5,)]
    assert pair.house.query("SELECT count(*) FROM fact_sale") == [(7,)]
    pair.do("UPDATE sale SET shop_id = 3 - shop_id WHERE sale_id = 2")
    pair.run()
    equal(pair)


@pytest.mark.parametrize("name", ["valid_from", "valid_to"])
def test_a_dimension_cannot_have_the_columns_of_its_history(shared: Pair, name: str) -> None:
    table = STAR["schema"].replace("town varchar", f"town varchar, {name} integer")
    shared.fresh(MODELS | {"schema": table}, *SOURCE)
    with pytest.raises(ModelError, match=rf"dim_shop\.sql: its table has a column {name}.* AS source_{name}"):
        shared.run()


@pytest.mark.parametrize("key", ["sale_id, shop_id", "amount"])
def test_a_model_may_change_its_key(pair: Pair, key: str) -> None:
    pair.do("UPDATE sale SET shop_id = 2 WHERE sale_id = 2", "DELETE FROM sale WHERE sale_id = 4")
    pair.run()
    write_models(
        pair.house.folder, {"fact_sale": f"-- key: {key}\nSELECT sale_id, shop_id, amount FROM sale"}
    )
    pair.house.allow = ("rekey fact_sale",)
    pair.house.prepare()
    pair.run()
    equal(pair)
    pair.do("UPDATE sale SET shop_id = 1 WHERE sale_id = 5", "DELETE FROM sale WHERE sale_id = 1")
    pair.run()
    equal(pair)


def test_a_key_that_does_not_distinguish_versions_is_named(pair: Pair) -> None:
    write_models(
        pair.house.folder, {"fact_sale": "-- key: shop_id\nSELECT sale_id, shop_id, amount FROM sale"}
    )
    words = r"table fact_sale: 2 of 2 rows would be rejected \(more than one row has this key\); correct"
    pair.house.allow = ("rekey fact_sale",)
    pair.house.prepare()
    before = ledger.fetch_watermark(pair.house.url, "public")
    with pytest.raises(PipelineError, match=words):
        pair.run()
    assert ledger.fetch_watermark(pair.house.url, "public") == before
