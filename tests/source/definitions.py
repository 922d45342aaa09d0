"""A table, and how a batch reads it after a change of its definition."""

from __future__ import annotations

from tests.bench import Bench
from tests.house import plan_batch
from tests.support import query

MODELS = {
    "fact_t": "-- key: id\nSELECT id, v::varchar AS v FROM t",
    "schema": "CREATE TABLE IF NOT EXISTS fact_t (id integer NOT NULL, v varchar);",
}


def read(bench: Bench) -> str:
    """Take a batch and load it; returns the reason in the plan of table t."""
    planned, manifest = plan_batch(bench.source_url, bench.house)
    if manifest:
        bench.house.bring(manifest)
    return planned.tables["t"].reason


def equal(bench: Bench) -> None:
    """Assert that the warehouse equals plain SQL on the source."""
    shown = bench.house.query("SELECT id, v FROM fact_t_current ORDER BY 1")
    assert shown == query(bench.source_url, "SELECT id, v::text FROM t ORDER BY 1")
