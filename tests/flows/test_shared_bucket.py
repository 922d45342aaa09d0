"""Two environments with one raw bucket: neither loads the other's batches, and a line reports it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from demo.postgres import Postgres
from pipeline import settings
from tasks import save_blocks
from tests.flows.conftest import open_kiosk
from tests.flows.support import World, query, words_of
from tests.support import database

SALES = "SELECT sale_id, pieces FROM fact_sale_current ORDER BY 1"


@pytest.mark.campaign
def test_one_environments_rows_stay_out_of_the_other(
    make_world: Callable[..., World], kiosk: World, caplog: pytest.LogCaptureFixture
) -> None:
    other = open_kiosk(make_world)
    production = World(**(vars(kiosk) | {"raw_uri": other.raw_uri, "processed_uri": other.processed_uri}))
    query(other.source_url, "UPDATE sale SET pieces = 666")
    assert len(other.run().reports) == 1
    caplog.set_level(logging.INFO)
    lines = _lines_of(production)
    name = other.warehouse_url.rsplit("/", 1)[1]
    (said,) = [line for line in lines if "also holds batches of" in line]
    assert f"warehouse {name}.public (" in said
    assert "set TOTESYS_RAW_URI to a bucket or prefix of its own" in said
    assert len(production.run().reports) == 1
    assert f"The raw bucket holds batches of warehouse {name}.public (" in caplog.text
    expected = query(production.source_url, "SELECT sale_id, pieces FROM sale ORDER BY 1")
    assert query(production.warehouse_url, SALES) == expected
    assert query(production.warehouse_url, "SELECT count(*) FROM fact_sale WHERE pieces = 666") == [(0,)]
    assert any("also holds batches of" in line for line in _lines_of(other))


@pytest.mark.campaign
def test_a_copy_is_told_to_take_other_buckets_before_it_runs(kiosk: World, postgres: Postgres) -> None:
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    name = kiosk.warehouse_url.rsplit("/", 1)[1]
    with database(postgres, "copy", f"TEMPLATE {name}") as url:
        copy = World(**(vars(kiosk) | {"warehouse_url": url}))
        lines = [line for world in (kiosk, copy) for line in _lines_of(world)]
    (said,) = [line for line in lines if f"has the batches of warehouse {name}.public (" in line]
    assert said.endswith(
        "if it is a copy, set TOTESYS_RAW_URI and TOTESYS_PROCESSED_URI to buckets of its own"
    )


def _lines_of(world: World) -> list[str]:
    """What checking and saving the blocks prints."""
    with world.entered():
        return list(map(str, save_blocks.check_and_save(settings.load())))


@pytest.mark.campaign
def test_a_batch_of_an_earlier_source_is_not_finished(
    make_world: Callable[..., World], kiosk: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It was sealed and refused; then the settings name another source."""
    query(kiosk.source_url, "INSERT INTO sale VALUES (666, 2, now(), NULL)")
    assert "1 row would be rejected" in words_of(kiosk.run(max_rejected=0).error)
    moved = World(**(vars(kiosk) | {"source_url": open_kiosk(make_world).source_url}))
    assert len(moved.run().reports) == 1
    assert "and the source is database" in caplog.text
    assert query(moved.warehouse_url, "SELECT count(*) FROM etl.rejected") == [(0,)]
    assert query(moved.warehouse_url, SALES) == query(
        moved.source_url, "SELECT sale_id, pieces FROM sale ORDER BY 1"
    )
