"""The cost of history for readers: the same query on the versions and on a bare table."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import psycopg
from psycopg import sql

from bench.data import statement
from bench.figures import AS_OF, BARE, CURRENT, HISTORY, SECONDS
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
            return {
                who: {SECONDS: _seconds(connection, template(name).format(moment=moment))}
                for who, name in _RELATIONS.items()
            }
        finally:
            connection.execute("DROP TABLE bare")


def _last_moment(connection: psycopg.Connection) -> sql.Literal:
    """The time as a literal: Postgres inlines the history functions if the argument is no subquery."""
    row = connection.execute("SELECT max(snapshot_at) FROM etl.batch").fetchone()
    return sql.Literal(row[0] if row else None)


def _seconds(connection: psycopg.Connection, relation: sql.Composed) -> float:
    query = statement("ordered_by_staff.sql").format(relation=relation)
    taken = []
    for _ in range(_TIMES + 1):
        started = perf_counter()
        connection.execute(query).fetchall()
        taken.append(perf_counter() - started)
    return median(taken[1:])
