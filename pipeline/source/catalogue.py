"""Tables as the source's catalogue describes them, held as they are until the batch is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipeline.columns import Column, Frozen
from pipeline.errors import SourceError
from pipeline.postgres import Connection, statement
from pipeline.source.definition import Definition


class Table(Frozen):
    """A source relation as its catalogue describes it; ``key`` is its primary key.

    ``columns`` are those that the role may read, ``unreadable`` the others. ``heaps`` are the
    tables that its rows lie in. ``has_xmin`` where each of them says which transaction wrote a row,
    ``has_pages`` where a range of its pages costs less than all of it, ``self_contained`` where it
    has neither values apart from its pages nor rows of tables that inherit from it. ``bytes`` are
    those of its partitions and heirs, too; None where they are not known, as of a view.
    """

    name: str
    columns: tuple[Column, ...]
    unreadable: tuple[Column, ...]
    key: tuple[str, ...]
    heaps: str
    definition: Definition
    has_xmin: bool
    may_read_xmin: bool
    has_pages: bool
    self_contained: bool
    pages: int
    bytes: int | None
    estimated_rows: int

    @property
    def tracked(self) -> bool:
        """Whether changed rows are told by the transactions that wrote them."""
        return self.has_xmin and self.may_read_xmin

    @property
    def packs(self) -> bool:
        """Whether the server can put the rows of many pages together."""
        return self.has_pages and self.self_contained

    def column(self, name: str) -> Column | None:
        """The readable column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


def describe(connection: Connection, schema: str, names: Sequence[str]) -> dict[str, Table]:
    """Describe those of the named tables that the schema has, by name.

    Until the transaction ends nobody can empty or rewrite them, which no snapshot shields from
    (ALTER TABLE, TRUNCATE, VACUUM FULL). Raises SourceError where somebody was faster.
    """
    with connection.cursor(row_factory=dict_row) as cursor, in_words(f"schema {schema}"):
        cursor.execute(statement("source/tables.sql"), {"schema": schema, "tables": list(names)})
        described = {row.pop("relation"): row for row in cursor}
        cursor.execute(statement("source/definitions.sql"), {"relations": list(described)})
        for row in cursor:
            described[row["relation"]] |= {"heaps": row.pop("heaps"), "definition": row}
    found = {row["name"]: Table.model_validate(row) for row in described.values()}
    _hold(connection, schema, found)
    return found


def existing(connection: Connection, schema: str, names: Sequence[str]) -> list[str]:
    """Those of the names that are a relation's of the schema."""
    rows = connection.execute(
        "SELECT c.relname::text FROM pg_class AS c INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
        " WHERE n.nspname = %s AND c.relname = ANY(%s) AND c.relkind IN ('r', 'p', 'm', 'v', 'f') ORDER BY 1",
        (schema, list(names)),
    ).fetchall()
    return [str(name) for (name,) in rows]


def _hold(connection: Connection, schema: str, described: Mapping[str, Table]) -> None:
    """Lock tables as reading them does; a SELECT locks what LOCK TABLE does not take, too."""
    queries = [sql.SQL("SELECT FROM {} LIMIT 0").format(sql.Identifier(schema, name)) for name in described]
    with in_words(f"schema {schema}"):
        connection.execute(sql.SQL("; ").join(queries))
    heaps = {int(heap): name for name, table in described.items() for heap in table.heaps.split(",") if heap}
    if rewritten := connection.execute(statement("source/rewritten.sql"), {"heaps": list(heaps)}).fetchone():
        name = heaps[int(str(rewritten[0]))]
        raise SourceError(f"source: table {name} was emptied or rewritten just now; run again")


@contextmanager
def in_words(what: str) -> Iterator[None]:
    """Turn what Postgres says of missing rights and columns into one line."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise SourceError(
            f"source: {error.diag.message_primary}; grant SELECT to the pipeline's role"
        ) from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise SourceError(
            f"source: {what}: {error.diag.message_primary}; it changed while being read, run again"
        ) from None
