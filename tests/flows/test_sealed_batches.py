"""A sealed batch that was not loaded is finished, also after changes of source or models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from psycopg import sql

from pipeline.errors import PipelineError
from pipeline.steps import Pipeline
from tests.flows.support import World, query, words_of


@contextmanager
def source_down(world: World) -> Iterator[None]:
    """Refuse connections to the source while the block runs."""
    switch = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
    name = sql.Identifier(world.source_url.rpartition("/")[2])
    query(world.warehouse_url, switch.format(name, sql.SQL("false")))
    yield
    query(world.warehouse_url, switch.format(name, sql.SQL("true")))


def test_a_sealed_batch_is_finished_without_the_source(kiosk: World, without_retries: None) -> None:
    counts = "SELECT (SELECT count(*) FROM dim_item), (SELECT count(*) FROM fact_sale_current)"
    model = kiosk.transforms / "dim_item.sql"
    right = model.read_text()
    # Only rows show what is wrong, so the batch is read and sealed before.
    model.write_text(right.replace("    label,", "    label::integer::varchar AS label,"))
    assert "does not fit integer" in words_of(kiosk.run().error)
    assert query(kiosk.warehouse_url, "SELECT * FROM etl.watermark") == []
    assert query(kiosk.warehouse_url, counts) == [(0, 0)]

    model.write_text(right)
    with source_down(kiosk):
        finished = kiosk.run()
    assert re.search("source: .*not currently accepting connections", str(finished.error))
    assert query(kiosk.warehouse_url, counts) == [(3, 3)]
    states = {
        "extract item": "Cached",
        "extract sale": "Cached",
        "transform dim_item": "Completed",
        "transform fact_sale": "Cached",
    }
    runs = finished.task_runs(set(states))
    assert {name: run.state_name for name, run in runs.items() if name in states} == states

    loaded = "SELECT batch_id, loaded_at FROM etl.batch"
    before = query(kiosk.warehouse_url, loaded)
    assert kiosk.run().reports == []
    assert query(kiosk.warehouse_url, loaded) == before
    assert query(kiosk.warehouse_url, counts) == [(3, 3)]


def test_a_run_that_fails_before_the_seal_serves_nothing_to_the_next_one(
    kiosk: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PipelineError("the batch cannot be sealed")

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "seal", refused)
        assert "cannot be sealed" in words_of(kiosk.run().error)
    states = {"extract item": "Completed", "extract sale": "Completed"}
    runs = kiosk.run().task_runs(set(states))
    assert {name: run.state_name for name, run in runs.items() if name in states} == states


def test_a_row_with_nan_is_rejected_and_blocks_no_other(kiosk: World) -> None:
    """The column is a numeric(8, 2), here and in the warehouse; the batch is read a second time."""
    query(kiosk.source_url, "UPDATE item SET price = 'NaN' WHERE item_id = 3")
    assert len(kiosk.run().reports) == 1
    items = "SELECT item_id FROM dim_item ORDER BY 1"
    assert query(kiosk.warehouse_url, items) == [(1,), (2,)]
    rejected = "SELECT reason FROM etl.rejected WHERE table_name = 'dim_item' AND NOT resolved"
    assert query(kiosk.warehouse_url, rejected) == [("price does not fit numeric(8,2)",)]
    assert kiosk.run().reports == []
    query(kiosk.source_url, "UPDATE item SET price = 1 WHERE item_id = 3")
    assert len(kiosk.run().reports) == 1
    assert query(kiosk.warehouse_url, items) == [(1,), (2,), (3,)]


@pytest.mark.campaign
def test_a_batch_without_a_column_is_superseded_once_the_column_is_back(kiosk: World) -> None:
    assert kiosk.run().reports
    query(kiosk.source_url, "ALTER TABLE item RENAME COLUMN label TO caption")
    query(kiosk.source_url, "UPDATE item SET caption = 'away' WHERE item_id = 1")
    for _ in range(2):
        assert re.search("dim_item.sql:4: .*label", words_of(kiosk.run().error))
    query(kiosk.source_url, "ALTER TABLE item RENAME COLUMN caption TO label")
    assert kiosk.run().reports
    assert kiosk.run().reports == []
    assert query(kiosk.warehouse_url, "SELECT label FROM dim_item WHERE item_id = 1") == [("away",)]


@pytest.mark.campaign
def test_a_column_that_was_dropped_and_added_again_is_read(kiosk: World) -> None:
    """The batch that was read without it is superseded by one that follows the same batch."""
    assert kiosk.run().state.is_completed()
    query(kiosk.source_url, "UPDATE sale SET pieces = 9 WHERE sale_id = 1")
    query(kiosk.source_url, "ALTER TABLE item RENAME label TO lable")
    for _ in range(2):
        assert re.search(r"dim_item\.sql.*label", words_of(kiosk.run().error))
    query(kiosk.source_url, "ALTER TABLE item RENAME lable TO label")
    query(kiosk.source_url, "UPDATE item SET label = 'parasol' WHERE item_id = 3")
    assert len(kiosk.run().reports) == 1
    assert query(kiosk.warehouse_url, "SELECT pieces FROM fact_sale_current WHERE sale_id = 1") == [(9,)]
    assert query(kiosk.warehouse_url, "SELECT label FROM dim_item WHERE item_id = 3") == [("parasol",)]
    assert kiosk.run().reports == []
