"""A table, and how a batch reads it after a change of its definition."""

from __future__ import annotations

from tests.house import plan_batch
from tests.pair import Pair
from tests.support import query

MODELS = {
    "fact_t": "-- key: id\nSELECT id, v::varchar AS v FROM t",
    "schema": "CREATE TABLE IF NOT EXISTS fact_t (id integer NOT NULL, v varchar);",
}


def read_all(pair: Pair) -> dict[str, str]:
    """Take a batch and load it; returns the reasons in its plan by table."""
    planned, manifest = plan_batch(pair.source_url, pair.house)
    if manifest:
        pair.house.bring(manifest)
    return {name: table.reason for name, table in planned.tables.items()}


def read(pair: Pair) -> str:
    """Take a batch and load it; returns the reason in the plan of table t."""
    return read_all(pair)["t"]


def equal(pair: Pair, table: str = "t") -> None:
    """Assert that the warehouse equals plain SQL on the source."""
    shown = pair.house.query(f"SELECT id, v FROM fact_{table}_current ORDER BY 1")
    assert shown == query(pair.source_url, f"SELECT id, v::text FROM {table} ORDER BY 1"), table
