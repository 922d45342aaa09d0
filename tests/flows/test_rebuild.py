"""A lost warehouse is rebuilt from the raw bucket, exactly as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from prefect.client.schemas.objects import State
from psycopg import sql

from demo import shop
from flows.rebuild import rebuild
from pipeline.errors import PipelineError
from pipeline.lake.buckets import folder
from pipeline.lake.manifest import Manifest
from pipeline.models import library
from pipeline.recovery.rehearsal import rehearse
from pipeline.warehouse import load as loading
from tasks.report import BatchReport
from tests.flows.shop_runs import FACTS, ORACLES, TRANSFORMS
from tests.flows.support import EQUAL, World, difference, ended, query

ORDERS = 120
Contents = dict[str, list[str]]
# When it was loaded is another time now; up to when it was seen is told by runs without a batch.
# Paths in the processed bucket are new each time.
_NOT_REBUILT = (
    "loaded_at",
    "up_to_date_at",
    "upgraded_at",
    "result",
    "seconds",
    "table_oid",
    "version_oid",
    "version_filenode",
    "filenode",
    "etl_oid",
)


@dataclass(frozen=True)
class Life:
    """What a warehouse held after each of its batches."""

    world: World
    after: list[Contents]
    moments: list[datetime]


def contents(url: str) -> Contents:
    """All rows of all tables, serial ids and times of loading left out."""
    tables = query(
        url,
        "SELECT table_schema, table_name, array_agg(column_name::text ORDER BY ordinal_position)"
        " FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)"
        " WHERE table_schema IN ('public', 'etl') AND table_type = 'BASE TABLE'"
        " AND coalesce(column_default, '') NOT LIKE 'nextval%%' AND is_identity = 'NO'"
        # The digest of marts names the tables by oid.
        " AND column_name <> ALL(%s) AND (table_name, column_name) <> ('mart', 'digest') GROUP BY 1, 2",
        list(_NOT_REBUILT),
    )
    rows = sql.SQL("SELECT ROW({})::text FROM {} ORDER BY 1")
    return {
        f"{schema}.{name}": [
            row
            for (row,) in query(
                url, rows.format(sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(schema, name))
            )
        ]
        for schema, name, names in tables
    }


def lose(world: World) -> None:
    """Drop everything in the warehouse."""
    query(
        world.warehouse_url,
        "DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS etl CASCADE; CREATE SCHEMA public",
    )


@contextmanager
def source_down(world: World) -> Iterator[None]:
    """Refuse connections to the source."""
    parts = urlsplit(world.source_url)
    elsewhere, name = parts._replace(path="/postgres").geturl(), sql.Identifier(parts.path.strip("/"))
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    query(elsewhere, allow.format(name, sql.SQL("false")))
    with pytest.raises(psycopg.OperationalError):
        query(world.source_url, "SELECT 1")
    yield
    query(elsewhere, allow.format(name, sql.SQL("true")))


def run(world: World, **parameters: Any) -> State[list[BatchReport]]:
    """Rebuild; an error is returned."""
    world.save_blocks()
    with world.entered():
        return ended(rebuild, **parameters)


def days(world: World) -> Iterator[bool]:
    """What happens between the runs; each yields whether the next one reconciles."""
    yield False
    shop.working_day(world.source_url)  # silent edits, a department that moves, an order that is deleted
    query(
        world.source_url,
        "UPDATE sales_order SET agreed_delivery_date = '2023-02-30' WHERE sales_order_id IN (3, 4)",
    )
    query(world.source_url, "UPDATE currency SET currency_code = 'XYZ' WHERE currency_id = 1")
    yield False
    query(
        world.source_url,
        "UPDATE sales_order SET agreed_delivery_date = '2023-03-01' WHERE sales_order_id = 3",
    )
    yield False
    yield True
    query(world.source_url, "UPDATE payment SET paid = NOT paid WHERE payment_id % 7 = 0")
    query(world.source_url, "UPDATE currency SET currency_code = 'GBP' WHERE currency_id = 1")
    yield False


@pytest.fixture(scope="module")
def life(make_world: Callable[..., World]) -> Life:
    world = make_world("rebuilt", TRANSFORMS)
    with psycopg.connect(world.source_url) as connection:
        shop.create(connection)
        shop.fill(connection, ORDERS)
    life = Life(world, [], [])
    for reconcile in days(world):
        report = world.run(reconcile=reconcile).reports[0]
        life.after.append(contents(world.warehouse_url))
        life.moments.append(report.snapshot_at)
    return life


def test_the_lake_is_not_empty(life: Life) -> None:
    last = life.after[-1]
    assert len(last["etl.batch"]) == 5
    assert len(last["public.dim_staff_version"]) > len(last["public.dim_staff"])
    # Resolved, and still open; the schema and who rejected it follow.
    assert {row.rsplit(",", 3)[1] for row in last["etl.rejected"]} == {"t", "f"}
    assert any(
        row.endswith(",t,)") for row in last["public.fact_sales_order"]
    )  # deleted, committed when nobody knows
    assert len(last["public.fact_payment"]) > len(life.after[0]["public.fact_payment"])


@pytest.mark.campaign
def test_verifying_a_complete_lake_changes_nothing(life: Life) -> None:
    url, raw = life.world.warehouse_url, folder(life.world.raw_uri)
    *_, found = rehearse(url, "public", library.load(TRANSFORMS), TRANSFORMS, raw)
    assert (found.differences, found.gaps, len(found.batches)) == ([], [], 5)
    assert contents(url) == life.after[-1]


def test_a_rebuild_restores_everything_without_the_source(life: Life) -> None:
    lose(life.world)
    with source_down(life.world):
        reports = run(life.world).result()
        assert contents(life.world.warehouse_url) == life.after[-1]
        assert [report.snapshot_at for report in reports] == life.moments
        assert run(life.world).result() == []
    assert contents(life.world.warehouse_url) == life.after[-1]


@pytest.mark.campaign
def test_a_rebuild_stops_at_any_time_and_continues(life: Life) -> None:
    lose(life.world)
    for number, moment in enumerate(life.moments):
        assert run(life.world, until=moment - timedelta(microseconds=1)).result() == []
        if number:
            assert contents(life.world.warehouse_url) == life.after[number - 1]
        assert len(run(life.world, until=moment).result()) == 1
        assert contents(life.world.warehouse_url) == life.after[number]


@pytest.mark.campaign
def test_an_interrupted_rebuild_continues(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    lose(life.world)
    commit = loading._record

    def ended(connection: Any, schema: str, manifest: Manifest, *rest: Any) -> None:
        commit(connection, schema, manifest, *rest)
        if manifest.snapshot_at == life.moments[2]:
            raise PipelineError("the power is cut")

    with monkeypatch.context() as patched:
        patched.setattr(loading, "_record", ended)
        with pytest.raises(PipelineError, match="the power is cut"):
            run(life.world).result()
    assert contents(life.world.warehouse_url) == life.after[1]
    assert len(run(life.world).result()) == 3
    assert contents(life.world.warehouse_url) == life.after[-1]


@pytest.mark.campaign
def test_the_next_run_reads_only_what_changed(life: Life) -> None:
    """The last test, because it adds a batch."""
    lose(life.world)
    run(life.world).result()
    query(
        life.world.source_url,
        "UPDATE sales_order SET agreed_delivery_date = '2023-03-02' WHERE sales_order_id = 4",
    )
    (report,) = life.world.run().reports
    assert report.rows_read == 1
    for table, oracle in ORACLES.items():
        found = difference(life.world, "public", oracle, f"{table}_current" if table in FACTS else table)
        assert found.missing == []
        assert table not in FACTS or found == EQUAL
