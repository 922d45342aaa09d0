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
