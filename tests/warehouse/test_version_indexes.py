"""The versions of a dimension have its indexes: views as of a moment read the versions, those of now too."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from pipeline.postgres import transaction
from pipeline.warehouse import version_indexes
from pipeline.warehouse.history_objects import read_existing
from tests.pair import Pair
from tests.support import execute, write_models

TABLE = "CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city varchar);"
MODELS = {"dim_shop": "SELECT shop_id, city FROM shop", "schema": TABLE}
SOURCE = (
    "CREATE TABLE shop (shop_id integer PRIMARY KEY, city varchar)",
    "INSERT INTO shop VALUES (1, 'York'), (2, 'Ely')",
)
# Postgres has no index entry of more than some 2,700 bytes.
LONG = "UPDATE shop SET city = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 300) AS n)"
INDEXES = (
    "SELECT split_part(pg_get_indexdef(indexrelid), ' USING btree ', 2) FROM pg_index"
    " WHERE indrelid = 'dim_shop_version'::regclass AND indpred IS NULL ORDER BY indexrelid"
)
KEY = "(shop_id, valid_from)"


@pytest.fixture
def shop(shared: Pair) -> Iterator[Pair]:
    shared.live(MODELS, SOURCE, ())
    yield shared
    shared.house.allow = ()


def run(pair: Pair, *warehouse: str, city: str = "") -> list[str]:
    """Change the warehouse, move shop 1, run, and return the indexes of the versions."""
    execute(pair.house.url, *warehouse)
    if city:
        pair.do(f"UPDATE shop SET city = '{city}' WHERE shop_id = 1")
    pair.house.prepared = None
    pair.house.targets()
    pair.run()
    return [str(definition) for (definition,) in pair.house.query(INDEXES)]


def test_versions_have_the_indexes_of_their_dimension(shop: Pair) -> None:
    """Of columns alone, in their order."""
    assert run(shop) == [KEY]
    made = (
        "CREATE INDEX ON dim_shop (city)",
        "CREATE UNIQUE INDEX ON dim_shop (city, shop_id)",
        "CREATE INDEX ON dim_shop (city) WHERE shop_id > 1",
        "CREATE INDEX ON dim_shop (lower(city))",
        "CREATE INDEX ON dim_shop (city varchar_pattern_ops)",
    )
    assert run(shop, *made, city="Bath") == [KEY, "(city)", "(city, shop_id)"]
    assert run(shop, city="Hull") == [KEY, "(city)", "(city, shop_id)"]
    cities = shop.house.query("SELECT city FROM dim_shop_history WHERE shop_id = 1 ORDER BY valid_from")
    assert cities == [("York",), ("Bath",), ("Hull",)]


def test_an_unfinished_index_of_the_key_is_no_index_of_the_key(shop: Pair) -> None:
    """As the one that an interrupted REINDEX CONCURRENTLY leaves, beside a valid one or alone."""
    unfinished = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{}'::regclass"
    beside = "CREATE UNIQUE INDEX beside ON dim_shop_version (shop_id, valid_from)"
    assert run(shop, beside, unfinished.format("beside"), city="Bath") == [KEY, KEY], "others may work on it"
    alone = unfinished.format("dim_shop_version_shop_id_valid_from_idx")
    assert run(shop, "DROP INDEX beside", alone, city="Hull") == [KEY, KEY]
    assert run(shop, city="Ely") == [KEY, KEY]


@pytest.mark.parametrize(
    ("made", "definition"),
    [
        ("ALTER TABLE dim_shop_version ADD PRIMARY KEY (shop_id, valid_from)", KEY),
        (
            "CREATE UNIQUE INDEX ON dim_shop_version (valid_from, shop_id, city)",
            "(valid_from, shop_id, city)",
        ),
        ("ALTER TABLE dim_shop_version ADD number serial PRIMARY KEY", "(number)"),
        ("CREATE UNIQUE INDEX ON dim_shop_version (lower(city), shop_id, valid_from)", None),
    ],
)
def test_a_unique_index_stays_that_no_version_can_violate(
    shop: Pair, made: str, definition: str | None
) -> None:
    assert run(shop, made, city="Bath")[1:] == [definition or "(lower((city)::text), shop_id, valid_from)"]
    run(shop, city="York")
    assert shop.house.query("SELECT count(*) FROM dim_shop_version") == [(4,)]


@pytest.mark.parametrize("constraint", [False, True])
def test_a_unique_index_that_versions_can_violate_is_dropped_with_a_warning(
    shop: Pair, caplog: pytest.LogCaptureFixture, constraint: bool
) -> None:
    index = "CREATE UNIQUE INDEX mine ON dim_shop_version (city)"
    made = "ALTER TABLE dim_shop_version ADD CONSTRAINT mine UNIQUE (city)" if constraint else index
    assert run(shop, made, city="Ely") == [KEY]
    expected = "dim_shop_version: dropped the unique index mine on (city), because versions may have the same"
    assert any(record.message.startswith(expected) for record in caplog.records)


def test_a_unique_index_on_an_expression_that_versions_can_violate_is_dropped(
    shop: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(shop, "CREATE UNIQUE INDEX mine ON dim_shop_version (lower(city))", city="Ely") == [KEY]
    assert any(": dropped the unique index mine" in message for message in caplog.messages)


def test_an_old_version_that_an_index_cannot_take_stops_no_run(
    shop: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    shop.do(LONG)
    shop.run()
    shop.do("UPDATE shop SET city = 'York'")
    shop.run()
    with caplog.at_level(logging.WARNING):
        assert run(shop, "CREATE INDEX ON dim_shop (city)", city="Bath") == [KEY]
    assert caplog.messages == [
        "dim_shop_version lacks an index on (city): index row requires 9616 bytes, maximum size is 8191"
    ]
    assert shop.house.query("SELECT count(*) FROM dim_shop_history") == [(7,)]


def test_an_index_that_the_dimension_no_longer_has_refuses_no_row_and_no_type(shop: Pair) -> None:
    """One that somebody made on the versions stays, and serves instead of a copy."""
    by_hand = "CREATE INDEX ON dim_shop_version (city, valid_from)"
    assert run(shop, "CREATE INDEX name ON dim_shop (city, shop_id)") == [KEY, "(city, shop_id)"]
    assert run(shop, "DROP INDEX name", by_hand) == [KEY, "(city, valid_from)"]
    assert run(shop, "CREATE INDEX name ON dim_shop (city)") == [KEY, "(city, valid_from)"]
    made = "DROP INDEX dim_shop_version_city_valid_from_idx"
    assert run(shop, made) == [KEY, "(city)"]
    execute(shop.house.url, "DROP INDEX name")
    shop.do(LONG)
    assert run(shop) == [KEY]
    assert shop.house.rejected() == []
    shop.do("UPDATE shop SET city = '[]'")
    shop.run()
    execute(shop.house.url, "UPDATE dim_shop_version SET city = '[]'")
    assert run(shop, "CREATE INDEX name ON dim_shop (city)") == [KEY, "(city)"]
    execute(shop.house.url, "DROP INDEX name")
    write_models(shop.house.folder, {"schema": TABLE.replace("varchar", "json")})
    shop.house.allow = ("narrow dim_shop.city",)
    assert run(shop) == [KEY]


def test_versions_that_others_own_stop_no_run(shop: Pair, caplog: pytest.LogCaptureFixture) -> None:
    house = shop.house
    assert run(shop, "CREATE INDEX name ON dim_shop (city)") == [KEY, "(city)"]
    with transaction(house.url, "warehouse") as connection, connection.transaction(force_rollback=True):
        connection.execute("CREATE ROLE stranger")
        connection.execute("GRANT USAGE, CREATE ON SCHEMA public TO stranger")
        connection.execute("DROP INDEX public.name")
        connection.execute("CREATE INDEX ON public.dim_shop (city, shop_id)")
        connection.execute("SET LOCAL ROLE stranger")
        existing = read_existing(connection, house.schema, ())
        for step in version_indexes.drop_stale, version_indexes.ensure:
            step(connection, house.schema, house.targets()["dim_shop"], existing)
    assert caplog.messages == [
        "dim_shop_version keeps an index on (city): must be owner of index dim_shop_version_city_idx",
        "dim_shop_version lacks an index on (city, shop_id): must be owner of table dim_shop_version",
    ]
