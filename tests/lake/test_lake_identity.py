"""Several warehouses may share a raw bucket; batches of another warehouse or source are never loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from demo.postgres import Postgres
from pipeline.errors import LakeIncomplete
from pipeline.lake import chains, manifests
from pipeline.recovery.rebuild import Selection
from pipeline.source.snapshots import identify
from pipeline.warehouse import ledger
from tests.house import plan_batch
from tests.pair import EMPTY, Pair
from tests.pair import pair as open_pair
from tests.support import database, execute, shows, write_models

SALES = {
    "fact_sale": "-- key: sale_id\nSELECT sale_id, amount FROM sale",
    "schema": "CREATE TABLE IF NOT EXISTS fact_sale (sale_id integer NOT NULL, amount integer);",
}
SHOPS = {
    "dim_shop": "SELECT shop_id, town FROM shop",
    "schema": "CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, town text);",
}
BOTH = {
    "fact_town": "-- key: town\n"
    "SELECT town, sum(amount) AS total FROM sale JOIN shop USING (shop_id) GROUP BY town",
    "schema": "CREATE TABLE IF NOT EXISTS fact_town (town text NOT NULL, total bigint);",
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, town text)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount int)",
    "INSERT INTO shop VALUES (1, 'York'), (2, 'Bath')",
    "INSERT INTO sale VALUES (1, 1, 10), (2, 2, 20)",
)
LOOKS = {
    "fact_sale": ("sale_id, amount, recorded_at, deleted", "SELECT sale_id, amount FROM sale"),
    "dim_shop": ("shop_id, town", "SELECT shop_id, town FROM shop"),
    "fact_town": ("town, total", BOTH["fact_town"].partition("\n")[2]),
}


@pytest.fixture(scope="module")
def others(postgres: Postgres) -> Iterator[list[Pair]]:
    """Two more sources with warehouses."""
    with ExitStack() as stack:
        yield [stack.enter_context(open_pair(postgres)) for _ in range(2)]


def environment(pair: Pair, other: Pair, models: dict[str, str], *, own_source: bool = False) -> Pair:
    """A second environment on the lake of a first one: another warehouse and, on request, another source."""
    other.fresh(models, *(SOURCE if own_source else ()))
    house = replace(other.house, raw=pair.house.raw, processed=pair.house.processed)
    return replace(other, house=house, source_url=other.source_url if own_source else pair.source_url)


def is_equal(pair: Pair, table: str) -> bool:
    """Whether a table equals its model on the source."""
    names, text = LOOKS[table]
    shown = f"{table}_current" if table.startswith("fact_") else table
    columns = names.replace(", recorded_at, deleted", "")
    return pair.house.query(f"SELECT {columns} FROM {shown} ORDER BY 1") == sorted(pair.source(text))


def history(pair: Pair, table: str) -> list[tuple[object, ...]]:
    return pair.house.query(f"SELECT {LOOKS[table][0]} FROM {table} ORDER BY 1, 2")


def lose(pair: Pair) -> None:
    """Drop everything in the warehouse."""
    execute(pair.house.url, *EMPTY)
    pair.house.prepared = None
    pair.house.prepare()


def test_another_environments_rows_stay_out(shared: Pair, others: list[Pair]) -> None:
    """Development has its own source and its own warehouse, and the raw bucket of production."""
    shared.fresh(SALES, *SOURCE)
    development = environment(shared, others[0], SALES, own_source=True)
    development.do("UPDATE sale SET amount = 1", "INSERT INTO sale VALUES (666, 1, 1)")
    development.run()
    development.do("UPDATE sale SET amount = 2")
    _, sealed = plan_batch(development.source_url, development.house)
    assert sealed, "and not yet loaded"
    shared.house.prepare()
    with pytest.raises(
        LakeIncomplete, match=f"it has no batch of this warehouse or its source.*{sealed.batch_id}"
    ):
        shared.house.rebuild(source=identify(shared.source_url))
    assert shared.run() is not None
    assert is_equal(shared, "fact_sale")
    shared.do("UPDATE sale SET amount = 30 WHERE sale_id = 1")
    shared.run()
    before = history(shared, "fact_sale")
    assert is_equal(shared, "fact_sale")
    assert {row[0] for row in before} == {1, 2}
    lose(shared)
    assert shared.house.rebuild(source=identify(shared.source_url)) == 2
    assert history(shared, "fact_sale") == before
    development.run()
    assert is_equal(development, "fact_sale")
    assert (666, 2) in [row[:2] for row in history(development, "fact_sale")]


def test_batches_from_before_the_source_was_moved_are_its_own(shared: Pair, others: list[Pair]) -> None:
    shared.fresh(SALES, *SOURCE)
    shared.run()
    house, moved = shared.house, identify(others[0].source_url)
    assert chains.foreign(house.raw, house.destination, moved, house.last_batch()) == []
    (chain,) = chains.foreign(house.raw, house.destination, moved, None)
    assert chain.owner == house.destination.id, "and not those that an emptied warehouse does not have"


def test_the_other_run_is_named(shared: Pair, others: list[Pair]) -> None:
    shared.fresh(SALES, *SOURCE)
    development = environment(shared, others[0], SALES, own_source=True)
    raw, home, source = shared.house.raw, shared.house.destination, identify(shared.source_url)
    assert chains.foreign(raw, home, source, None) == []
    development.run()
    (chain,) = chains.foreign(raw, home, source, None)
    name = development.house.url.rsplit("/", 1)[1]
    home = development.house.destination
    assert chain.summary.startswith(f"warehouse {name}.public ({home.id}), read from database ")
    assert chains.foreign(raw, home, identify(development.source_url), development.house.last_batch()) == []
    assert development.house.rebuild(named=home.id) == 0
    shared.house.prepare()
    assert shared.house.rebuild(named=home.id, source=identify(shared.source_url)) == 1, "on purpose"
    lose(shared)
    with pytest.raises(LakeIncomplete, match="no batch of warehouse nobody; it has batches of warehouse"):
        shared.house.rebuild(named="nobody")


def test_two_warehouses_with_the_same_models_continue_independently(shared: Pair, others: list[Pair]) -> None:
    shared.fresh(SALES, *SOURCE)
    second = environment(shared, others[0], SALES)
    for amount in (1, 2, 3):
        shared.do(f"UPDATE sale SET amount = {amount} WHERE sale_id = 1")
        for pair in (shared, second):
            assert pair.run() is not None
            assert is_equal(pair, "fact_sale")
    before = [history(pair, "fact_sale") for pair in (shared, second)]
    for pair in (shared, second):
        lose(pair)
        assert pair.house.rebuild() == 3
    assert [history(pair, "fact_sale") for pair in (shared, second)] == before
    execute(second.house.url, "UPDATE etl.warehouse SET warehouse_id = gen_random_uuid()")
    assert second.run() is None


@shows("one of several warehouses on a raw bucket, with other models or the same")
def test_three_warehouses_with_other_models_are_rebuilt_each(shared: Pair, others: list[Pair]) -> None:
    shared.fresh(SALES, *SOURCE)
    world = {
        "fact_sale": shared,
        "dim_shop": environment(shared, others[0], SHOPS),
        "fact_town": environment(shared, others[1], BOTH),
    }
    for amount in (1, 2):
        shared.do(
            f"UPDATE sale SET amount = {amount}", f"UPDATE shop SET town = 'Hull {amount}' WHERE shop_id = 1"
        )
        for pair in world.values():
            pair.run()
    for table, pair in world.items():
        before = history(pair, table)
        lose(pair)
        assert pair.house.rebuild() == 2
        assert history(pair, table) == before
    # In another database and without its id, the tables that the models read decide.
    elsewhere = environment(shared, others[1], SHOPS)
    execute(elsewhere.house.url, "CREATE SCHEMA moved")
    house = replace(elsewhere.house, schema="moved", prepared=None)
    house.prepare()
    assert house.rebuild() == 2
    shared.do("UPDATE shop SET town = 'Ely'")
    replace(elsewhere, house=house).run()
    assert house.query("SELECT DISTINCT town FROM moved.dim_shop") == [("Ely",)]


def test_three_schemas_with_other_models_are_rebuilt_each(shared: Pair) -> None:
    """They share an id, and each has its own chain from then on."""
    shared.fresh(SALES, *SOURCE)
    houses = {}
    for name, models in {"fact_sale": SALES, "dim_shop": SHOPS, "fact_town": BOTH}.items():
        execute(shared.house.url, f"DROP SCHEMA IF EXISTS of_{name} CASCADE", f"CREATE SCHEMA of_{name}")
        folder = shared.home / f"models_{name}"
        write_models(folder, models)
        houses[name] = replace(shared.house, schema=f"of_{name}", folder=folder, prepared=None)
        houses[name].prepare()
    for amount in (1, 2):
        shared.do(
            f"UPDATE sale SET amount = {amount}", f"UPDATE shop SET town = 'Hull {amount}' WHERE shop_id = 1"
        )
        for house in houses.values():
            _, manifest = plan_batch(shared.source_url, house)
            assert manifest
            house.bring(manifest)
    execute(shared.house.url, *EMPTY, *(f"DROP SCHEMA of_{name} CASCADE" for name in houses))
    for name, house in houses.items():
        execute(shared.house.url, f"CREATE SCHEMA of_{name}")
        house.prepared = None
        house.prepare()
        assert house.rebuild() == 2
        columns = LOOKS[name][0].replace(", recorded_at, deleted", "")
        shown = f"of_{name}.{name}{'_current' if name.startswith('fact_') else ''}"
        assert house.query(f"SELECT {columns} FROM {shown} ORDER BY 1") == sorted(
            shared.source(LOOKS[name][1])
        )
        execute(shared.house.url, f"DROP SCHEMA of_{name} CASCADE")


@pytest.fixture
def copy(shared: Pair, postgres: Postgres) -> Iterator[Pair]:
    """A copy of a warehouse that has a batch, in another database, over the same source and lake."""
    shared.fresh(SALES, *SOURCE)
    shared.run()
    with database(postgres, "copy", f"TEMPLATE {shared.house.url.rpartition('/')[2]}") as url:
        yield replace(shared, house=replace(shared.house, url=url, prepared=None))


def test_a_copy_of_a_warehouse_and_the_original_load_none_of_each_others_batches(
    shared: Pair, copy: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    original = shared.house.destination
    for amount in (1, 2):
        shared.do(f"UPDATE sale SET amount = {amount}")
        assert copy.run() is not None
    (line,) = [line for line in caplog.messages if "moved or copied" in line]
    assert line.startswith(f"The warehouse was moved or copied from {original}, and is ")
    assert shared.house.destination == original
    assert shared.sealed() is None
    assert shared.house.rebuild() == 0
    assert shared.run() is not None
    assert {amount for _, amount, *_ in history(shared, "fact_sale")} == {10, 20, 2}
    before = [history(pair, "fact_sale") for pair in (shared, copy)]
    assert [len(rows) for rows in before] == [4, 6]
    for pair, batches in ((copy, 3), (shared, 2)):
        lose(pair)
        assert pair.house.rebuild() == batches
    assert [history(pair, "fact_sale") for pair in (shared, copy)] == before


def test_a_moved_warehouse_loads_what_was_sealed_before_and_can_be_rebuilt_over_a_gap(
    shared: Pair, copy: Pair
) -> None:
    shared.do("UPDATE sale SET amount = 1")
    shared.run()
    shared.do("UPDATE sale SET amount = 2")
    _, waiting = plan_batch(shared.source_url, shared.house)
    assert waiting
    copy.house.prepare()
    shared.do("UPDATE sale SET amount = 3")
    copy.run()
    assert {amount for _, amount, *_ in history(copy, "fact_sale")} == {10, 20, 1, 2, 3}
    lost = copy.house.query("SELECT manifest FROM etl.batch ORDER BY batch_id")[1][0]
    copy.house.raw.remove(lost)
    copy.do("UPDATE sale SET amount = 4")
    copy.run(full=True)
    assert len(chains.find(copy.house.raw)[-1].batches) == 4


def test_a_manifest_names_its_destination(shared: Pair) -> None:
    shared.fresh(SALES, *SOURCE)
    shared.run()
    home = shared.house.destination
    kept = manifests.last_manifest(shared.house.raw, ledger.fetch_watermark(shared.house.url, "public"))
    assert kept
    assert kept.warehouse == home
    assert kept.may_be_for(home.model_copy(update={"id": "other"})), "the same place is the same warehouse"
    assert kept.may_be_for(home.model_copy(update={"system": "1", "database": "x"})), (
        "restored elsewhere it keeps its id"
    )
    assert not kept.may_be_for(home.model_copy(update={"id": "other", "database": "x"}))
    other = home.model_copy(update={"schema_name": "other"})
    assert kept.source_schema == "public"
    assert kept.may_be_for(other, "public"), "schemas of a warehouse share what they read of one schema"
    assert not kept.may_be_for(other, "tenant")
    assert kept.may_be_for(home, "tenant"), "the setting has changed"
    selection = Selection(other, None, frozenset({"sale"}), source_schema="tenant")
    found = chains.find(shared.house.raw)
    assert replace(selection, source_schema="public").choose(found)
    with pytest.raises(LakeIncomplete, match="it has no batch of this warehouse or its source"):
        selection.choose(found)
