"""The demo's queries; those longer than a line are in demo/sql/."""

from __future__ import annotations

from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

_SQL = Path(__file__).parent / "sql"

Rows = psycopg.Connection[tuple[Any, ...]]


def read(file: str) -> LiteralString:
    """The text of a query of demo/sql/."""
    return (_SQL / file).read_text(encoding="utf-8")


def statement(file: str, **names: str) -> sql.Composed:
    """A query of demo/sql/ with identifiers filled in."""
    return sql.SQL(read(file)).format(**{part: sql.Identifier(name) for part, name in names.items()})


def value(connection: Rows, query: sql.Composed, parameters: dict[str, object] | None = None) -> Any:  # noqa: ANN401
    """The single value of a query."""
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None


def count(connection: Rows, relation: str) -> int:
    """The number of rows of a table or view."""
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(relation))
    return int(value(connection, query))


def exists(connection: Rows, relation: str) -> bool:
    """Whether there is a table or view of that name."""
    row = connection.execute("SELECT to_regclass(quote_ident(%s))", [relation]).fetchone()
    return row is not None and row[0] is not None
