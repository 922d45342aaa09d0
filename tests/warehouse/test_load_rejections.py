"""A load rejects rows that do not fit or lack a reference, and accepts them once they do."""

from __future__ import annotations

import pytest

from pipeline.errors import PipelineError
from pipeline.lake.buckets import Bucket
from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.support import value, write_models
from tests.warehouse.shops import FACTS, MODELS, TABLES, contents, order, shop


@pytest.mark.parametrize("filled", [False, True], ids=["into an empty table", "into a filled table"])
def test_a_row_with_a_missing_reference_is_rejected_until_it_arrives(
    house: Warehouse, batches: MadeUp, filled: bool
) -> None:
    house.bring(batches.batch({"shops": [shop(1)], "orders": [order(100)] if filled else []}))
    counts = house.bring(batches.batch({"orders": [order(1), order(2, 9, "1.25", "O'Keefe"), order(3, 8)]}))
    assert (counts["fact_order"].added, counts["fact_order"].rejected) == (1, 2)
    assert house.rejected() == [
        ("fact_order", {"order_id": "2"}, "shop_id is not in dim_shop"),
        ("fact_order", {"order_id": "3"}, "shop_id is not in dim_shop"),
    ]
    nothing = house.bring(batches.batch({"orders": [order(1, note="other")]}))
    assert len(house.rejected()) == 2
    assert nothing["fact_order"].changed == 1
    house.bring(batches.batch({"shops": [shop(9)]}))
    assert [row for row in house.query(FACTS) if row[0] == 2] == [(2, 9, "1.25", "O'Keefe")]
    assert [key for _, key, _ in house.rejected()] == [{"order_id": "3"}]
    assert house.query("SELECT resolved, count(*) FROM etl.rejected GROUP BY 1 ORDER BY 1") == [
        (False, 1),
        (True, 1),
    ]


def test_a_newer_row_replaces_the_rejected_one(house: Warehouse, batches: MadeUp) -> None:
    house.bring(batches.batch({"shops": [shop(1)], "orders": [order(1), order(2, 9, note="old")]}))
    house.bring(batches.batch({"orders": [order(2, 1, note="new")]}))
    house.bring(batches.batch({"shops": [shop(9)]}))
    assert house.query(FACTS)[1] == (2, 1, "3.50", "new")
    assert house.rejected() == []


def test_the_newest_rejected_row_of_a_key_is_accepted(house: Warehouse, batches: MadeUp) -> None:
    house.bring(batches.batch({"shops": [shop(1)], "orders": [order(2, 9, note="old")]}))
    house.bring(batches.batch({"orders": [order(2, 8, note="new")]}))
    ((reason, first, last),) = house.query("SELECT reason, first_batch, last_batch FROM etl.rejected")
    assert (reason, first < last) == ("shop_id is not in dim_shop", True)
    house.bring(batches.batch({"shops": [shop(8), shop(9)]}))
    assert house.query("SELECT shop_id, note FROM fact_order") == [(8, "new")]


def test_a_misfit_is_rejected_until_it_fits(house: Warehouse, batches: MadeUp) -> None:
    counts = house.bring(
        batches.batch({"shops": [shop(1), shop(2, None)], "orders": [order(1), order(2, amount="3.456")]})
    )
    assert {name: (count.added, count.rejected) for name, count in counts.items()} == {
        "dim_shop": (1, 1),
        "fact_order": (1, 1),
    }
    assert house.rejected() == [
        ("dim_shop", {"shop_id": "2"}, "city is missing (NULL)"),
        ("fact_order", {"order_id": "2"}, "amount does not fit numeric(10,2)"),
    ]
    house.bring(batches.batch({"shops": [shop(2)], "orders": [order(2, amount="3.45")]}))
    assert house.rejected() == []
    assert house.query(FACTS)[1] == (2, 1, "3.45", None)


def test_a_rejected_change_keeps_the_last_valid_version(house: Warehouse, batches: MadeUp) -> None:
    house.bring(batches.batch({"shops": [shop(1)], "orders": [order(1)]}))
    house.bring(batches.batch({"orders": [order(1, amount="0.001")]}))
    assert house.query(FACTS) == [(1, 1, "3.50", None)]
    assert len(house.rejected()) == 1
    house.bring(batches.batch({"shops": [shop(1)], "orders": [order(1, amount="0.001")]}, reconcile=True))
    assert house.query(FACTS) == [(1, 1, "3.50", None)], "a rejected row is not deleted"


def test_rejected_rows_that_left_the_source_are_resolved(house: Warehouse, batches: MadeUp) -> None:
    house.bring(batches.batch({"shops": [shop(1)], "orders": [order(1), order(2, 9), order(3, amount="x")]}))
    assert len(house.rejected()) == 2
    house.bring(batches.batch({"shops": [shop(1)], "orders": [order(1)]}, reconcile=True))
    assert house.rejected() == []


def test_too_many_rejected_rows_load_nothing(house: Warehouse, batches: MadeUp) -> None:
    house.bring(batches.batch({"shops": [shop(1)], "orders": [order(1)]}))
    before = contents(house)
    invalid = batches.batch({"shops": [shop(2)], "orders": [order(2, 9), order(3, 9)]})
    with pytest.raises(
        PipelineError, match="2 rows would be rejected, more than the 1 allowed; nothing was loaded"
    ):
        house.bring(invalid, max_rejected=1)
    assert contents(house) == before
    house.bring(invalid, max_rejected=2)
    assert value(house.url, "SELECT count(*) FROM etl.batch") == 2


def test_a_rejected_key_is_resolved_however_the_source_spells_it(house: Warehouse, raw: Bucket) -> None:
    files = {
        "fact_code": "-- key: id\nSELECT code AS id, day FROM codes",
        "schema": MODELS["schema"] + "CREATE TABLE IF NOT EXISTS fact_code (id integer NOT NULL, day date);",
    }
    write_models(house.folder, files)
    columns = {"code": "character varying", "day": "character varying"}
    batches = MadeUp(raw, TABLES | {"codes": (columns, ("code",))})
    house.bring(batches.batch({"codes": [{"code": "007", "day": "soon"}]}))
    assert len(house.rejected()) == 1
    house.bring(batches.batch({"codes": [{"code": "007", "day": "2024-01-01"}]}))
    assert value(house.url, "SELECT id FROM fact_code") == 7
    assert house.rejected() == []
