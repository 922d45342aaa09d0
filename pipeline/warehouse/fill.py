"""Fill an empty table: rows first, then indexes and constraints, which is faster than maintaining them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from pipeline.models.target import RECORDED_AT, Constraint, Reference, version_index
from pipeline.postgres import identifiers, template
from pipeline.warehouse import bisection, integrity, references
from pipeline.warehouse.counts import Merged
from pipeline.warehouse.table import Table


class _MissingReference(Exception):
    """A row lacks a row that it refers to."""


def fill(table: Table, rows: int, insert_rows: Callable[[], int], *, proves: bool) -> Merged | None:
    """Insert about that many rows into the empty table; returns the counts.

    With ``proves`` its references are locked; they stay, and are proven in one scan. Returns None, and leaves
    the table empty, if a reference is missing, or if Postgres rejects a row or the change of the table's
    definition.
    """
    dropped = [each for each in table.target.constraints if not (proves and isinstance(each, Reference))]
    try:
        with (
            table.connection.transaction(),
            _without_constraints(table, dropped),
            _cached_sequences(table, rows),
        ):
            with references.unchecked(table.connection, proven=proves):
                added = insert_rows()
            if proves:
                _prove_references(table)
    except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.ObjectInUse, _MissingReference):
        return None
    except psycopg.Error as error:
        if bisection.is_rejection(error, of_values=True):
            return None
        raise
    table.connection.execute(sql.SQL("ANALYZE {}").format(table.name))
    if table.target.fact or not table.keeps_history:
        return Merged(added)
    touched = sql.SQL("{} AS t").format(table.name)
    return Merged(added, versions=table.execute("record_versions.sql", touched=touched).rowcount)


def _prove_references(table: Table) -> None:
    if integrity.count_missing_references(table):
        raise _MissingReference


@contextmanager
def _without_constraints(table: Table, constraints: Sequence[Constraint]) -> Iterator[None]:
    """Drop these constraints for the block; of a fact also the version index, and set its recorded_at."""
    for constraint in constraints:
        table.alter(sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(constraint.name)))
    if table.target.fact:
        _set_recorded_at(table)
    yield
    if table.target.fact:
        _unset_recorded_at(table)
    for constraint in constraints:
        name, definition = sql.Identifier(constraint.name), template(constraint.definition)
        table.alter(sql.SQL("ADD CONSTRAINT {} {}").format(name, definition))


def _set_recorded_at(table: Table) -> None:
    time = sql.Literal(table.manifest.snapshot_at)
    table.alter(sql.SQL("ALTER COLUMN {} SET DEFAULT {}").format(sql.Identifier(RECORDED_AT), time))
    index = sql.Identifier(table.schema, version_index(table.target))
    table.connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(index))


def _unset_recorded_at(table: Table) -> None:
    table.alter(sql.SQL("ALTER COLUMN {} DROP DEFAULT").format(sql.Identifier(RECORDED_AT)))
    table.connection.execute(
        sql.SQL("CREATE UNIQUE INDEX IF NOT EXISTS {} ON {} ({}, recorded_at DESC)").format(
            sql.Identifier(version_index(table.target)), table.name, identifiers(table.target.key)
        )
    )


@contextmanager
def _cached_sequences(table: Table, rows: int) -> Iterator[None]:
    """Let the session take a number for each row at once: one at a time they slow COPY by a third.

    No more numbers are taken than there are rows, so that no gap is left.
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
