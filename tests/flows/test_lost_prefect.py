"""Losing Prefect's database or its stored results loses no data."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.rebuild import rebuild
from tests.flows import test_rebuild
from tests.flows.support import World, blocks_were_changed, client, query
from tests.support import shows

HISTORY = (
    "SELECT sale_id, item_id, pieces, valid_from, valid_to, deleted FROM fact_sale_history ORDER BY 1, 4"
)


@pytest.mark.campaign
@shows("Prefect's database")
def test_a_lost_prefect_database_loses_nothing(kiosk: World) -> None:
    assert len(kiosk.run().reports) == 1
    query(kiosk.source_url, "UPDATE sale SET pieces = pieces + 1 WHERE sale_id = 1")
    with client() as prefect:
        for document in prefect.read_block_documents():
            prefect.delete_block_document(document.id)
        for run in prefect.read_flow_runs():
            prefect.delete_flow_run(run.id)
    blocks_were_changed()
    (report,) = kiosk.run().reports
    assert report.rows_read == 1, "what changed, and no more"


@pytest.mark.campaign
@shows("the processed bucket without its `_results`, or any objects of it, and the warehouse")
def test_processed_objects_may_go_in_any_order(kiosk: World) -> None:
    kiosk.run()
    query(kiosk.source_url, "UPDATE sale SET pieces = pieces + 1")
    kiosk.run()
    before = query(kiosk.warehouse_url, HISTORY)
    for first in (0, 1):
        objects = sorted(each for each in Path(kiosk.processed_uri).rglob("*") if each.is_file())
        rows, results = (
            [each for each in objects if ("_results" in each.parts) is kept] for kept in (False, True)
        )
        for each in (*rows[first::2], *results[1 - first :: 3]):
            each.unlink()
        test_rebuild.lose(kiosk)
        with kiosk.entered():
            assert len(rebuild()) == 2
        assert query(kiosk.warehouse_url, HISTORY) == before
    query(kiosk.source_url, "UPDATE sale SET pieces = pieces + 1 WHERE sale_id = 1")
    assert len(kiosk.run().reports) == 1
    now = "SELECT sale_id, pieces FROM {} ORDER BY 1"
    assert query(kiosk.warehouse_url, now.format("fact_sale_current")) == query(
        kiosk.source_url, now.format("sale")
    )
