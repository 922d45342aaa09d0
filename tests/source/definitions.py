"""A table, and how a batch reads it after a change of its definition."""

from __future__ import annotations

from tests.bench import Bench
from tests.support import plan_batch, query

MODELS = {
    "fact_t": "-- key: id\nSELECT id, v::varchar AS v FROM t",
    "schema": "CREATE TABLE IF NOT EXISTS fact_t (id integer NOT NULL, v varchar);",
}


def read(bench: Bench) -> str:
    """Take a batch and load it; returns the reason for which t was read as it was."""
    planned, manifest = plan_batch(bench.source_url, bench.house)
    if manifest:
        bench.house.bring(manifest)
    return planned.tables["t"].reason


def equal(bench: Bench) -> None:
    """The warehouse shows what plain SQL on the source says."""
    shown = bench.house.query("SELECT id, v FROM fact_t_current ORDER BY 1")
    assert shown == query(bench.source_url, "SELECT id, v::text FROM t ORDER BY 1")
