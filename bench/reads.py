"""The cost of history for readers: the same query on the versions and on a bare table."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import psycopg
from psycopg import sql

from bench.data import statement
from bench.figures import AS_OF, BARE, CURRENT, HISTORY, ONE_ROW, SECONDS
from pipeline.postgres import template

_TIMES = 3
_RELATIONS = {
    BARE: "bare",
    CURRENT: "fact_sales_order_current",
    AS_OF: "fact_sales_order_as_of({moment})",
    HISTORY: "fact_sales_order_history",
}


def read(url: str) -> dict[str, dict[str, float]]:
    """A grouped sum over each relation: the middle of some readings, after one that warms the cache."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bare AS SELECT * FROM fact_sales_order_current")
        connection.execute("VACUUM (ANALYZE) bare")
        try:
            moment = _last_moment(connection)
            by_staff = statement("ordered_by_staff.sql")
            return {
                who: _seconds(connection, by_staff.format(relation=template(name).format(moment=moment)))
                for who, name in _RELATIONS.items()
            }
        finally:
            connection.execute("DROP TABLE bare")


def read_dimension(url: str) -> dict[str, dict[str, float]]:
    """Queries of a dimension with a million versions, ten for each key, which are added to its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        moment = _last_moment(connection)
        connection.execute(statement("add_versions.sql").format(moment=moment))
        connection.execute("VACUUM (ANALYZE) dim_design_version")
        queries = {
            AS_OF: "SELECT file_location, count(*) FROM dim_design_as_of({moment}) GROUP BY file_location",
            ONE_ROW: "SELECT * FROM dim_design_history WHERE design_id = 10000000",
        }
        return {
            who: _seconds(connection, template(query).format(moment=moment)) for who, query in queries.items()
        }


def _last_moment(connection: psycopg.Connection) -> sql.Literal:
    """The time as a literal: Postgres inlines the history functions if the argument is no subquery."""
    row = connection.execute("SELECT max(snapshot_at) FROM etl.batch").fetchone()
    return sql.Literal(row[0] if row else None)


def _seconds(connection: psycopg.Connection, query: sql.Composed) -> dict[str, float]:
    taken = []
    for _ in range(_TIMES + 1):
        started = perf_counter()
        connection.execute(query).fetchall()
        taken.append(perf_counter() - started)
    return {SECONDS: median(taken[1:])}
