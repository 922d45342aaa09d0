"""Loading: one transaction brings a batch and its watermark in, or nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pipeline.errors import ConcurrentRunError, ModelError, PipelineError, WarehouseBusy, WarehouseError
from pipeline.lake.buckets import Bucket
from pipeline.source import snapshots
from pipeline.source.snapshots import Snapshot
from pipeline.warehouse import ledger, load
from pipeline.warehouse.counts import Counts
from tests.faults.proxy import Proxy, Trouble
from tests.support import MadeUp, Row, Warehouse, execute, plan_batch, query, value, write_models

MODELS = {
    "dim_shop": "SELECT shop_id, city, rating FROM shops",
    "fact_order": "-- key: order_id\nSELECT order_id, shop_id, amount, note FROM orders",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (
            shop_id integer PRIMARY KEY, city varchar NOT NULL, rating numeric
        );
        CREATE TABLE IF NOT EXISTS fact_order (
            record_id serial PRIMARY KEY,
            order_id integer NOT NULL,
            shop_id integer NOT NULL REFERENCES dim_shop,
            amount numeric(10, 2) NOT NULL,
            note varchar
        );
    """,
}
TABLES = {
    "shops": ({"shop_id": "integer", "city": "character varying", "rating": "numeric"}, ("shop_id",)),
    "orders": (
        {"order_id": "integer", "shop_id": "integer", "amount": "numeric", "note": "character varying"},
        ("order_id",),
    ),
}


def shop(shop_id: int, city: str | None = "York", rating: str | None = None) -> Row:
    return {"shop_id": shop_id, "city": city, "rating": rating}


def order(order_id: int, shop_id: int = 1, amount: str = "3.50", note: str | None = None) -> Row:
    return {"order_id": order_id, "shop_id": shop_id, "amount": amount, "note": note}


@pytest.fixture
def house(warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path) -> Warehouse:
    """A warehouse of one dimension and one fact that refers to it."""
    write_models(tmp_path / "models", MODELS)
    return Warehouse(warehouse_url, tmp_path / "models", raw, processed)


@pytest.fixture
def made(raw: Bucket) -> MadeUp:
    """Batches of shops and orders."""
    return MadeUp(raw, TABLES)


FACTS = "SELECT order_id, shop_id, amount::text, note FROM fact_order_current ORDER BY 1"


