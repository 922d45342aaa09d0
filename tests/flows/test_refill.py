"""A run refills tables that are not as they were loaded, even without changes in the source."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from pipeline import settings
from tasks import status
from tasks.status import Verdict
from tests.flows.support import World, query


def test_a_run_names_the_tables_that_it_refills(kiosk: World, caplog: pytest.LogCaptureFixture) -> None:
    assert len(kiosk.run().reports) == 1
    history = (
        "SELECT sale_id, item_id, pieces, valid_from, valid_to, deleted FROM fact_sale_history ORDER BY 1"
    )
    sales = query(kiosk.warehouse_url, history)
    query(kiosk.warehouse_url, "DROP TABLE fact_sale CASCADE")
    with kiosk.entered():
        found = status._inspect(settings.load(), "", "nothing")
    assert [mismatch.reason for mismatch in found.to_refill] == ["warehouse: public.fact_sale is missing"]
    assert status.judge(found, timedelta(days=1)) is Verdict.CRITICAL
    caplog.set_level(logging.INFO)
    assert kiosk.run().reports == []
    assert f"public.fact_sale has 0 rows, and {len(sales)} were loaded; it is refilled" in caplog.text
    assert f"fact_sale: refilled from the raw bucket, {len(sales)} rows" in caplog.text
    assert query(kiosk.warehouse_url, history) == sales
    with kiosk.entered():
        assert status._inspect(settings.load(), "", "nothing").to_refill == ()


def test_a_run_adds_dropped_columns_with_their_values_and_constraints(kiosk: World) -> None:
    kiosk.run()
    look = "SELECT sale_id, pieces, label FROM fact_sale JOIN dim_item USING (item_id) ORDER BY 1"
    required = (
        "SELECT attname::text, attnotnull FROM pg_attribute WHERE attname IN ('pieces', 'label') AND attrelid"
        " IN ('fact_sale'::regclass, 'dim_item'::regclass) ORDER BY 1"
    )
    before = query(kiosk.warehouse_url, look), query(kiosk.warehouse_url, required)
    query(kiosk.warehouse_url, "ALTER TABLE fact_sale DROP COLUMN pieces CASCADE")
    query(kiosk.warehouse_url, "ALTER TABLE dim_item DROP COLUMN label CASCADE")
    assert kiosk.run().reports == []
    assert (query(kiosk.warehouse_url, look), query(kiosk.warehouse_url, required)) == before


@pytest.mark.campaign
def test_another_schema_gets_the_batches_of_the_first_one(kiosk: World) -> None:
    kiosk.run()
    query(kiosk.source_url, "UPDATE sale SET pieces = pieces + 1")
    kiosk.run()
    query(kiosk.warehouse_url, "CREATE SCHEMA other")
    other = World(**(vars(kiosk) | {"more": {"TOTESYS_WAREHOUSE_SCHEMA": "other"}}))
    assert len(other.run().reports) == 2
    first, second = (
        query(
            kiosk.warehouse_url,
            f"SELECT sale_id, pieces, valid_from, valid_to FROM {schema}.fact_sale_history ORDER BY 1, 3",
        )
        for schema in ("public", "other")
    )
    assert first == second
    assert kiosk.run().reports == other.run().reports == []
