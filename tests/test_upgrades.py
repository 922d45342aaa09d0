"""The version of the schema etl."""

import logging
from collections.abc import Callable
from importlib.resources import files

import pytest

from demo.postgres import Postgres
from pipeline import upgrades
from pipeline.errors import WarehouseError
from tests.bench import Bench
from tests.bench import bench as open_bench
from tests.support import execute, query

MODELS = {
    "fact_sale": "-- key: sale_id\nSELECT sale_id, amount FROM sale",
    "schema": "CREATE TABLE fact_sale (sale_id integer NOT NULL, amount integer);",
}
SOURCE = ("CREATE TABLE sale (sale_id int PRIMARY KEY, amount int)", "INSERT INTO sale VALUES (1, 10)")


@pytest.fixture
def bench(shared: Bench) -> Bench:
    """A warehouse of one fact, after its first batch."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    return shared


def versions(bench: Bench) -> list[int]:
    return [number for (number,) in bench.house.query("SELECT version FROM etl.version ORDER BY 1")]


def test_a_warehouse_of_before_versions_is_upgraded(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    as_version_1(bench.house.url)
    execute(bench.house.url, "DROP TABLE etl.version")
    bench.do("UPDATE sale SET amount = 20")
    with caplog.at_level(logging.INFO):
        bench.house.prepare()
        bench.run()
    assert versions(bench) == list(range(1, upgrades.VERSION + 1))
    assert bench.house.query("SELECT amount FROM fact_sale_current") == [(20,)]


def test_a_warehouse_of_a_later_release_is_refused(bench: Bench) -> None:
    execute(bench.house.url, "INSERT INTO etl.version VALUES (1000)")
    with pytest.raises(WarehouseError, match=r"version 1000, made by a later release.*; update the pipeline"):
        bench.house.prepare()


def as_version_1(url: str) -> None:
    """Put what is in the schema etl into tables as they were when it got versions."""
    tables = ("batch", "watermark", "model", "rejected", "superseded")
    first = files("pipeline").joinpath("sql", "etl", "0001_tables.sql").read_text(encoding="utf-8")
    execute(url, "ALTER SCHEMA etl RENAME TO later", "CREATE SCHEMA etl", first)
    for table in tables:
        ((columns,),) = query(
            url,
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute AS a WHERE attnum > 0"
            f" AND attrelid = 'etl.{table}'::regclass AND EXISTS (SELECT FROM pg_attribute AS b"
            f" WHERE b.attrelid = 'later.{table}'::regclass AND b.attname = a.attname)",
        )
        execute(url, f"INSERT INTO etl.{table} ({columns}) SELECT {columns} FROM later.{table}")
    execute(
        url,
        "CREATE TABLE etl.version (version int PRIMARY KEY, upgraded_at timestamptz NOT NULL DEFAULT now())",
        "INSERT INTO etl.version (version) VALUES (1)",
        "DROP SCHEMA later CASCADE",
    )


KEPT = {
    "batch": "SELECT schema_name, batch_id, previous_batch_id, rows FROM etl.batch ORDER BY 2",
    "watermark": "SELECT schema_name, batch_id, source_xmin FROM etl.watermark",
    "model": "SELECT schema_name, table_name, fingerprint, result FROM etl.model ORDER BY 2",
    "rejected": "SELECT schema_name, table_name, key, reason FROM etl.rejected",
}


@pytest.mark.parametrize("version", [16, 18])
def test_what_an_earlier_release_loaded_belongs_to_the_schema_of_the_settings(
    servers: Callable[[int], Postgres], version: int
) -> None:
    with open_bench(servers(version)) as bench:
        bench.fresh(MODELS | {"schema": MODELS["schema"].replace("integer)", "integer CHECK (amount > 5))")})
        bench.do(*SOURCE)
        bench.run()
        bench.do("INSERT INTO sale VALUES (2, 2)")
        bench.run()
        kept = {table: bench.house.query(text) for table, text in KEPT.items()}
        assert {rows[0][0] for rows in kept.values()} == {"public"}
        as_version_1(bench.house.url)
        bench.house.prepare()
        assert {table: bench.house.query(text) for table, text in KEPT.items()} == kept
        assert bench.run() is None, "it goes on from where it was"
        bench.do("UPDATE sale SET amount = 30")
        bench.run()
        assert bench.house.query("SELECT amount FROM fact_sale_current ORDER BY 1") == [(30,), (30,)]
        assert bench.house.rejected() == []
