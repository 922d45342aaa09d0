"""A load changes everything or nothing, and two loads of one batch load it once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pipeline.errors import ConcurrentRunError, PipelineError, WarehouseError
from pipeline.lake.buckets import Bucket
from pipeline.warehouse import ledger
from pipeline.warehouse.counts import Counts
from tests.faults.proxy import Proxy, Trouble
from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.support import end_sessions, execute, value
from tests.warehouse.shops import FACTS, FIRST, SECOND, TABLES, contents, keys_and_indexes, order, shop

FAILURES = {
    "the last table cannot be written": (
        """
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'insufficient_privilege'; END $$;
        CREATE TRIGGER no BEFORE INSERT ON fact_order EXECUTE FUNCTION no()
        """,
        "DROP FUNCTION no CASCADE",
        WarehouseError,
    ),
    "the watermark cannot be written": (
        """
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
        CREATE TRIGGER no BEFORE INSERT OR UPDATE ON etl.watermark EXECUTE FUNCTION no()
        """,
        "DROP FUNCTION no CASCADE",
        psycopg.errors.RaiseException,
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("first", [True, False], ids=["first batch", "second batch"])
def test_a_failed_load_changes_nothing(house: Warehouse, batches: MadeUp, failure: str, first: bool) -> None:
    break_it, repair, error = FAILURES[failure]
    house.prepare()
    if not first:
        house.bring(batches.batch(FIRST))
    batch = batches.batch(SECOND)
    before, definitions = contents(house), keys_and_indexes(house)
    execute(house.url, break_it)
    with pytest.raises(error):
        house.bring(batch)
    execute(house.url, repair)
    assert contents(house) == before
    assert keys_and_indexes(house) == definitions
    house.bring(batch)
    assert house.query(FACTS) == [(1, 2, "3.50", None), (2, 1, "3.50", None)]
    assert ledger.fetch_last_batch(house.url, "public") == batch.batch_id


@pytest.mark.parametrize("first", [True, False], ids=["first batch", "second batch"])
def test_a_lost_connection_changes_nothing(house: Warehouse, batches: MadeUp, first: bool) -> None:
    house.prepare()
    if not first:
        house.bring(batches.batch(FIRST))
    batch = batches.batch(SECOND)
    before = contents(house)

    def cut(table: str, _: int) -> None:
        if table == "fact_order":
            end_sessions(house.url)

    with pytest.raises(psycopg.OperationalError):
        house.bring(batch, progress=cut)
    assert contents(house) == before
    house.bring(batch)
    assert len(house.query(FACTS)) == 2


def test_an_error_of_the_warehouse_is_one_line_with_its_table(house: Warehouse, batches: MadeUp) -> None:
    house.prepare()
    execute(house.url, FAILURES["the last table cannot be written"][0])
    with pytest.raises(
        WarehouseError, match="warehouse: table fact_order: a trigger or function of the database fails"
    ) as raised:
        house.bring(batches.batch({"shops": [shop(1)], "orders": [order(1), order(2)]}))
    assert "\n" not in str(raised.value)


def test_a_loaded_batch_is_not_loaded_again(house: Warehouse, batches: MadeUp) -> None:
    batch = batches.batch(FIRST)
    counts = house.bring(batch)
    before = contents(house)
    assert house.bring(batch) == counts
    assert contents(house) == before


def test_a_retry_after_an_unanswered_commit_returns_its_counts(house: Warehouse, batches: MadeUp) -> None:
    """The second try returns the counts of the first, rejected rows included."""
    house.prepare()
    made_first = house.bring(batches.batch(FIRST))
    assert made_first
    address = conninfo_to_dict(house.url)
    proxy = Proxy(lambda: int(str(address["port"])))
    batch = batches.batch({"shops": [shop(1, "Bath"), shop(3)], "orders": [order(2), order(3, 9)]})
    behind = replace(house, url=house.url.replace(f":{address['port']}/", f":{proxy.port}/"))

    def swallow(*_: object) -> None:
        proxy.arm(Trouble("unanswered", text=b"COMMIT\0"))

    with pytest.raises(psycopg.OperationalError) as lost:
        behind.bring(batch, progress=swallow)
    assert not isinstance(lost.value, PipelineError), "the task retries this failure"
    assert proxy.hits == 1
    after = contents(house)
    assert ledger.fetch_last_batch(house.url, "public") == batch.batch_id
    counts = behind.bring(batch)
    assert counts["dim_shop"] == Counts(table="dim_shop", read=2, added=1, changed=1)
    assert counts["fact_order"] == Counts(table="fact_order", read=2, added=1, rejected=1)
    assert contents(house) == after
    proxy.close()


def test_only_one_batch_can_follow_another(house: Warehouse, batches: MadeUp, raw: Bucket) -> None:
    house.bring(batches.batch(FIRST))
    rival = MadeUp(raw, TABLES, dict(batches.state), batches.last, batches.number + 10)
    mine, other = batches.batch(SECOND), rival.batch({"shops": [shop(5)], "orders": []})
    house.bring(other)
    with pytest.raises(
        ConcurrentRunError, match=f"follows {mine.previous}, but the warehouse is at {other.batch_id}"
    ):
        house.bring(mine)


def test_concurrent_loads_of_one_batch_load_it_once(house: Warehouse, batches: MadeUp) -> None:
    house.prepare()
    batch = batches.batch({"shops": [shop(i) for i in range(50)], "orders": [order(i, i) for i in range(50)]})

    def attempt(_: int) -> dict[str, Counts]:
        return house.bring(batch)

    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(attempt, range(3))
    assert others == [first, first]
    assert first["fact_order"].added == 50
    assert value(house.url, "SELECT count(*) FROM fact_order") == 50
