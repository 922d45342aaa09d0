"""A sealed batch that cannot be loaded is superseded by one that reads the source again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.rebuild import rebuild
from tests.flows.support import World, query, words_of

SALES = "SELECT sale_id, item_id, pieces FROM fact_sale_current ORDER BY sale_id"


@pytest.fixture
def refused(kiosk: World) -> World:
    """A kiosk whose last batch is sealed and refused: a sale lacks its pieces, and no row may be rejected."""
    assert kiosk.run().state.is_completed()
    query(kiosk.source_url, "INSERT INTO sale VALUES (4, 2, now(), NULL)")
    for _ in range(2):
        assert "1 row would be rejected" in words_of(kiosk.run(max_rejected=0).error)
    return kiosk


def equal(kiosk: World) -> bool:
    wanted = query(kiosk.source_url, "SELECT sale_id, item_id, pieces FROM sale ORDER BY sale_id")
    return query(kiosk.warehouse_url, SALES) == wanted


def test_a_correction_in_the_source_is_loaded(refused: World) -> None:
    query(refused.source_url, "UPDATE sale SET pieces = 4 WHERE sale_id = 4")
    assert len(refused.run(max_rejected=0).reports) == 1
    assert equal(refused)
    assert refused.run().reports == []


@pytest.mark.campaign
def test_a_reverted_change_leaves_nothing_to_load(refused: World) -> None:
    query(refused.source_url, "DELETE FROM sale WHERE sale_id = 4")
    assert refused.run(max_rejected=0).state.is_completed()
    assert equal(refused)


@pytest.mark.campaign
def test_lost_raw_objects_of_the_batch_are_read_again(refused: World) -> None:
    query(refused.source_url, "UPDATE sale SET pieces = 4 WHERE sale_id = 4")
    shutil.rmtree(Path(refused.raw_uri) / "sale")
    assert refused.run().state.is_completed()
    assert equal(refused)
    query(refused.source_url, "DELETE FROM sale WHERE sale_id = 1")
    assert refused.run().state.is_completed()
    assert equal(refused)


@pytest.mark.campaign
def test_the_error_includes_the_second_attempt(refused: World) -> None:
    query(refused.source_url, "ALTER TABLE sale RENAME pieces TO piece")
    words = words_of(refused.run(max_rejected=0).error)
    assert "would be rejected" in words
    assert "the source was read again: " in words
    assert "pieces" in words


@pytest.mark.campaign
def test_a_lost_result_is_computed_again(make_world: Callable[..., World], tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "dim_total.sql").write_text(
        "SELECT item_id, CAST(sum(pieces) AS bigint) AS pieces FROM sale GROUP BY item_id"
    )
    (models / "schema.sql").write_text(
        "CREATE TABLE IF NOT EXISTS dim_total (item_id integer PRIMARY KEY, pieces bigint);"
    )
    world = make_world("totals", models)
    query(
        world.source_url, "CREATE TABLE sale (sale_id integer PRIMARY KEY, item_id integer, pieces integer)"
    )
    query(world.source_url, "INSERT INTO sale VALUES (1, 1, 1), (2, 1, 2), (3, 2, 3)")
    assert world.run().state.is_completed()
    shutil.rmtree(Path(world.processed_uri) / "dim_total")
    query(world.source_url, "UPDATE sale SET pieces = 7 WHERE sale_id = 3")
    assert world.run().state.is_completed()
    assert query(world.warehouse_url, "SELECT * FROM dim_total ORDER BY 1") == [(1, 3), (2, 7)]


@pytest.mark.campaign
def test_many_deletions_fail_a_run_until_they_are_allowed(kiosk: World) -> None:
    rows = "SELECT 10 + n, 2, now(), 1 FROM generate_series(1, 1500) AS n"
    query(kiosk.source_url, f"INSERT INTO sale {rows}")
    assert kiosk.run().state.is_completed()
    current = "SELECT count(*) FROM fact_sale_current"
    ((before,),) = query(kiosk.warehouse_url, current)

    query(kiosk.source_url, "CREATE TABLE kept AS SELECT * FROM sale; TRUNCATE sale")
    for _ in range(2):
        words = words_of(kiosk.run().error)
        assert re.fullmatch(r"warehouse: table fact_sale: 1,5\d\d rows would be deleted, .*", words)
        assert 'make run ARGS="--max-deleted-share 1"' in words
        assert "`-- max_deleted_share: 1`" in words
        assert query(kiosk.warehouse_url, current) == [(before,)]

    query(kiosk.source_url, "INSERT INTO sale SELECT * FROM kept; DELETE FROM sale WHERE sale_id = 11")
    assert kiosk.run().state.is_completed(), "the batch that was held back is no trap"
    assert query(kiosk.warehouse_url, current) == [(before - 1,)]
    assert query(kiosk.warehouse_url, "SELECT count(*) FROM fact_sale WHERE deleted") == [(1,)]

    query(kiosk.source_url, "TRUNCATE sale")
    assert "would be deleted" in words_of(kiosk.run().error)
    assert kiosk.run(max_deleted_share=1).state.is_completed()
    assert query(kiosk.warehouse_url, current) == [(0,)]
    assert query(kiosk.warehouse_url, "SELECT count(*) FROM fact_sale WHERE deleted") == [(before,)]
    assert kiosk.run().reports == []

    query(kiosk.source_url, "INSERT INTO sale VALUES (1, 2, now(), 1)")
    assert kiosk.run().state.is_completed()
    query(kiosk.warehouse_url, "DROP SCHEMA public, etl CASCADE; CREATE SCHEMA public")
    with kiosk.entered():
        assert len(rebuild()) == 4, "a rebuild needs no consent to what was allowed before"
    assert query(kiosk.warehouse_url, "SELECT count(*) FROM fact_sale WHERE deleted") == [(before,)]
