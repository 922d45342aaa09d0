"""References that Postgres need not check, because the load has proven them.

Postgres checks a foreign key by a trigger for each row, which takes longer than all the rest of a load. The
load proves all of them by set operations anyway. If its role may set ``session_replication_role``, the
statement that inserts the rows runs without triggers. What the rows refer to is locked against writers before
the proof, until the transaction ends. Postgres still checks tables that have other triggers, or references
that the proof does not cover.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pipeline.postgres import Connection, select
from pipeline.warehouse.table import Table

NO_RIGHT = "its role may not set session_replication_role (docs/warehouse-role.sql)"
# For fewer rows, Postgres's own checks cost less than the locks.
_FEWEST_ROWS = 1_000
# A writer that takes longer is not waited for: Postgres checks the references then.
_LOCK_TIMEOUT = "200ms"
# Older servers let only superusers set the parameter.
_POSTGRES_15 = 150_000
_HAS_RIGHT = sql.SQL("has_parameter_privilege('session_replication_role', 'SET')")
_IS_SUPERUSER = sql.SQL("current_setting('is_superuser')::boolean")


@dataclass(frozen=True)
class References:
    """The definitions of a table's foreign keys by name, and why Postgres has to check them, if it has to."""

    name: str
    definitions: dict[str, str]
    reason: str | None


def may_skip(connection: Connection) -> bool:
    """Whether the role may let a statement run without triggers.

    The transaction must see what others have committed until the locks were there, so it must not have one
    snapshot for all of its statements.
    """
    can_grant = connection.info.server_version >= _POSTGRES_15
    query = sql.SQL(
        "SELECT {} AND current_setting('session_replication_role') = 'origin'"
        " AND current_setting('transaction_isolation') = 'read committed'"
    ).format(_HAS_RIGHT if can_grant else _IS_SUPERUSER)
    return connection.execute(query).fetchone() == (True,)


def describe(connection: Connection, schema: str, tables: Iterable[str]) -> list[References]:
    """The references of those tables that have any."""
    file = "warehouse/unskippable_references.sql"
    return select(connection, References, file, schema=schema, tables=list(tables))


def checked_by_row(connection: Connection, schema: str, tables: Iterable[str]) -> dict[str, str]:
    """The tables whose references Postgres checks for each row of a load, with the reason."""
    described = describe(connection, schema, tables)
    if not may_skip(connection):
        return {each.name: NO_RIGHT for each in described}
    return {each.name: each.reason for each in described if each.reason}


def lock(table: Table, rows: int) -> bool:
    """Lock what the table refers to, if Postgres need not check the references of this many rows.

    From then on, until the transaction ends, the load's proof holds. Returns False, and locks nothing, if
    Postgres has to check them.
    """
    if rows < _FEWEST_ROWS or not (_is_proof_complete(table) and may_skip(table.connection)):
        return False
    if not _is_skippable(table):
        return False
    try:
        with table.connection.transaction() as savepoint:
            _lock(table)
            # Others may have changed the tables before these were locked.
            if _is_skippable(table):
                return True
            raise psycopg.Rollback(savepoint)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
        pass
    return False


@contextmanager
def unchecked(connection: Connection, *, proven: bool) -> Iterator[None]:
    """Run the block's statements without triggers, if ``lock`` has returned True for the table they write."""
    if not proven:
        yield
        return
    with connection.transaction():  # a rollback brings the setting back, too
        connection.execute("SET LOCAL session_replication_role = replica")
        yield
        connection.execute("SET LOCAL session_replication_role = origin")


def _is_proof_complete(table: Table) -> bool:
    """Whether the rows to load have all columns of all references."""
    columns = set(table.columns)
    references = table.target.references
    return bool(references) and all(columns.issuperset(reference.columns) for reference in references)


def _is_skippable(table: Table) -> bool:
    """Whether the table's references are the proven ones, and nothing else would be skipped."""
    proven = {reference.name: reference.definition for reference in table.target.references}
    found = describe(table.connection, table.schema, [table.target.name])
    return [(each.definitions, each.reason) for each in found] == [(proven, None)]


def _lock(table: Table) -> None:
    """Lock the table against changes of its definition, then what it refers to against writers."""
    connection = table.connection
    row = connection.execute("SELECT current_setting('lock_timeout')").fetchone()
    names = sorted({(reference.to_schema, reference.to_table) for reference in table.target.references})
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_LOCK_TIMEOUT))
    connection.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(table.name))
    connection.execute(
        sql.SQL("LOCK TABLE {} IN SHARE MODE").format(
            sql.SQL(", ").join(sql.Identifier(*name) for name in names)
        )
    )
    connection.execute("SELECT set_config('lock_timeout', %s, true)", row)
