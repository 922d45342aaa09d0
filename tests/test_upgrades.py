"""The version of the schema etl."""

import logging

import pytest

from pipeline import upgrades
from pipeline.errors import WarehouseError
from tests.bench import Bench
from tests.support import execute

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
