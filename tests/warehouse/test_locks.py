"""Locks keep runs of one warehouse apart, and loads wait for no reader."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pipeline.errors import ConcurrentRunError, WarehouseBusy
from pipeline.source import snapshots
from pipeline.source.snapshots import Snapshot
from pipeline.warehouse import ledger
from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.support import Row, end_sessions, execute, query
from tests.warehouse.shops import FIRST, keys_and_indexes, order, shop


def test_a_warehouse_is_locked_for_one_run(warehouse_url: str) -> None:
    with (
        ledger.lock(warehouse_url, "public"),
        pytest.raises(WarehouseBusy, match="another run is at work"),
        ledger.lock(warehouse_url, "public"),
    ):
        pass
    with ledger.lock(warehouse_url, "public"):
        pass


def test_the_transaction_of_a_lock_holds_back_no_vacuum(warehouse_url: str) -> None:
    holders = (
        "SELECT state, backend_xid, backend_xmin FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with ledger.lock(warehouse_url, "public"):
        assert query(warehouse_url, holders) == [("idle in transaction", None, None)]


def test_a_lock_with_a_lost_connection_is_detected(warehouse_url: str) -> None:
    """The run stops, and its earlier work stays."""
    with ledger.lock(warehouse_url, "public") as lock:
        lock.check()
        end_sessions(warehouse_url)
        with ledger.lock(warehouse_url, "public"):
            pass
        with pytest.raises(ConcurrentRunError, match=r"keeps other runs away was lost.*run again"):
            lock.check()


def test_timeouts_of_the_role_do_not_end_locks_and_snapshots(warehouse_url: str, source_url: str) -> None:
    """A lock and a snapshot stay open while other work goes on, even with short timeouts."""
    timeouts = [
        name
        for (name,) in query(
            warehouse_url,
            "SELECT name FROM pg_settings WHERE name ~ '^(idle_.*session|transaction|statement)_timeout$'",
        )
    ]
    for url in (warehouse_url, source_url):
        name = conninfo_to_dict(url)["dbname"]
        for timeout in timeouts:
            execute(url, f"ALTER DATABASE {name} SET {timeout} = '100ms'")
    with (
        ledger.lock(warehouse_url, "public") as lock,
        snapshots.snapshot(source_url) as (connection, snapshot),
    ):
        with psycopg.connect(
            warehouse_url, options=" ".join(f"-c {timeout}=0" for timeout in timeouts)
        ) as other:
            other.execute("SELECT pg_sleep(0.5)")
        lock.check()
        connection.execute("SELECT pg_sleep(0.2)")
        with snapshots.adopt(source_url, snapshot.name) as reader:
            reader.execute("SELECT pg_sleep(0.2)")


@pytest.fixture
def short_lock_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock timeout of one second."""
    monkeypatch.setenv("TOTESYS_LOCK_TIMEOUT", "1")


@pytest.mark.usefixtures("short_lock_timeout")
@pytest.mark.parametrize("shops", [[shop(1), shop(2)], []], ids=["filled before", "empty"])
def test_a_first_load_does_not_wait_for_readers_of_other_tables(
    house: Warehouse, batches: MadeUp, shops: list[Row]
) -> None:
    house.bring(batches.batch({"shops": shops}))
    before = keys_and_indexes(house)
    with psycopg.connect(house.url) as analyst:
        analyst.execute("SELECT * FROM dim_shop")
        counts = house.bring(batches.batch({"orders": [order(1), order(2, 2), order(3, 9)]}))["fact_order"]
    rejected = 1 if shops else 3
    assert (counts.added, counts.rejected) == (3 - rejected, rejected)
    assert keys_and_indexes(house) == before
    house.bring(batches.batch({"shops": [shop(9)]}))
    assert [key for _, key, _ in house.rejected()] == (
        [] if shops else [{"order_id": "1"}, {"order_id": "2"}]
    )


def snapshot_at(moment: datetime, xmin: int) -> Snapshot:
    return Snapshot(
        name="x",
        xmin=xmin,
        xmax=xmin,
        taken_at=moment,
        system="1",
        timeline=1,
        database="d",
        database_oid=1,
        wal=1,
        standby=False,
        started_at=moment,
    )


def test_up_to_date_at_is_what_the_clock_of_the_source_showed_last(house: Warehouse, batches: MadeUp) -> None:
    batch = batches.batch(FIRST)
    house.bring(batch)
    later = datetime(2029, 1, 1, tzinfo=UTC)
    for clock in (datetime(2030, 1, 1, tzinfo=UTC), later):
        ledger.record_up_to_date(house.url, "public", batch.batch_id, snapshot_at(clock, 5000))
    assert house.query("SELECT up_to_date_at, source_xmin, batch_id FROM etl.watermark") == [
        (later, 5000, batch.batch_id)
    ]
    for batch_id, xmin in ((batch.batch_id, 4999), ("another", 6000)):
        with pytest.raises(ConcurrentRunError):
            ledger.record_up_to_date(house.url, "public", batch_id, snapshot_at(later, xmin))