def contents(house: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """All that a load may touch."""
    names = (
        "dim_shop",
        "fact_order",
        "etl.batch",
        "etl.watermark",
        "etl.model",
        "etl.rejected",
        "dim_shop_version",
    )
    return {name: house.query(f"SELECT * FROM {name} ORDER BY 1, 2") for name in names}


def keys_and_indexes(house: Warehouse) -> list[tuple[Any, ...]]:
    return house.query(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'fact_order'::regclass"
        " UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'fact_order' ORDER BY 1, 2"
    )


def test_the_first_batch_is_filled_in_and_the_next_is_merged(house: Warehouse, made: MadeUp) -> None:
    house.prepare()
    before = keys_and_indexes(house)
    first = house.bring(
        made.batch({"shops": [shop(1), shop(2)], "orders": [order(1), order(2, 2, "7", "x")]})
    )
    assert {name: (count.added, count.changed) for name, count in first.items()} == {
        "dim_shop": (2, 0),
        "fact_order": (2, 0),
    }
    assert keys_and_indexes(house) == before
    assert any("REFERENCES dim_shop" in definition for _, definition in before)
    second = house.bring(made.batch({"shops": [shop(2, "Bath"), shop(3)], "orders": [order(2, 3), order(3)]}))
    assert {name: (count.added, count.changed) for name, count in second.items()} == {
        "dim_shop": (1, 1),
        "fact_order": (1, 1),
    }
    assert house.query("SELECT * FROM dim_shop ORDER BY 1") == [
        (1, "York", None),
        (2, "Bath", None),
        (3, "York", None),
    ]
    assert house.query(FACTS) == [(1, 1, "3.50", None), (2, 3, "3.50", None), (3, 1, "3.50", None)]
    assert value(house.url, "SELECT count(*) FROM fact_order") == 4
    assert keys_and_indexes(house) == before


@pytest.mark.parametrize(
    "column",
    ["serial", "bigint GENERATED ALWAYS AS IDENTITY (CACHE 7)", "integer DEFAULT nextval('of_ours')"],
)
def test_rows_are_numbered_without_gaps(house: Warehouse, made: MadeUp, tmp_path: Path, column: str) -> None:
    execute(house.url, "CREATE SEQUENCE of_ours")
    schema = MODELS["schema"].replace("record_id serial", f"record_id {column}")
    write_models(tmp_path / "models", MODELS | {"schema": schema})
    house.prepare()
    cached = "SELECT seqrelid, seqcache FROM pg_sequence ORDER BY 1"
    before = house.query(cached)
    house.bring(made.batch({"shops": [shop(1)], "orders": [order(number) for number in range(1, 120)]}))
    assert house.query(cached) == before
    house.bring(made.batch({"orders": [order(7, amount="4")]}))
    numbers = [number for (number,) in house.query("SELECT record_id FROM fact_order ORDER BY 1")]
    assert numbers == list(range(1, 121))


def test_dimensions_come_before_facts_and_references_before_referrers(house: Warehouse) -> None:
    assert load.load_order(house.prepare().values()) == ["dim_shop", "fact_order"]


def test_tables_that_refer_to_each_other_are_named(house: Warehouse) -> None:
    dimension, fact = (house.prepare()[name] for name in ("dim_shop", "fact_order"))
    back = fact.references[0].model_copy(update={"to_table": "fact_order"})
    circle = dimension.model_copy(update={"references": (back,)})
    with pytest.raises(WarehouseError, match=r"in a circle: .*fact_order"):
        load.load_order([circle, fact])


def test_a_batch_is_written_down(house: Warehouse, made: MadeUp) -> None:
    manifest = made.batch({"shops": [shop(1)], "orders": [order(1), order(2, 9)]})
    house.bring(manifest)
    ((batch, previous, path, rows),) = house.query(
        "SELECT batch_id, previous_batch_id, manifest, rows FROM etl.batch"
    )
    assert (batch, previous, path) == (manifest.batch_id, None, manifest.path)
    assert rows["fact_order"] == {
        "read": 2, "added": 1, "changed": 0, "deleted": 0, "rejected": 1, "missed": 0
    }  # fmt: skip
    assert house.query("SELECT batch_id, source_xmin, snapshot_at, up_to_date_at FROM etl.watermark") == [
        (manifest.batch_id, manifest.source_xmin, manifest.snapshot_at, manifest.snapshot_at)
    ]
    assert {name: loaded.fingerprint for name, loaded in ledger.loaded(house.url, "public").items()} == {
        name: model.fingerprint for name, model in house.models.items()
    }
    assert ledger.last_batch(house.url, "public") == manifest.batch_id


def test_an_unchanged_batch_adds_nothing(house: Warehouse, made: MadeUp) -> None:
    rows = {"shops": [shop(1, "York", "3.5")], "orders": [order(1), order(2, note="")]}
    house.bring(made.batch(rows))
    before = (
        house.query("SELECT *, xmin::text FROM fact_order"),
        house.query("SELECT *, xmin::text FROM dim_shop"),
    )
    for full in (False, True):
        counts = house.bring(made.batch(rows, full=full))
        assert all(count.summary == "nothing new" for count in counts.values())
    after = (
        house.query("SELECT *, xmin::text FROM fact_order"),
        house.query("SELECT *, xmin::text FROM dim_shop"),
    )
    assert after == before


def test_numbers_are_compared_as_numbers_and_text_as_text(house: Warehouse, made: MadeUp) -> None:
    house.bring(made.batch({"shops": [shop(1, "York", "3.5")], "orders": [order(1, note="a")]}))
    same = house.bring(
        made.batch({"shops": [shop(1, "York", "3.50")], "orders": [order(1, amount="3.500", note="a")]})
    )
    assert (same["dim_shop"].changed, same["fact_order"].changed) == (0, 0)
    other = house.bring(made.batch({"shops": [shop(1, "york", "3.5")], "orders": [order(1, note="a ")]}))
    assert (other["dim_shop"].changed, other["fact_order"].changed) == (1, 1)


@pytest.mark.parametrize(("one", "two"), [(None, ""), ("", None), (None, "None"), ("a", "A"), ("1", "01")])
def test_null_and_empty_and_look_alikes_differ(
    house: Warehouse, made: MadeUp, one: str | None, two: str | None
) -> None:
    for note in (one, two):
        house.bring(made.batch({"shops": [shop(1)], "orders": [order(1, note=note)]}))
    assert house.query("SELECT note FROM fact_order ORDER BY recorded_at") == [(one,), (two,)]


# Dimensions


def test_only_dimension_rows_that_differ_are_touched(house: Warehouse, made: MadeUp) -> None:
    house.bring(made.batch({"shops": [shop(i, "York", str(i)) for i in range(20)]}))
    before = dict(house.query("SELECT shop_id, xmin::text FROM dim_shop"))
    rows = [shop(i, "Bath" if i == 7 else "York", str(i)) for i in range(20)]
    house.bring(made.batch({"shops": rows}, full=True))
    after = dict(house.query("SELECT shop_id, xmin::text FROM dim_shop"))
    assert {key for key in before if before[key] != after[key]} == {7}


def test_earlier_versions_of_a_dimension_are_kept(house: Warehouse, made: MadeUp) -> None:
    manifests = [
        made.batch({"shops": [shop(1, city, rating)]})
        for city, rating in [("York", "3.50"), ("Bath", None), ("York", "3.50")]
    ]
    times = [manifest.snapshot_at for manifest in manifests]
    for manifest in manifests:
        house.bring(manifest)
    assert house.query(
        "SELECT valid_from, valid_to, city, rating::text FROM dim_shop_history ORDER BY valid_to"
    ) == [
        (times[0], times[1], "York", "3.50"),
        (times[1], times[2], "Bath", None),
        (times[2], None, "York", "3.50"),
    ]


def test_a_dimension_row_that_the_source_lost_stays_and_its_history_ends(
    house: Warehouse, made: MadeUp
) -> None:
    one, two = made.batch({"shops": [shop(1), shop(2)], "orders": [order(1, 2)]}), None
    house.bring(one)
    two = made.batch({"shops": [shop(1)], "orders": [order(1, 2)]}, reconcile=True)
    assert house.bring(two)["dim_shop"].deleted == 1
    assert house.bring(made.batch({"shops": [shop(1)]}, reconcile=True))["dim_shop"].deleted == 0
    assert value(house.url, "SELECT count(*) FROM dim_shop") == 2
    history = (
        "SELECT valid_from, valid_to, deleted FROM dim_shop_history WHERE shop_id = 2 ORDER BY valid_from"
    )
    ended = (one.snapshot_at, two.snapshot_at, True)
    assert house.query(history) == [ended]
    assert value(house.url, "SELECT count(*) FROM dim_shop_as_of('infinity')") == 1
    back = made.batch({"shops": [shop(1), shop(2)]})
    assert house.bring(back)["dim_shop"].changed == 1
    assert house.query(history) == [ended, (back.snapshot_at, None, False)]
    assert value(house.url, "SELECT count(*) FROM dim_shop_as_of('infinity')") == 2


def test_a_dimension_row_and_its_parent_may_come_together(house: Warehouse, raw: Bucket) -> None:
    write_models(
        house.folder,
        MODELS
        | {
            "dim_unit": "SELECT unit_id, parent_id FROM units",
            "schema": MODELS["schema"] + "CREATE TABLE IF NOT EXISTS dim_unit (unit_id int PRIMARY KEY,"
            " parent_id int REFERENCES dim_unit);",
        },
    )
    made = MadeUp(raw, TABLES | {"units": ({"unit_id": "integer", "parent_id": "integer"}, ("unit_id",))})
    for first in (1, 11):
        units: list[Row] = [{"unit_id": first + 1, "parent_id": first}, {"unit_id": first, "parent_id": None}]
        counts = house.bring(made.batch({"units": units}))
        assert (counts["dim_unit"].added, counts["dim_unit"].rejected) == (2, 0)


def test_a_chain_whose_root_is_missing_waits_and_comes_in_with_it(house: Warehouse, raw: Bucket) -> None:
    write_models(
        house.folder,
        {
            "dim_unit": "SELECT unit_id, parent_id FROM units",
            "schema": MODELS["schema"] + "CREATE TABLE IF NOT EXISTS dim_unit (unit_id int PRIMARY KEY,"
            " parent_id int REFERENCES dim_unit);",
        },
    )
    made = MadeUp(raw, TABLES | {"units": ({"unit_id": "integer", "parent_id": "integer"}, ("unit_id",))})

    def units(*pairs: tuple[int, int | None]) -> dict[str, list[Row]]:
        return {"units": [{"unit_id": unit, "parent_id": parent} for unit, parent in pairs]}

    house.bring(made.batch(units((1, None))))
    counts = house.bring(made.batch(units((4, 3), (3, 2), (2, 9), (5, 1))))
    assert (counts["dim_unit"].added, counts["dim_unit"].rejected) == (1, 3)
    house.bring(made.batch(units((9, None))))
    assert [unit for (unit,) in house.query("SELECT unit_id FROM dim_unit ORDER BY 1")] == [1, 2, 3, 4, 5, 9]
    assert house.rejected() == []


# Rows set aside


@pytest.mark.parametrize("filled", [False, True], ids=["into an empty table", "into a filled table"])
def test_a_missing_reference_sets_a_row_aside_until_it_comes(
    house: Warehouse, made: MadeUp, filled: bool
) -> None:
    house.bring(made.batch({"shops": [shop(1)], "orders": [order(100)] if filled else []}))
    counts = house.bring(made.batch({"orders": [order(1), order(2, 9, "1.25", "O'Keefe"), order(3, 8)]}))
    assert (counts["fact_order"].added, counts["fact_order"].rejected) == (1, 2)
    assert house.rejected() == [
        ("fact_order", {"order_id": "2"}, "shop_id is not in dim_shop"),
        ("fact_order", {"order_id": "3"}, "shop_id is not in dim_shop"),
    ]
    nothing = house.bring(made.batch({"orders": [order(1, note="other")]}))
    assert len(house.rejected()) == 2
    assert nothing["fact_order"].changed == 1
    house.bring(made.batch({"shops": [shop(9)]}))
    assert [row for row in house.query(FACTS) if row[0] == 2] == [(2, 9, "1.25", "O'Keefe")]
    assert [key for _, key, _ in house.rejected()] == [{"order_id": "3"}]
    assert house.query("SELECT resolved, count(*) FROM etl.rejected GROUP BY 1 ORDER BY 1") == [
        (False, 1),
        (True, 1),
    ]


def test_a_newer_row_supersedes_the_one_that_waits(house: Warehouse, made: MadeUp) -> None:
    house.bring(made.batch({"shops": [shop(1)], "orders": [order(1), order(2, 9, note="old")]}))
    house.bring(made.batch({"orders": [order(2, 1, note="new")]}))
    house.bring(made.batch({"shops": [shop(9)]}))
    assert house.query(FACTS)[1] == (2, 1, "3.50", "new")
    assert house.rejected() == []


def test_the_newest_of_the_rows_that_wait_comes_in(house: Warehouse, made: MadeUp) -> None:
    house.bring(made.batch({"shops": [shop(1)], "orders": [order(2, 9, note="old")]}))
    house.bring(made.batch({"orders": [order(2, 8, note="new")]}))
    ((reason, first, last),) = house.query("SELECT reason, first_batch, last_batch FROM etl.rejected")
    assert (reason, first < last) == ("shop_id is not in dim_shop", True)
    house.bring(made.batch({"shops": [shop(8), shop(9)]}))
    assert house.query("SELECT shop_id, note FROM fact_order") == [(8, "new")]


def test_an_unfit_row_is_set_aside_and_accepted_once_it_fits(house: Warehouse, made: MadeUp) -> None:
    counts = house.bring(
        made.batch({"shops": [shop(1), shop(2, None)], "orders": [order(1), order(2, amount="3.456")]})
    )
    assert {name: (count.added, count.rejected) for name, count in counts.items()} == {
        "dim_shop": (1, 1),
        "fact_order": (1, 1),
    }
    assert house.rejected() == [
        ("dim_shop", {"shop_id": "2"}, "city is missing (NULL)"),
        ("fact_order", {"order_id": "2"}, "amount does not fit numeric(10,2)"),
    ]
    house.bring(made.batch({"shops": [shop(2)], "orders": [order(2, amount="3.45")]}))
    assert house.rejected() == []
    assert house.query(FACTS)[1] == (2, 1, "3.45", None)


def test_a_version_that_does_not_fit_leaves_the_last_one_that_did(house: Warehouse, made: MadeUp) -> None:
    house.bring(made.batch({"shops": [shop(1)], "orders": [order(1)]}))
    house.bring(made.batch({"orders": [order(1, amount="0.001")]}))
    assert house.query(FACTS) == [(1, 1, "3.50", None)]
    assert len(house.rejected()) == 1
    house.bring(made.batch({"shops": [shop(1)], "orders": [order(1, amount="0.001")]}, reconcile=True))
    assert house.query(FACTS) == [(1, 1, "3.50", None)], "set aside is not deleted"


def test_what_was_set_aside_and_left_the_source_is_resolved(house: Warehouse, made: MadeUp) -> None:
    house.bring(made.batch({"shops": [shop(1)], "orders": [order(1), order(2, 9), order(3, amount="x")]}))
    assert len(house.rejected()) == 2
    house.bring(made.batch({"shops": [shop(1)], "orders": [order(1)]}, reconcile=True))
    assert house.rejected() == []


def test_too_many_rows_set_aside_load_nothing(house: Warehouse, made: MadeUp) -> None:
    house.bring(made.batch({"shops": [shop(1)], "orders": [order(1)]}))
    before = contents(house)
    bad = made.batch({"shops": [shop(2)], "orders": [order(2, 9), order(3, 9)]})
    with pytest.raises(
        PipelineError, match="2 rows would be rejected, more than the 1 allowed; nothing was loaded"
    ):
        house.bring(bad, max_rejected=1)
    assert contents(house) == before
    house.bring(bad, max_rejected=2)
    assert value(house.url, "SELECT count(*) FROM etl.batch") == 2


def test_a_key_that_is_written_otherwise_in_the_source_is_resolved_too(house: Warehouse, raw: Bucket) -> None:
    files = {
        "fact_code": "-- key: id\nSELECT code AS id, day FROM codes",
        "schema": MODELS["schema"] + "CREATE TABLE IF NOT EXISTS fact_code (id integer NOT NULL, day date);",
    }
    write_models(house.folder, files)
    columns = {"code": "character varying", "day": "character varying"}
    made = MadeUp(raw, TABLES | {"codes": (columns, ("code",))})
    house.bring(made.batch({"codes": [{"code": "007", "day": "soon"}]}))
    assert len(house.rejected()) == 1
    house.bring(made.batch({"codes": [{"code": "007", "day": "2024-01-01"}]}))
    assert value(house.url, "SELECT id FROM fact_code") == 7
    assert house.rejected() == []


# All or nothing


FIRST = {"shops": [shop(1)], "orders": [order(1)]}
SECOND = {"shops": [shop(1, "Bath"), shop(2)], "orders": [order(1, 2), order(2)]}
FAULTS = {
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


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("first", [True, False], ids=["first batch", "second batch"])
def test_a_failure_anywhere_leaves_everything_as_it_was(
    house: Warehouse, made: MadeUp, fault: str, first: bool
) -> None:
    break_it, mend_it, error = FAULTS[fault]
    house.prepare()
    if not first:
        house.bring(made.batch(FIRST))
    batch = made.batch(SECOND)
    before, definitions = contents(house), keys_and_indexes(house)
    execute(house.url, break_it)
    with pytest.raises(error):
        house.bring(batch)
    execute(house.url, mend_it)
    assert contents(house) == before
    assert keys_and_indexes(house) == definitions
    house.bring(batch)
    assert house.query(FACTS) == [(1, 2, "3.50", None), (2, 1, "3.50", None)]
    assert ledger.last_batch(house.url, "public") == batch.batch_id


@pytest.mark.parametrize("first", [True, False], ids=["first batch", "second batch"])
def test_a_connection_that_is_cut_leaves_everything_as_it_was(
    house: Warehouse, made: MadeUp, first: bool
) -> None:
    house.prepare()
    if not first:
        house.bring(made.batch(FIRST))
    batch = made.batch(SECOND)
    before = contents(house)

    def cut(table: str, _: int) -> None:
        if table == "fact_order":
            execute(
                house.url,
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )

    with pytest.raises(psycopg.OperationalError):
        house.bring(batch, progress=cut)
    assert contents(house) == before
    house.bring(batch)
    assert len(house.query(FACTS)) == 2


def test_what_the_warehouse_refuses_is_one_line_with_its_table(house: Warehouse, made: MadeUp) -> None:
    house.prepare()
    execute(house.url, FAULTS["the last table cannot be written"][0])
    with pytest.raises(
        WarehouseError, match="warehouse: table fact_order: a trigger or function of the database refuses"
    ) as caught:
        house.bring(made.batch({"shops": [shop(1)], "orders": [order(1), order(2)]}))
    assert "\n" not in str(caught.value)


# Two at once


def test_a_batch_that_is_in_the_warehouse_is_not_loaded_again(house: Warehouse, made: MadeUp) -> None:
    batch = made.batch(FIRST)
    counts = house.bring(batch)
    before = contents(house)
    assert house.bring(batch) == counts
    assert contents(house) == before


def test_a_commit_without_an_answer_is_found_to_be_done(house: Warehouse, made: MadeUp) -> None:
    """The first try cannot know; the second returns what the first did, were it a rejected row."""
    house.prepare()
    made_first = house.bring(made.batch(FIRST))
    assert made_first
    address = conninfo_to_dict(house.url)
    proxy = Proxy(lambda: int(str(address["port"])))
    batch = made.batch({"shops": [shop(1, "Bath"), shop(3)], "orders": [order(2), order(3, 9)]})
    behind = replace(house, url=house.url.replace(f":{address['port']}/", f":{proxy.port}/"))

    def swallow(*_: object) -> None:
        proxy.arm(Trouble("unanswered", text=b"COMMIT\0"))

    with pytest.raises(psycopg.OperationalError) as lost:
        behind.bring(batch, progress=swallow)
    assert not isinstance(lost.value, PipelineError), "the task tries such a fault again"
    assert proxy.hits == 1
    after = contents(house)
    assert ledger.last_batch(house.url, "public") == batch.batch_id
    counts = behind.bring(batch)
    assert counts["dim_shop"] == Counts(table="dim_shop", read=2, added=1, changed=1)
    assert counts["fact_order"] == Counts(table="fact_order", read=2, added=1, rejected=1)
    assert contents(house) == after
    proxy.close()


def test_of_two_batches_after_the_same_one_the_first_wins(
    house: Warehouse, made: MadeUp, raw: Bucket
) -> None:
    house.bring(made.batch(FIRST))
    rival = MadeUp(raw, TABLES, dict(made.state), made.last, made.number + 10)
    mine, other = made.batch(SECOND), rival.batch({"shops": [shop(5)], "orders": []})
    house.bring(other)
    with pytest.raises(
        ConcurrentRunError, match=f"follows {mine.previous}, but the warehouse is at {other.batch_id}"
    ):
        house.bring(mine)


def test_of_loads_of_one_batch_at_the_same_time_one_does_it(house: Warehouse, made: MadeUp) -> None:
    house.prepare()
    batch = made.batch({"shops": [shop(i) for i in range(50)], "orders": [order(i, i) for i in range(50)]})

    def attempt(_: int) -> dict[str, Counts]:
        return house.bring(batch)

    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(attempt, range(3))
    assert others == [first, first]
    assert first["fact_order"].added == 50
    assert value(house.url, "SELECT count(*) FROM fact_order") == 50


def test_a_warehouse_is_locked_for_one_run(warehouse_url: str) -> None:
    with (
        ledger.lock(warehouse_url, "public"),
        pytest.raises(WarehouseBusy, match="another run is at work"),
        ledger.lock(warehouse_url, "public"),
    ):
        pass
    with ledger.lock(warehouse_url, "public"):
        pass


def test_a_lock_whose_connection_is_gone_is_noticed(warehouse_url: str) -> None:
    """The run goes no further, and what it did before does not fail for it."""
    with ledger.lock(warehouse_url, "public") as lock:
        lock.check()
        execute(
            warehouse_url,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        with ledger.lock(warehouse_url, "public"):
            pass
        with pytest.raises(ConcurrentRunError, match=r"keeps other runs away was lost.*run again"):
            lock.check()


def test_timeouts_of_the_role_do_not_end_what_is_held_open(warehouse_url: str, source_url: str) -> None:
    """A lock and a snapshot live through what others do meanwhile, however short the timeouts are."""
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


# What others do meanwhile


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a second for a lock."""
    monkeypatch.setenv("TOTESYS_LOCK_TIMEOUT", "1")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("shops", [[shop(1), shop(2)], []], ids=["filled before", "empty"])
def test_a_first_load_waits_for_no_reader_of_a_table_that_it_does_not_fill(
    house: Warehouse, made: MadeUp, shops: list[Row]
) -> None:
    house.bring(made.batch({"shops": shops}))
    before = keys_and_indexes(house)
    with psycopg.connect(house.url) as analyst:
        analyst.execute("SELECT * FROM dim_shop")
        counts = house.bring(made.batch({"orders": [order(1), order(2, 2), order(3, 9)]}))["fact_order"]
    rejected = 1 if shops else 3
    assert (counts.added, counts.rejected) == (3 - rejected, rejected)
    assert keys_and_indexes(house) == before
    house.bring(made.batch({"shops": [shop(9)]}))
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


def test_being_up_to_date_is_noted_and_never_goes_back(house: Warehouse, made: MadeUp) -> None:
    batch = made.batch(FIRST)
    house.bring(batch)
    later = datetime(2030, 1, 1, tzinfo=UTC)
    ledger.record_up_to_date(house.url, "public", batch.batch_id, snapshot_at(later, 5000))
    ledger.record_up_to_date(
        house.url, "public", batch.batch_id, snapshot_at(datetime(2029, 1, 1, tzinfo=UTC), 5000)
    )
    assert house.query("SELECT up_to_date_at, source_xmin, batch_id FROM etl.watermark") == [
        (later, 5000, batch.batch_id)
    ]
    for batch_id, xmin in ((batch.batch_id, 4999), ("another", 6000)):
        with pytest.raises(ConcurrentRunError):
            ledger.record_up_to_date(house.url, "public", batch_id, snapshot_at(later, xmin))


# Preparing


def test_preparing_twice_changes_nothing(house: Warehouse, made: MadeUp) -> None:
    one = house.prepare()
    house.bring(made.batch(FIRST))
    before = contents(house), keys_and_indexes(house)
    assert house.prepare() == one
    assert (contents(house), keys_and_indexes(house)) == before


def test_two_first_runs_at_once_both_prepare(house: Warehouse) -> None:
    with ThreadPoolExecutor(3) as pool:
        targets = list(pool.map(lambda _: house.prepare(), range(3)))
    assert targets[0] == targets[1] == targets[2]


def test_a_contract_is_what_the_catalogue_says(house: Warehouse) -> None:
    fact = house.prepare()["fact_order"]
    assert (fact.fact, fact.key) == (True, ("order_id",))
    assert [(column.name, column.type, column.required, column.filled) for column in fact.columns] == [
        ("record_id", "integer", True, True),
        ("order_id", "integer", True, False),
        ("shop_id", "integer", True, False),
        ("amount", "numeric(10,2)", True, False),
        ("note", "character varying", False, False),
    ]
    assert [(reference.columns, reference.to_table) for reference in fact.references] == [
        (("shop_id",), "dim_shop")
    ]
    assert house.prepare()["dim_shop"].key == ("shop_id",)


def test_facts_keep_the_columns_that_their_users_know_and_what_their_versions_need(house: Warehouse) -> None:
    house.prepare()
    columns = house.query(
        "SELECT table_name::text, array_agg(column_name::text ORDER BY ordinal_position)"
        " FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name LIKE 'fact_order%' GROUP BY 1 ORDER BY 1"
    )
    known = ["record_id", "order_id", "shop_id", "amount", "note"]
    assert columns == [
        ("fact_order", [*known, "recorded_at", "superseded_at", "deleted", "committed_at"]),
        ("fact_order_current", known),
        ("fact_order_history", ["valid_from", "valid_to", "deleted", *known]),
    ]


def test_tables_that_were_there_before_the_pipeline_keep_their_rows(house: Warehouse, made: MadeUp) -> None:
    execute(
        house.url,
        MODELS["schema"],
        "INSERT INTO dim_shop VALUES (1, 'York', NULL), (7, 'Hull', 1)",
        "INSERT INTO fact_order (order_id, shop_id, amount) VALUES (1, 1, 3.50), (2, 7, 1.00)",
    )
    batch = made.batch({"shops": [shop(1)], "orders": [order(1), order(2, 1)]})
    house.bring(batch)
    assert house.query(FACTS) == [(1, 1, "3.50", None), (2, 1, "3.50", None)]
    assert house.query(
        "SELECT order_id, shop_id, valid_from::text, valid_to FROM fact_order_history ORDER BY 1, valid_from"
    ) == [
        (1, 1, "-infinity", None),
        (2, 7, "-infinity", batch.snapshot_at),
        (2, 1, str(value(house.url, "SELECT max(recorded_at)::text FROM fact_order")), None),
    ]
    assert value(house.url, f"SELECT count(*) FROM fact_order_as_of('{batch.snapshot_at}')") == 2
    assert value(house.url, "SELECT count(*) FROM dim_shop") == 2


def test_a_column_that_table_and_model_gain_is_in_the_views(house: Warehouse, made: MadeUp) -> None:
    house.bring(made.batch(FIRST))
    execute(
        house.url,
        "ALTER TABLE fact_order ADD COLUMN size varchar",
        "ALTER TABLE dim_shop ADD COLUMN size varchar",
    )
    write_models(
        house.folder,
        {
            "dim_shop": "SELECT shop_id, city, rating, 'big' AS size FROM shops",
            "fact_order": "-- key: order_id\nSELECT *, 'small' AS size FROM orders",
        },
    )
    house.bring(made.batch(FIRST, full=True))
    assert house.query("SELECT order_id, size FROM fact_order_current") == [(1, "small")]
    assert house.query("SELECT size FROM fact_order_history ORDER BY valid_from") == [(None,), ("small",)]
    assert house.query("SELECT size FROM dim_shop_history ORDER BY valid_to") == [(None,), ("big",)]
    assert house.query("SELECT size FROM fact_order_as_of('infinity')") == [("small",)]


def test_another_schema_than_public(house: Warehouse, made: MadeUp) -> None:
    execute(house.url, "CREATE SCHEMA dw")
    house.schema = "dw"
    house.bring(made.batch(FIRST))
    house.bring(made.batch({"shops": [shop(2)], "orders": [order(2, 2), order(1, 3)]}))
    assert value(house.url, "SELECT count(*) FROM dw.fact_order_current") == 2
    assert value(house.url, "SELECT count(*) FROM dw.fact_order_as_of(now())") == 2
    assert value(house.url, "SELECT to_regclass('public.fact_order')") is None
    assert len(house.rejected()) == 1


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"schema": "SELECT 1"}, WarehouseError, r"public\.dim_shop is missing; add it to .*schema\.sql"),
        ({"schema": "CREATE TABLE dim_shop ("}, WarehouseError, r"schema\.sql: syntax error"),
        (
            {"fact_order": "SELECT order_id FROM orders"},
            ModelError,
            r"fact_order\.sql: no business key: add a line `-- key: ",
        ),
        (
            {"fact_order": "-- key: id\nSELECT 1 AS id"},
            ModelError,
            "key column id is not in the warehouse table fact_order",
        ),
        ({"dim_typo": "SELECT 1 AS id"}, WarehouseError, r"public\.dim_typo is missing"),
    ],
)
def test_what_does_not_match_is_named_before_anything_is_made(
    house: Warehouse, files: dict[str, str], error: type[PipelineError], words: str
) -> None:
    write_models(house.folder, files)
    with pytest.raises(error, match=words) as caught:
        house.prepare()
    assert "\n" not in str(caught.value)
    assert value(house.url, "SELECT count(*) FROM pg_class WHERE relname IN ('dim_shop', 'watermark')") == 0


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (
            "fact_order (order_id integer, shop_id integer, amount numeric, note varchar)",
            "(1, 1, 1), (1, 1, 1)",
        ),
        ("dim_shop (shop_id integer PRIMARY KEY, valid_to date)", "(1, NULL)"),
        ("fact_order (order_id integer, valid_from date)", "(1, NULL)"),
    ],
    ids=["two rows of one key", "a column that the history has", "a column that the fact's history has"],
)
def test_a_table_that_cannot_have_a_history_is_named(house: Warehouse, table: str, rows: str) -> None:
    name = table.split(maxsplit=1)[0]
    execute(house.url, f"CREATE TABLE {table}", f"INSERT INTO {name} VALUES {rows}")
    with pytest.raises(PipelineError, match=name) as caught:
        house.prepare()
    assert "\n" not in str(caught.value)


def test_tables_missing_without_a_schema_file(house: Warehouse) -> None:
    (house.folder / "schema.sql").unlink()
    with pytest.raises(WarehouseError, match=r"tables are missing and there is no .*schema\.sql"):
        house.prepare()


@pytest.fixture
def owner_url(warehouse_url: str) -> Iterator[str]:
    """A plain role that owns the warehouse's database, as docs say it should be."""
    name = warehouse_url.rsplit("/", 1)[1]
    role = f"owner_{name}"
    _, _, tail = warehouse_url.partition("@")
    execute(
        warehouse_url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'S3cret'",
        f"ALTER DATABASE {name} OWNER TO {role}",
    )
    yield f"postgresql://{role}:S3cret@{tail}"
    execute(
        warehouse_url,
        f"ALTER DATABASE {name} OWNER TO postgres",
        f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}",
    )


def test_no_superuser_is_needed(house: Warehouse, made: MadeUp, owner_url: str) -> None:
    house.url = owner_url
    house.bring(made.batch(FIRST))
    house.bring(made.batch(SECOND))
    assert len(house.query(FACTS)) == 2


def test_a_role_that_may_not_make_tables_gets_one_line(house: Warehouse, owner_url: str) -> None:
    name = owner_url.rsplit("/", 1)[1]
    execute(
        house.url, f"ALTER DATABASE {name} OWNER TO postgres", f"REVOKE ALL ON DATABASE {name} FROM PUBLIC"
    )
    execute(house.url, f"GRANT CONNECT ON DATABASE {name} TO owner_{name}")
    house.url = owner_url
    with pytest.raises(WarehouseError, match="warehouse: permission denied") as caught:
        house.prepare()
    assert "\n" not in str(caught.value)


# From source to warehouse, every type

TYPES: dict[str, tuple[str, str, list[str | None]]] = {
    "s": ("smallint", "smallint", ["-32768", None, "7"]),
    "l": ("bigint", "bigint", ["9223372036854775807", "-9223372036854775808", None]),
    "n": ("numeric", "numeric", ["3.50", "NaN", "1e-30"]),
    "d": ("numeric(38,4)", "numeric(38,4)", ["-1234567890123456789012345678901234.5678", "0.0001", None]),
    "r": ("real", "real", ["0.1", "NaN", "-Infinity"]),
    "f": ("double precision", "double precision", ["5e-324", "1.7976931348623157e308", "-0"]),
    "b": ("boolean", "boolean", ["t", "f", None]),
    "x": ("text", "varchar", ["", None, "\\N line\n\"two\"\r\n'\\.'\t\\ 🧾 ,;"]),
    "x2": ("text", "text", ["\\.", "\n", " "]),
    "c": ("char(5)", "char(5)", ["a", "", None]),
    "da": ("date", "date", ["infinity", "0044-03-15 BC", "20223-01-01"]),
    "ti": ("time", "time", ["24:00:00", "00:00:00.000001", None]),
    "ts": ("timestamp", "timestamp", ["-infinity", "0044-03-15 12:00:00.5 BC", "20223-01-01 00:00:01"]),
    "tz": (
        "timestamptz",
        "timestamptz",
        ["infinity", "0044-03-15 12:00:00+02 BC", "2024-02-29 23:59:59.999999-08"],
    ),
    "tt": ("timetz", "timetz", ["10:00:00+05:30", None, "24:00:00-01"]),
    "iv": ("interval", "interval", ["1 mon", "30 days", "-1 year 00:00:01.5"]),
    "u": ("uuid", "uuid", ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", None, None]),
    "j": ("jsonb", "jsonb", ['{"a": [1.50, null, "\\\\N"]}', "null", None]),
    "a": ("text[]", "text[]", ['{"a,b",NULL,"NULL","\\"",""}', "{}", None]),
    "ba": ("bytea", "bytea", ["\\x", "\\x00ff0a5c22", None]),
    "i": ("inet", "inet", ["::1/64", "10.0.0.1", None]),
    "e": ("mood", "mood", ["so so", "O'Keefe", None]),
}


@pytest.mark.parametrize("kind", ["fact", "dim"])
def test_every_type_comes_out_as_it_went_in(
    source_url: str, warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path, kind: str
) -> None:
    enum = "CREATE TYPE mood AS ENUM ('glad', 'so so', 'O''Keefe')"
    execute(
        source_url,
        enum,
        f"CREATE TABLE t (id int PRIMARY KEY, {', '.join(f'{n} {c[0]}' for n, c in TYPES.items())})",
    )
    execute(warehouse_url, enum)
    names = ", ".join(TYPES)
    declared = ", ".join(f"{name} {case[1]}" for name, case in TYPES.items())
    schema = f"CREATE TABLE IF NOT EXISTS {kind}_t (id int PRIMARY KEY, {declared});"
    if kind == "fact":
        schema = schema.replace("int PRIMARY KEY", "int NOT NULL")
    write_models(
        tmp_path / "models", {f"{kind}_t": f"-- key: id\nSELECT id, {names} FROM t", "schema": schema}
    )
    house = Warehouse(warehouse_url, tmp_path / "models", raw, processed)
    shown = ", ".join(f"{name}::text" for name in TYPES)
    for first in (0, 10):  # the first batch fills the table, the second is merged
        with psycopg.connect(source_url) as connection:
            for place in range(3):
                values = [case[2][place] for case in TYPES.values()]
                casts = ", ".join(f"%s::text::{case[0]}" for case in TYPES.values())
                connection.execute(f"INSERT INTO t VALUES (%s, {casts})".encode(), [first + place, *values])
        _, manifest = plan_batch(source_url, house)
        assert manifest is not None
        house.bring(manifest)
        assert house.rejected() == []
        source_rows = query(source_url, f"SELECT id, {shown} FROM t ORDER BY id")
        assert house.query(f"SELECT id, {shown} FROM {kind}_t ORDER BY id") == source_rows
    _, manifest = plan_batch(source_url, house, full=True)
    assert manifest is not None
    (counts,) = house.bring(manifest).values()
    assert counts.summary == "nothing new"


def test_a_change_that_only_looks_equal_is_a_change(
    source_url: str, warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    files = {
        "fact_t": "-- key: id\nSELECT id, i, j, c FROM t",
        "schema": "CREATE TABLE IF NOT EXISTS fact_t (id int NOT NULL, i interval, j jsonb, c varchar)",
    }
    write_models(tmp_path / "models", files)
    house = Warehouse(warehouse_url, tmp_path / "models", raw, processed)
    execute(source_url, "CREATE TABLE t (id int PRIMARY KEY, i interval, j jsonb, c varchar)")
    execute(source_url, "INSERT INTO t VALUES (1, '30 days', '1.0', 'a')")
    changes = [
        "",
        "UPDATE t SET i = '1 mon'",
        "UPDATE t SET j = '1.00'",
        "UPDATE t SET c = 'a '",
        "UPDATE t SET c = 'a '",
    ]
    for change in changes:
        execute(source_url, *filter(None, [change]))
        _, manifest = plan_batch(source_url, house)
        assert manifest is not None
        house.bring(manifest)
    assert house.query("SELECT i::text, j::text, c FROM fact_t ORDER BY recorded_at") == [
        ("30 days", "1.0", "a"),
        ("1 mon", "1.0", "a"),
        ("1 mon", "1.00", "a"),
        ("1 mon", "1.00", "a "),
    ]


@pytest.mark.parametrize("kind", ["fact", "dim"])
def test_columns_may_be_named_as_the_engine_names_things(house: Warehouse, raw: Bucket, kind: str) -> None:
    names = (
        "t",
        "s",
        "d",
        "o",
        "r",
        "version",
        "key",
        "row",
        "new",
        "stage",
        "reason",
        "waits",
        "moment",
        "latest",
        "select",
    )
    columns = ", ".join(f'"{name}"' for name in names)
    declared = ", ".join(f'"{name}" integer' for name in names)
    files = {
        f"{kind}_odd": f"-- key: id\nSELECT id, {columns} FROM odd",
        "schema": MODELS["schema"]
        + f"CREATE TABLE IF NOT EXISTS {kind}_odd (id integer NOT NULL, {declared});",
    }
    write_models(house.folder, files)
    made = MadeUp(raw, TABLES | {"odd": ({"id": "integer"} | dict.fromkeys(names, "integer"), ("id",))})
    first = {"id": 1} | {name: place for place, name in enumerate(names)}
    for row in (first, first | {"t": 100}, first | {"d": 200}):
        house.bring(made.batch({"odd": [row]}))
    history = house.query(f"SELECT t, d, {columns} FROM {kind}_odd_history ORDER BY valid_to")
    assert [row[:2] for row in history] == [(0, 2), (100, 2), (0, 200)]
    assert all(row[5:] == tuple(range(3, len(names))) for row in history)
