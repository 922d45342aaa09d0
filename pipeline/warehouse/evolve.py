"""Bring tables to what ``schema.sql`` declares now, as far as that can neither fail nor lose a value.

New columns, wider types and dropped NOT NULLs are applied. Everything else is left to a person: a warning
prints the statement that does it.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from pipeline.columns import Frozen
from pipeline.errors import WarehouseError
from pipeline.postgres import Connection, statement, template

_logger = logging.getLogger(__name__)

_INTEGERS = ("smallint", "integer", "bigint")
_TEXTS = ("text", "character varying")
_WITH_LIMITS = re.compile(r"(numeric|character varying)\((\d+)(?:,(\d+))?\)")


class Declared(Frozen):
    """A column as a table declares it; ``refers_to`` is the table that it alone refers to."""

    table_name: str
    name: str
    type: str
    required: bool
    computed: bool
    default_value: str | None
    checks: tuple[str, ...]
    refers_to: str | None
    comment: str


class Change(NamedTuple):
    """What is to be done to a table: a statement, and whether it can neither fail nor lose a value."""

    table: str
    column: str
    statement: sql.Composed
    is_safe: bool
    reason: str = ""
    retypes: bool = False


def digest(text: str) -> str:
    """What is kept of a schema.sql."""
    return hashlib.sha256(text.encode()).hexdigest()


def follows(connection: Connection, schema: str, text: str) -> bool:
    """Whether the tables follow this schema.sql already."""
    row = connection.execute(
        "SELECT digest FROM etl.schema_file WHERE schema_name = %s", (schema,)
    ).fetchone()
    return row == (digest(text),)


def record(connection: Connection, schema: str, text: str) -> None:
    """Write down that the tables follow this schema.sql."""
    connection.execute(
        "INSERT INTO etl.schema_file (schema_name, digest) VALUES (%s, %s)"
        " ON CONFLICT (schema_name) DO UPDATE SET digest = excluded.digest",
        (schema, digest(text)),
    )


def changes(
    connection: Connection, schema: str, tables: Iterable[str], declare: Callable[[str], None]
) -> list[Change]:
    """What tables that exist lack of their declarations; ``declare`` makes the tables in a schema."""
    names = list(tables)
    existing = _columns(connection, schema, names)
    with connection.transaction(force_rollback=True):
        connection.execute("CREATE TEMP TABLE declared ()")
        row = connection.execute("SELECT nspname::text FROM pg_namespace WHERE oid = pg_my_temp_schema()")
        ((temporary,),) = row.fetchall()
        declare(str(temporary))
        declared = _columns(connection, str(temporary), names)
    return [
        change
        for name, columns in declared.items()
        if name in existing
        for change in _changes_of(schema, name, existing[name], columns)
    ]


def apply(connection: Connection, changes: Iterable[Change]) -> None:
    """Apply the changes that are safe, and print the statements of the others."""
    for change in changes:
        shown = change.statement.as_string(connection)
        if not change.is_safe:
            _logger.warning(
                "%s.%s: schema.sql differs, and %s; if it is meant, run: %s",
                change.table, change.column, change.reason, shown,
            )  # fmt: skip
            continue
        try:
            with connection.transaction():
                connection.execute(change.statement)
        except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege):
            raise
        except psycopg.errors.FeatureNotSupported as error:
            raise WarehouseError(
                f"warehouse: {change.table}.{change.column}: {error.diag.message_primary}:"
                f" {error.diag.message_detail}; drop what depends on it, and create it again after the run"
            ) from None
        except psycopg.Error as error:
            raise WarehouseError(
                f"warehouse: {change.table}.{change.column}: {error.diag.message_primary}; the change that"
                f" schema.sql declares failed: {shown}"
            ) from None
        _logger.info("%s: %s", change.table, shown)


def _columns(connection: Connection, schema: str, tables: list[str]) -> dict[str, dict[str, Declared]]:
    found: dict[str, dict[str, Declared]] = {}
    with connection.cursor(row_factory=class_row(Declared)) as cursor:
        for column in cursor.execute(
            statement("warehouse/declared_columns.sql"), {"schema": schema, "tables": tables}
        ):
            found.setdefault(column.table_name, {})[column.name] = column
    return found


def _changes_of(
    schema: str, name: str, existing: Mapping[str, Declared], declared: Mapping[str, Declared]
) -> Iterator[Change]:
    table = sql.SQL("ALTER TABLE {} ").format(sql.Identifier(schema, name))
    for column in declared.values():
        known, quoted = existing.get(column.name), sql.Identifier(column.name)
        if known is None:
            yield _added(schema, table, column)
            continue
        if known.type != column.type:
            alter = template(f"ALTER COLUMN {{}} TYPE {column.type}").format(quoted)
            safe = is_wider(known.type, column.type)
            reason = f"values of {known.type} may not fit {column.type}"
            yield Change(name, column.name, table + alter, safe, reason, retypes=True)
        if known.required and not column.required:
            alter = sql.SQL("ALTER COLUMN {} DROP NOT NULL").format(quoted)
            yield Change(name, column.name, table + alter, is_safe=True)
        if column.required and not known.required:
            alter = sql.SQL("ALTER COLUMN {} SET NOT NULL").format(quoted)
            yield Change(name, column.name, table + alter, is_safe=False, reason="rows may have NULL in it")


def _added(schema: str, table: sql.Composed, column: Declared) -> Change:
    added = template(f"ADD COLUMN {{}} {column.type}").format(sql.Identifier(column.name))
    parts: list[sql.Composable] = [added]
    if column.default_value is not None:
        parts.append(template(f"DEFAULT {column.default_value}"))
        if column.required:
            parts.append(sql.SQL("NOT NULL"))
    parts += [template(check) for check in column.checks]
    if column.refers_to:
        parts.append(sql.SQL("REFERENCES {}").format(sql.Identifier(schema, column.refers_to)))
    is_safe = not column.computed and "nextval" not in (column.default_value or "")
    reason = "its values are computed"
    return Change(column.table_name, column.name, table + sql.SQL(" ").join(parts), is_safe, reason)


def is_wider(old: str, new: str) -> bool:
    """Whether every value of a type is one of another, and stays the same."""
    if old in _INTEGERS and new in _INTEGERS:
        return _INTEGERS.index(new) > _INTEGERS.index(old)
    if old in _INTEGERS and new == "numeric":
        return True
    before, after = _WITH_LIMITS.fullmatch(old), _WITH_LIMITS.fullmatch(new)
    if before and before[1] == "numeric":
        digits, scale = int(before[2]), int(before[3] or 0)
        if after and after[1] == "numeric":
            return int(after[3] or 0) >= scale and int(after[2]) - int(after[3] or 0) >= digits - scale
        return new == "numeric"
    if before:
        return new in _TEXTS or bool(after and after[1] == before[1] and int(after[2]) >= int(before[2]))
    return (old in _TEXTS and new in _TEXTS) or (old, new) == ("real", "double precision")
