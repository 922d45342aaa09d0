"""A table, and how a batch reads it after a change of its definition."""

from __future__ import annotations

from tests.bench import Bench
from tests.house import plan_batch
from tests.support import query

MODELS = {
    "fact_t": "-- key: id\nSELECT id, v::varchar AS v FROM t",
    "schema": "CREATE TABLE IF NOT EXISTS fact_t (id integer NOT NULL, v varchar);",
}


def read_all(bench: Bench) -> dict[str, str]:
    """Take a batch and load it; returns the reasons in its plan by table."""
    planned, manifest = plan_batch(bench.source_url, bench.house)
    if manifest:
        bench.house.bring(manifest)
    return {name: table.reason for name, table in planned.tables.items()}


def read(bench: Bench) -> str:
    """Take a batch and load it; returns the reason in the plan of table t."""
    return read_all(bench)["t"]


def equal(bench: Bench, table: str = "t") -> None:
    """Assert that the warehouse equals plain SQL on the source."""
    shown = bench.house.query(f"SELECT id, v FROM fact_{table}_current ORDER BY 1")
    assert shown == query(bench.source_url, f"SELECT id, v::text FROM {table} ORDER BY 1"), table
