"""A table whose model has changed is computed again over all batches; nothing of the business changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingsError, WarehouseError
from pipeline.models import library
from pipeline.recovery import restate
from pipeline.review.preview import preview
from pipeline.review.table_preview import Preview
from tests.pair import Pair
from tests.recovery.restating import DAYS, MODELS, SCHEMA, SOURCE, change, restated
from tests.support import execute, write_models


def test_a_changed_model_makes_no_version(lived: Pair) -> None:
    times = "SELECT sale_id, valid_from, valid_to, deleted FROM fact_sale_history ORDER BY 1, 2"
    before = lived.house.query(times)
    expression = MODELS["fact_sale"].replace("amount", "amount * 2 AS amount")
    shop = MODELS["dim_shop"].replace("city", "upper(city) AS city, manager")
    assert change(lived, fact_sale=expression, dim_shop=shop) == ["dim_shop", "fact_sale"]
    assert lived.house.query(times) == before
    amounts = "SELECT amount FROM fact_sale_history WHERE sale_id = 7 ORDER BY valid_from"
    assert lived.house.query(amounts) == [(14,), (140,), (142,)]
    history = "SELECT city, manager FROM dim_shop_history WHERE shop_id = 1 ORDER BY valid_from"
    assert lived.house.query(history) == [("YORK", "Ann"), ("LEEDS", "Ann"), ("LEEDS", "Dot")]


def test_a_new_column_shows_what_it_was_at_each_batch(lived: Pair) -> None:
    assert change(lived, fact_sale=MODELS["fact_sale"].replace("amount", "amount, item")) == ["fact_sale"]
    items = "SELECT item FROM fact_sale_history WHERE sale_id = 8 ORDER BY valid_from"
    assert lived.house.query(items) == [("item 2",), ("item 9",)]
    assert lived.house.query("SELECT count(*) FROM fact_sale WHERE item IS NULL AND NOT deleted") == [(0,)]


def test_a_changed_model_that_loses_its_rows_is_refused(lived: Pair) -> None:
    before = lived.house.query("SELECT * FROM fact_sale_history ORDER BY sale_id, valid_from")
    wrong = MODELS["fact_sale"].replace("amount", "0 * amount AS amount")
    with pytest.raises(
        WarehouseError, match=r"table fact_sale: \d+ of \d+ rows would be rejected \(breaks the rule"
    ):
        restated(lived, {"fact_sale": wrong})
    assert lived.house.query("SELECT * FROM fact_sale_history ORDER BY sale_id, valid_from") == before


def test_rows_that_the_new_model_leaves_out_leave_the_table_and_those_of_others_stay(lived: Pair) -> None:
    house = lived.house
    execute(
        house.url,
        "INSERT INTO dim_total VALUES (-1, 0)",
        "INSERT INTO fact_sale (sale_id, shop_id, amount, recorded_at) VALUES (900, 2, 1, '-infinity')",
    )
    changed = {
        "dim_total": MODELS["dim_total"] + " HAVING shop_id > 1",
        "bridge_shop_item": MODELS["bridge_shop_item"] + " WHERE item <> 'x'",
        "fact_sale": MODELS["fact_sale"] + " WHERE shop_id < 3",
    }
    assert sorted(restated(lived, changed)) == sorted(changed)
    assert house.query("SELECT shop_id FROM dim_total ORDER BY 1") == [(-1,), (2,), (3,)]
    assert house.query("SELECT count(*) FROM fact_sale WHERE shop_id = 3") == [(0,)]
    assert house.query("SELECT count(*) FROM fact_sale WHERE sale_id = 900") == [(1,)]
    assert house.query("SELECT count(*) FROM bridge_shop_item_history WHERE item = 'x'") == [(0,)]


def test_versions_of_before_the_base_batch_stay(lived: Pair) -> None:
    house = lived.house
    *_, base, last = sorted(Path(house.raw.root).glob("_manifests/*/*.json"), key=lambda path: path.name)
    for path in Path(house.raw.root).glob("_manifests/*/*.json"):
        if path not in {base, last}:
            path.unlink()
    times = "SELECT sale_id, valid_from, valid_to, deleted FROM fact_sale_history ORDER BY 1, 2"
    before = house.query(times)
    changed = MODELS["fact_sale"].replace("amount", "amount * 2 AS amount, item")
    assert restated(lived, {"fact_sale": changed, "dim_shop": MODELS["dim_shop"] + " WHERE shop_id < 3"})
    # Sale 8 has another item since, and the shop of sale 30 is left out.
    same = [row for row in before if row[0] not in {8, 30}]
    assert [row for row in house.query(times) if row[0] not in {8, 30}] == same
    versions = "SELECT amount, item FROM fact_sale_history WHERE sale_id = 7 ORDER BY valid_from"
    assert house.query(versions) == [(7, None), (140, "item 1"), (142, "item 1")]
    deleted = "SELECT amount, deleted FROM fact_sale_history WHERE sale_id = 3 ORDER BY valid_from"
    assert house.query(deleted) == [(3, False), (3, True)]
    assert house.query("SELECT DISTINCT shop_id FROM dim_shop_history ORDER BY 1") == [(1,), (2,)]
    assert lived.run() is None


def test_a_plan_says_what_the_next_run_does_and_changes_nothing(lived: Pair) -> None:
    house = lived.house

    def planned() -> dict[str, Preview]:
        models = library.load(house.folder)
        return {each.table: each for each in preview(house.url, "public", models, house.folder, house.raw)}

    assert planned() == {}
    write_models(
        house.folder,
        {
            "dim_shop": MODELS["dim_shop"].replace("city", "upper(city) AS city, opened"),
            "dim_new": "SELECT shop_id FROM shop",
            "fact_sale": MODELS["fact_sale"].replace("sale_id, shop_id", "sale_id + 0 AS sale_id, shop_id"),
            "schema": SCHEMA.replace("manager text", "manager varchar(9), opened date"),
        },
    )
    (house.folder / "dim_total.sql").unlink()
    rows = house.query("SELECT xmin::text FROM etl.model ORDER BY 1")
    found = planned()
    assert {name: each.effect for name, each in found.items()} == {
        "dim_shop": "restated", "dim_new": "created", "fact_sale": "restated", "dim_total": "frozen",
    }  # fmt: skip
    assert found["dim_shop"].altered == ('ALTER TABLE "public"."dim_shop" ADD COLUMN "opened" date',)
    assert found["dim_shop"].by_hand == (
        'ALTER TABLE "public"."dim_shop" ALTER COLUMN "manager" TYPE character varying(9)',
    )
    assert (found["dim_shop"].batches, found["dim_shop"].rows) == (5, 3)
    assert house.query("SELECT xmin::text FROM etl.model ORDER BY 1") == rows


def test_a_named_model_is_restated_with_those_that_read_it(lived: Pair) -> None:
    house = lived.house
    write_models(
        house.folder, {"fact_top": "-- key: sale_id\nSELECT sale_id FROM fact_sale WHERE amount > 5"}
    )
    models = library.load(house.folder)
    assert restate.requested(models, ["fact_sale"]) == ["fact_sale", "fact_top"]
    with pytest.raises(SettingsError, match=r"there is no model fact_sales; did you mean fact_sale\?"):
        restate.requested(models, ["fact_sales"])
    write_models(house.folder, {"fact_top": "-- key: s\n-- unstable: allowed\nSELECT random() AS s"})
    with pytest.raises(SettingsError, match="fact_top cannot be restated, because fact_top is unstable"):
        restate.requested(library.load(house.folder), ["fact_top"])


def test_a_table_that_was_changed_by_hand_is_as_the_lake_has_it_after_restating(lived: Pair) -> None:
    house = lived.house
    before = house.query("SELECT * FROM fact_sale_history ORDER BY sale_id, valid_from")
    execute(house.url, "UPDATE fact_sale SET amount = amount + 1 WHERE sale_id < 5")
    names = restate.requested(house.models, ["fact_sale"])
    done = house.restate(names)
    assert done[0].updated > 0
    assert house.query("SELECT * FROM fact_sale_history ORDER BY sale_id, valid_from") == before


def test_a_deleted_dimension_row_is_the_same_in_a_rebuild_and_may_be_left_out(shared: Pair) -> None:
    house = shared.house
    shared.live(MODELS, SOURCE, (*DAYS, ("DELETE FROM shop WHERE shop_id = 1",)))
    found = house.rehearse()
    assert (found.differences, found.gaps) == ([], [])
    restated(shared, {"dim_shop": MODELS["dim_shop"] + " WHERE shop_id > 1"})
    assert house.query("SELECT DISTINCT shop_id FROM dim_shop_history ORDER BY 1") == [(2,), (3,)]


def test_layout_is_no_change(lived: Pair) -> None:
    house = lived.house
    write_models(
        house.folder, {"fact_sale": "-- key: sale_id\nselect sale_id,\n  shop_id, amount\nfrom sale"}
    )
    house.prepared = None
    house.targets()
    assert house.changed_models() == []


def test_a_row_of_others_may_refer_to_rows_that_batches_bring(shared: Pair) -> None:
    """A dimension's row that somebody has made, whose city and whose parent the pipeline loads."""
    models = {
        "dim_city": "SELECT DISTINCT city FROM shop",
        "dim_shop": "SELECT shop_id, city FROM shop",
        "schema": """
            CREATE TABLE IF NOT EXISTS dim_city (city text PRIMARY KEY);
            CREATE TABLE IF NOT EXISTS dim_shop (
                shop_id integer PRIMARY KEY, city text REFERENCES dim_city, parent integer REFERENCES dim_shop
            );
        """,
    }
    shared.live(models, SOURCE, ())
    execute(shared.house.url, "INSERT INTO dim_shop VALUES (-1, 'Hull', 1)")
    shared.run()
    assert restated(shared, {"dim_shop": f"{models['dim_shop']} WHERE shop_id < 9"}) == ["dim_shop"]
    shops = shared.house.query("SELECT * FROM dim_shop ORDER BY 1")
    assert shops == [(-1, "Hull", 1), (1, "York", None), (2, "Hull", None)]
