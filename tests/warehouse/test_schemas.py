"""Several schemas of one warehouse: each is loaded independently, from one lake, at the same time."""

from dataclasses import replace

import pytest

from pipeline import settings, status
from pipeline.errors import ConcurrentRunError, LockTimeout, SettingsError, WarehouseBusy
from pipeline.postgres import transaction
from pipeline.warehouse import ledger, load
from pipeline.warehouse.limits import Limits
from tests.house import Warehouse, transform_all
from tests.pair import Pair
from tests.support import execute

MODELS = {
    "dim_shop": "SELECT shop_id, town FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": """
        CREATE TABLE dim_shop (shop_id integer PRIMARY KEY, town text);
        CREATE TABLE fact_sale (
            sale_id integer NOT NULL, shop_id integer REFERENCES dim_shop, amount integer CHECK (amount > 0)
        );
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, town text)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount int)",
    "INSERT INTO shop VALUES (1, 'York')",
    "INSERT INTO sale VALUES (1, 1, 10), (2, 1, -1)",
)


@pytest.fixture
def pair(shared: Pair) -> Pair:
    """A source, and a warehouse with two schemas, one of which has a batch."""
    shared.fresh(MODELS, *SOURCE)
    execute(shared.house.url, "DROP SCHEMA IF EXISTS other CASCADE", "CREATE SCHEMA other")
    shared.run()
    return shared


@pytest.fixture
def other(pair: Pair) -> Warehouse:
    """The same warehouse, models and buckets with another schema."""
    return replace(pair.house, schema="other", prepared=None)


def rows(house: Warehouse) -> list[tuple[object, ...]]:
    return house.query(
        f"SELECT sale_id, town, amount FROM {house.schema}.fact_sale_history"
        f" INNER JOIN {house.schema}.dim_shop USING (shop_id) ORDER BY 1, valid_from"
    )


def test_two_schemas_load_the_same_batches_from_one_lake(pair: Pair, other: Warehouse) -> None:
    both = replace(pair, house=other)
    other.prepare()
    assert both.run() is None, "the sealed batch is loaded, and the source has nothing newer"
    assert rows(other) == rows(pair.house) == [(1, "York", 10)]
    pair.do("UPDATE sale SET amount = 20")
    pair.run()
    assert (len(rows(pair.house)), len(rows(other))) == (3, 1)
    assert both.run() is None
    assert rows(other) == rows(pair.house) == [(1, "York", 10), (1, "York", 20), (2, "York", 20)]
    assert pair.house.query("SELECT schema_name, count(*) FROM etl.batch GROUP BY 1 ORDER BY 1") == [
        ("other", 2), ("public", 2)
    ]  # fmt: skip


def test_rejected_rows_belong_to_one_schema(pair: Pair, other: Warehouse) -> None:
    other.prepare()
    execute(other.url, "ALTER TABLE other.fact_sale DROP CONSTRAINT fact_sale_amount_check")
    other.prepare()
    replace(pair, house=other).run()
    assert pair.house.query("SELECT schema_name, key ->> 'sale_id' FROM etl.rejected WHERE NOT resolved") == [
        ("public", "2")
    ]
    with transaction(other.url, "warehouse") as connection:
        assert status.rejected(connection, "other") == []
        assert len(status.rejected(connection, "public")) == 1
        assert [batch.rejected for batch in status.recent(connection, "other", 9)] == [0]
    pair.do("DELETE FROM sale WHERE sale_id = 2")
    replace(pair, house=other).run()
    assert len(pair.house.rejected()) == 1, "the other schema's run closes none of this one's"


def test_schemas_load_at_the_same_time_and_none_loads_twice(
    pair: Pair, other: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.prepare()
    pair.do("UPDATE sale SET amount = 20")
    for house in (pair.house, other):
        replace(pair, house=house).run()
    monkeypatch.setenv("TOTESYS_LOCK_TIMEOUT", "1")
    pair.do("UPDATE sale SET amount = 30")
    begun: list[str] = []

    def meanwhile(table: str, number: int) -> None:
        """Load the other schema during the load of the first, and fail to load the first one again."""
        if not begun:
            begun.append(table)
            waiting = pair.sealed()
            assert waiting
            with pytest.raises(LockTimeout):
                pair.house.bring(waiting)
            other.bring(waiting)

    pair.run(progress=meanwhile)
    assert begun
    assert rows(other) == rows(pair.house)
    assert pair.house.query("SELECT count(*), count(DISTINCT batch_id) FROM etl.batch") == [(6, 3)]


def test_a_batch_is_not_loaded_twice_into_a_schema(pair: Pair, other: Warehouse) -> None:
    other.prepare()
    first = replace(pair, house=other).sealed()
    assert first
    outputs = transform_all(pair.house.models, other.targets(), first, {}, other.raw, other.processed)
    arguments = other.url, "other", first, other.targets(), outputs.values(), other.processed, Limits()
    one, two = (load.load(*arguments, lambda table, rows: None) for _ in range(2))
    assert one == two
    assert other.query("SELECT count(*) FROM etl.batch WHERE schema_name = 'other'") == [(1,)]
    later = first.model_copy(update={"batch_id": "later", "previous": "unknown"})
    with pytest.raises(ConcurrentRunError):
        load.load(other.url, "other", later, *arguments[3:], lambda table, rows: None)


def test_the_lock_keeps_runs_of_one_schema_apart(pair: Pair) -> None:
    with (
        ledger.lock(pair.house.url, "public"),
        ledger.lock(pair.house.url, "other"),
        pytest.raises(WarehouseBusy),
        ledger.lock(pair.house.url, "other"),
    ):
        raise AssertionError


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("etl", "etl is no schema for tables of models; choose another one"),
        ("pg_catalog", "pg_catalog is no schema for tables of models; choose another one"),
        ("information_schema", "information_schema is no schema for tables of models; choose another one"),
        ("é" * 27, "is too long, as schemas are made beside it; use at most 53 bytes"),
    ],
)
def test_a_schema_that_cannot_hold_tables_is_refused(
    monkeypatch: pytest.MonkeyPatch, schema: str, words: str
) -> None:
    monkeypatch.setenv("TOTESYS_WAREHOUSE_SCHEMA", schema)
    with pytest.raises(SettingsError) as refused:
        settings.load()
    assert str(refused.value) == f"TOTESYS_WAREHOUSE_SCHEMA: {words}"
