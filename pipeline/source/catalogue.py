"""Describe the source's tables from its catalogue, and lock them until the batch is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipeline.columns import Column, Frozen
from pipeline.errors import SourceError
from pipeline.postgres import Connection, statement
from pipeline.source.definition import Definition
from pipeline.source.table_names import identifier, parts, spelled


class Table(Frozen):
    """A source relation as its catalogue describes it; ``name`` is its text, see pipeline.source.table_names.

    ``columns`` the role may read, ``unreadable`` it may not; ``key`` is the primary key.
    ``heaps`` lists the oids of the tables that store its rows.
    ``filenodes`` lists the numbers of their files; it is empty if one of them is unlogged.
    ``names_objects``: a value prints the name of an object (regclass), which changes without a write.
    ``has_xmin``: each of them stores the transaction that wrote a row.
    ``has_pages``: reading a range of pages costs less than reading the table.
    ``self_contained``: no values in a TOAST table, and no table inherits from it.
    ``bytes`` includes partitions and inheriting tables; it is None where unknown, as for a view.
    """

    name: str
    columns: tuple[Column, ...]
    unreadable: tuple[Column, ...]
    key: tuple[str, ...]
    heaps: str
    filenodes: str
    definition: Definition
    names_objects: bool
    has_xmin: bool
    may_read_xmin: bool
    has_pages: bool
    self_contained: bool
    pages: int
    bytes: int | None
    estimated_rows: int

    @property
    def tracked(self) -> bool:
        """Whether ``xmin`` finds the changed rows."""
        return self.has_xmin and self.may_read_xmin and not self.names_objects

    @property
    def can_concatenate(self) -> bool:
        """Whether the server can send the rows of many pages as one text."""
        return self.has_pages and self.self_contained

    def column(self, name: str) -> Column | None:
        """The readable column of that name; None where there is none."""
        return next((column for column in self.columns if column.name == name), None)


def describe(connection: Connection, schema: str, names: Sequence[str]) -> dict[str, Table]:
    """Describe those of the named tables that the source has, by name, and lock them.

    A snapshot does not protect from ALTER TABLE, TRUNCATE and VACUUM FULL, so the tables stay locked in
    ACCESS SHARE mode until the transaction ends. Raises SourceError where one was rewritten before the lock,
    or the role has no right to use its schema. ``schema`` is the main one.
    """
    wanted = [(in_schema or schema, name) for in_schema, name in map(parts, names)]
    values = {"schemas": [each for each, _ in wanted], "tables": [name for _, name in wanted]}
    with connection.cursor(row_factory=dict_row) as cursor, source_errors("its tables"):
        cursor.execute(statement("source/tables.sql"), values)
        described = {row.pop("relation"): _named(row, schema) for row in cursor}
        cursor.execute(statement("source/definitions.sql"), {"relations": list(described)})
        for row in cursor:
            stored = {name: row.pop(name) for name in ("heaps", "filenodes", "names_objects")}
            described[row["relation"]] |= {**stored, "definition": row}
    tables = {row["name"]: Table.model_validate(row) for row in described.values()}
    _lock(connection, schema, tables)
    return tables


def _named(row: dict[str, Any], main_schema: str) -> dict[str, Any]:
    """The row of a table with the text that stands for it."""
    schema, may_use = row.pop("in_schema"), row.pop("may_use_schema")
    if not may_use:
        grant = sql.SQL("GRANT USAGE ON SCHEMA {}").format(sql.Identifier(schema)).as_string()
        raise SourceError(
            f"source: the pipeline's role may not use schema {schema}, which has table {row['name']}; {grant}"
            " to it"
        )
    return {**row, "name": spelled(row["name"], None if schema == main_schema else schema)}


def relations(connection: Connection, schema: str) -> list[str]:
    """The texts of all tables, views and foreign tables of the source; ``schema`` is the main one."""
    rows = connection.execute(
        "SELECT n.nspname::text, c.relname::text FROM pg_class AS c"
        " INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
        " WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
        " AND c.relkind IN ('r', 'p', 'm', 'v', 'f') ORDER BY n.nspname <> %s, 1, 2",
        (schema,),
    ).fetchall()
    return [spelled(str(name), None if each == schema else str(each)) for each, name in rows]


def _lock(connection: Connection, schema: str, tables: Mapping[str, Table]) -> None:
    """Lock tables by a SELECT: LOCK TABLE does not take every kind of relation."""
    queries = [sql.SQL("SELECT FROM {} LIMIT 0").format(identifier(schema, name)) for name in tables]
    with source_errors("its tables", tables):
        connection.execute(sql.SQL("; ").join(queries))
    heaps = {int(heap): name for name, table in tables.items() for heap in table.heaps.split(",") if heap}
    if rewritten := connection.execute(statement("source/rewritten.sql"), {"heaps": list(heaps)}).fetchone():
        name = heaps[int(str(rewritten[0]))]
        raise SourceError(f"source: table {name} was emptied or rewritten while this run started; run again")


@contextmanager
def source_errors(relation: str, tables: Iterable[str] = ()) -> Iterator[None]:
    """Raise missing rights, tables and columns as a SourceError of one line.

    Postgres names a table without its schema; those of the ``tables`` that it can mean are named.
    """
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        by_policy = error.diag.source_function == "check_enable_rls"
        grant = "let the pipeline's role BYPASSRLS" if by_policy else "grant SELECT to the pipeline's role"
        refusal = error.diag.message_primary or ""
        named = ", ".join(name for name in tables if refusal.endswith(f" {parts(name)[1]}"))
        where = f"{named}: " if "." in named else ""
        raise SourceError(f"source: {where}{refusal}; {_foreign(error) or grant}") from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        advice = _foreign(error) or "it changed while being read, run again"
        raise SourceError(f"source: {relation}: {error.diag.message_primary}; {advice}") from None


def _foreign(error: psycopg.Error) -> str:
    """What to do about an error that a foreign server of the source has reported; else empty."""
    if not (error.diag.source_function or "").startswith("pgfdw_"):
        return ""
    return (
        "a foreign server of the source says so: correct the foreign table, or the rights of its user there"
    )
