"""A load merges a batch's rows: facts get versions, dimensions are updated, tables load in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.lake.buckets import Bucket
from pipeline.warehouse import ledger
from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.support import Row, execute, value, write_models
from tests.warehouse.shops import FACTS, FIRST, MODELS, TABLES, keys_and_indexes, order, shop


def test_the_first_batch_fills_a_table_and_the_next_is_merged(house: Warehouse, batches: MadeUp) -> None:
    house.prepare()
    before = keys_and_indexes(house)
    first = house.bring(
        batches.batch({"shops": [shop(1), shop(2)], "orders": [order(1), order(2, 2, "7", "x")]})
    )
    assert {name: (count.added, count.changed) for name, count in first.items()} == {
        "dim_shop": (2, 0),
        "fact_order": (2, 0),
    }
    assert keys_and_indexes(house) == before
    assert any("REFERENCES dim_shop" in definition for _, definition in before)
    second = house.bring(
        batches.batch({"shops": [shop(2, "Bath"), shop(3)], "orders": [order(2, 3), order(3)]})
    )
    assert {name: (count.added, count.changed) for name, count in second.items()} == {
        "dim_shop": (1, 1),
        "fact_order": (1, 1),
    }
    assert house.query("SELECT * FROM dim_shop ORDER BY 1") == [
        (1, "York", None),
        (2, "Bath", None),
        (3, "York", None),
    ]
    assert house.query(FACTS) == [(1, 1, "3.50", None), (2, 3, "3.50", None), (3, 1, "3.50", None)]
    assert value(house.url, "SELECT count(*) FROM fact_order") == 4
    assert keys_and_indexes(house) == before


@pytest.mark.parametrize(
    "column",
    ["serial", "bigint GENERATED ALWAYS AS IDENTITY (CACHE 7)", "integer DEFAULT nextval('of_ours')"],
)
def test_rows_are_numbered_without_gaps(
    house: Warehouse, batches: MadeUp, tmp_path: Path, column: str
) -> None:
    execute(house.url, "CREATE SEQUENCE of_ours")
    schema = MODELS["schema"].replace("record_id serial", f"record_id {column}")
    write_models(tmp_path / "models", MODELS | {"schema": schema})
    house.prepare()
    cached = "SELECT seqrelid, seqcache FROM pg_sequence ORDER BY 1"
    before = house.query(cached)
    house.bring(batches.batch({"shops": [shop(1)], "orders": [order(number) for number in range(1, 120)]}))
    assert house.query(cached) == before
    house.bring(batches.batch({"orders": [order(7, amount="4")]}))
    numbers = [number for (number,) in house.query("SELECT record_id FROM fact_order ORDER BY 1")]
    assert numbers == list(range(1, 121))


def test_a_load_records_batch_watermark_and_models(house: Warehouse, batches: MadeUp) -> None:
    manifest = batches.batch({"shops": [shop(1)], "orders": [order(1), order(2, 9)]})
    house.bring(manifest)
    ((batch, previous, path, rows),) = house.query(
        "SELECT batch_id, previous_batch_id, manifest, rows FROM etl.batch"
    )
    assert (batch, previous, path) == (manifest.batch_id, None, manifest.path)
    assert rows["fact_order"] == {
        "read": 2, "added": 1, "changed": 0, "deleted": 0, "rejected": 1, "missed": 0
    }  # fmt: skip
    assert house.query("SELECT batch_id, source_xmin, snapshot_at, up_to_date_at FROM etl.watermark") == [
        (manifest.batch_id, manifest.source_xmin, manifest.snapshot_at, manifest.snapshot_at)
    ]
    assert {
        name: loaded.fingerprint for name, loaded in ledger.fetch_loaded_models(house.url, "public").items()
    } == {name: model.fingerprint for name, model in house.models.items()}
    assert ledger.fetch_last_batch(house.url, "public") == manifest.batch_id


def test_an_unchanged_batch_adds_nothing(house: Warehouse, batches: MadeUp) -> None:
    rows = {"shops": [shop(1, "York", "3.5")], "orders": [order(1), order(2, note="")]}
    house.bring(batches.batch(rows))
    before = (
        house.query("SELECT *, xmin::text FROM fact_order"),
        house.query("SELECT *, xmin::text FROM dim_shop"),
    )
    for full in (False, True):
        counts = house.bring(batches.batch(rows, full=full))
        assert all(count.summary == "nothing new" for count in counts.values())
    after = (
        house.query("SELECT *, xmin::text FROM fact_order"),
        house.query("SELECT *, xmin::text FROM dim_shop"),
    )
    assert after == before


def test_numbers_are_compared_as_numbers_and_text_as_text(house: Warehouse, batches: MadeUp) -> None:
    house.bring(batches.batch({"shops": [shop(1, "York", "3.5")], "orders": [order(1, note="a")]}))
    same = house.bring(
        batches.batch({"shops": [shop(1, "York", "3.50")], "orders": [order(1, amount="3.500", note="a")]})
    )
    assert (same["dim_shop"].changed, same["fact_order"].changed) == (0, 0)
    other = house.bring(batches.batch({"shops": [shop(1, "york", "3.5")], "orders": [order(1, note="a ")]}))
    assert (other["dim_shop"].changed, other["fact_order"].changed) == (1, 1)


@pytest.mark.parametrize(("one", "two"), [(None, ""), ("", None), (None, "None"), ("a", "A"), ("1", "01")])
def test_null_empty_text_and_similar_texts_differ(
    house: Warehouse, batches: MadeUp, one: str | None, two: str | None
) -> None:
    for note in (one, two):
        house.bring(batches.batch({"shops": [shop(1)], "orders": [order(1, note=note)]}))
    assert house.query("SELECT note FROM fact_order ORDER BY recorded_at") == [(one,), (two,)]


def test_only_dimension_rows_that_differ_are_updated(house: Warehouse, batches: MadeUp) -> None:
    house.bring(batches.batch({"shops": [shop(i, "York", str(i)) for i in range(20)]}))
    before = dict(house.query("SELECT shop_id, xmin::text FROM dim_shop"))
    rows = [shop(i, "Bath" if i == 7 else "York", str(i)) for i in range(20)]
    house.bring(batches.batch({"shops": rows}, full=True))
    after = dict(house.query("SELECT shop_id, xmin::text FROM dim_shop"))
    assert {key for key in before if before[key] != after[key]} == {7}


def test_earlier_versions_of_a_dimension_are_kept(house: Warehouse, batches: MadeUp) -> None:
    manifests = [
        batches.batch({"shops": [shop(1, city, rating)]})
        for city, rating in [("York", "3.50"), ("Bath", None), ("York", "3.50")]
    ]
    times = [manifest.snapshot_at for manifest in manifests]
    for manifest in manifests:
        house.bring(manifest)
    assert house.query(
        "SELECT valid_from, valid_to, city, rating::text FROM dim_shop_history ORDER BY valid_to"
    ) == [
        (times[0], times[1], "York", "3.50"),
        (times[1], times[2], "Bath", None),
        (times[2], None, "York", "3.50"),
    ]


def test_a_deleted_dimension_row_stays_and_its_history_ends(house: Warehouse, batches: MadeUp) -> None:
    one, two = batches.batch({"shops": [shop(1), shop(2)], "orders": [order(1, 2)]}), None
    house.bring(one)
    two = batches.batch({"shops": [shop(1)], "orders": [order(1, 2)]}, reconcile=True)
    assert house.bring(two)["dim_shop"].deleted == 1
    assert house.bring(batches.batch({"shops": [shop(1)]}, reconcile=True))["dim_shop"].deleted == 0
    assert value(house.url, "SELECT count(*) FROM dim_shop") == 2
    history = (
        "SELECT valid_from, valid_to, deleted FROM dim_shop_history WHERE shop_id = 2 ORDER BY valid_from"
    )
    ended = (one.snapshot_at, two.snapshot_at, True)
    assert house.query(history) == [ended]
    assert value(house.url, "SELECT count(*) FROM dim_shop_as_of('infinity')") == 1
    back = batches.batch({"shops": [shop(1), shop(2)]})
    assert house.bring(back)["dim_shop"].changed == 1
    assert house.query(history) == [ended, (back.snapshot_at, None, False)]
    assert value(house.url, "SELECT count(*) FROM dim_shop_as_of('infinity')") == 2


def test_a_dimension_row_and_its_parent_may_be_in_one_batch(house: Warehouse, raw: Bucket) -> None:
    write_models(
        house.folder,
        MODELS
        | {
            "dim_unit": "SELECT unit_id, parent_id FROM units",
            "schema": MODELS["schema"] + "CREATE TABLE IF NOT EXISTS dim_unit (unit_id int PRIMARY KEY,"
            " parent_id int REFERENCES dim_unit);",
        },
    )
    batches = MadeUp(raw, TABLES | {"units": ({"unit_id": "integer", "parent_id": "integer"}, ("unit_id",))})
    for first in (1, 11):
        units: list[Row] = [{"unit_id": first + 1, "parent_id": first}, {"unit_id": first, "parent_id": None}]
        counts = house.bring(batches.batch({"units": units}))
        assert (counts["dim_unit"].added, counts["dim_unit"].rejected) == (2, 0)


def test_a_chain_of_rows_is_rejected_until_its_root_arrives(house: Warehouse, raw: Bucket) -> None:
    write_models(
        house.folder,
        {
            "dim_unit": "SELECT unit_id, parent_id FROM units",
            "schema": MODELS["schema"] + "CREATE TABLE IF NOT EXISTS dim_unit (unit_id int PRIMARY KEY,"
            " parent_id int REFERENCES dim_unit);",
        },
    )
    batches = MadeUp(raw, TABLES | {"units": ({"unit_id": "integer", "parent_id": "integer"}, ("unit_id",))})

    def units(*pairs: tuple[int, int | None]) -> dict[str, list[Row]]:
        return {"units": [{"unit_id": unit, "parent_id": parent} for unit, parent in pairs]}

    house.bring(batches.batch(units((1, None))))
    counts = house.bring(batches.batch(units((4, 3), (3, 2), (2, 9), (5, 1))))
    assert (counts["dim_unit"].added, counts["dim_unit"].rejected) == (1, 3)
    house.bring(batches.batch(units((9, None))))
    assert [unit for (unit,) in house.query("SELECT unit_id FROM dim_unit ORDER BY 1")] == [1, 2, 3, 4, 5, 9]
    assert house.rejected() == []


def test_the_warehouse_may_be_in_another_schema_than_public(house: Warehouse, batches: MadeUp) -> None:
    execute(house.url, "CREATE SCHEMA dw")
    house.schema = "dw"
    house.bring(batches.batch(FIRST))
    house.bring(batches.batch({"shops": [shop(2)], "orders": [order(2, 2), order(1, 3)]}))
    assert value(house.url, "SELECT count(*) FROM dw.fact_order_current") == 2
    assert value(house.url, "SELECT count(*) FROM dw.fact_order_as_of(now())") == 2
    assert value(house.url, "SELECT to_regclass('public.fact_order')") is None
    assert len(house.rejected()) == 1
