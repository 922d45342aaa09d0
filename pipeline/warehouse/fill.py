"""Fill an empty table: rows first, then indexes and constraints, which is quicker than keeping them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from pipeline.models.target import RECORDED_AT
from pipeline.postgres import template
from pipeline.warehouse import refusals
from pipeline.warehouse.table import Table


def fill(table: Table, rows: int, put_rows: Callable[[], int]) -> int | None:
    """Put about that many rows into the empty table; returns how many came in.

    None where Postgres refuses some, or the change of the table's definition; the table is empty then.
    """
    try:
        with table.connection.transaction(), _without_constraints(table, rows):
            added = put_rows()
    except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.ObjectInUse):
        return None
    except psycopg.Error as error:
        if refusals.is_refusal(error, of_values=True):
            return None
        raise
    table.connection.execute(sql.SQL("ANALYZE {}").format(table.name))
    if table.keeps_history and not table.target.fact:
        table.execute("record_versions.sql", touched=sql.SQL("{} AS t").format(table.name))
    return added


@contextmanager
def _without_constraints(table: Table, rows: int) -> Iterator[None]:
    """Take constraints and the history's index away for the block; give its rows their time."""
    constraints = table.target.constraints
    for constraint in constraints:
        table.alter(sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(constraint.name)))
    if table.target.fact:
        time = sql.Literal(table.manifest.snapshot_at)
        table.alter(sql.SQL("ALTER COLUMN {} SET DEFAULT {}").format(sql.Identifier(RECORDED_AT), time))
        table.execute("drop_version_index.sql")
    with _numbers_at_hand(table, rows):
        yield
    if table.target.fact:
        table.alter(sql.SQL("ALTER COLUMN {} DROP DEFAULT").format(sql.Identifier(RECORDED_AT)))
        table.execute("version_index.sql")
    for constraint in constraints:
        name, definition = sql.Identifier(constraint.name), template(constraint.definition)
        table.alter(sql.SQL("ADD CONSTRAINT {} {}").format(name, definition))


@contextmanager
def _numbers_at_hand(table: Table, rows: int) -> Iterator[None]:
    """Let sequences give the session a number for each row at once: one by one they slow COPY by a third.

    As many as there are rows, so that no gap is left.
    """
    alter = sql.SQL("ALTER SEQUENCE {} CACHE {}")
    sequences = [
        (sql.Identifier(str(schema), str(name)), sql.Literal(cached))
        for schema, name, cached in table.execute("sequences.sql").fetchall()
    ]
    for sequence, _ in sequences:
        table.connection.execute(alter.format(sequence, max(1, rows)))
    yield
    for sequence, cached in sequences:
        table.connection.execute(alter.format(sequence, cached))
