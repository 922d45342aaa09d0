"""The file ``schema.sql``, which declares the warehouse's tables, and which text of it they follow."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import sql

from pipeline.beginning import SAFE_PATH
from pipeline.errors import WarehouseError
from pipeline.messages import naming_functions
from pipeline.postgres import Connection, identifiers, statement, template
from pipeline.words import line_of, text_of

_QUALIFIED = re.compile(
    r'^[ \t]*CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?("?)(\w+)\1\s*\.', re.IGNORECASE | re.MULTILINE
)
_UNLOGGED = re.compile(r"\b(CREATE\s+)UNLOGGED(\s+(?:TABLE|SEQUENCE)\b)", re.IGNORECASE)
_EXISTS = (
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateFunction,
    psycopg.errors.DuplicateColumn,
)
# What Postgres raises for what no temporary table can be or have; servers speak many languages.
_NOT_OF_TEMPORARY = (
    psycopg.errors.WrongObjectType,
    psycopg.errors.InvalidTableDefinition,
    psycopg.errors.InvalidParameterValue,
    psycopg.errors.FeatureNotSupported,
)
_IN_THIS_TRANSACTION = sql.SQL("d.xmin = pg_current_xact_id()::xid")


class Followed(NamedTuple):
    """What tables follow: the digest of a schema.sql, and its text unless an earlier release recorded it."""

    digest: str
    text: str | None


def digest(text: str) -> str:
    """The digest of a schema.sql."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> str:
    """The text of the file, empty if there is none."""
    return text_of(path) if path.exists() else ""


def followed(connection: Connection, schema: str) -> Followed | None:
    """What the tables of a schema follow; None before they follow a file."""
    row = connection.execute(
        "SELECT digest, content FROM etl.schema_file WHERE schema_name = %s", (schema,)
    ).fetchone()
    return Followed(str(row[0]), None if row[1] is None else str(row[1])) if row else None


def record(connection: Connection, schema: str, text: str) -> None:
    """Record that the tables follow this text."""
    connection.execute(
        "INSERT INTO etl.schema_file (schema_name, digest, content) VALUES (%s, %s, %s)"
        " ON CONFLICT (schema_name) DO UPDATE SET digest = excluded.digest, content = excluded.content",
        (schema, digest(text), text),
    )


def run(connection: Connection, schemas: Sequence[str], path: Path, text: str | None = None) -> None:
    """Run the file, or another text of it, with these schemas as search_path.

    If the first is the temporary one, tables are made there that cannot be unlogged.
    Everything else qualifies its names. Raises WarehouseError, also for a table that is named with the last
    of the schemas: a plan runs the file in another one, and would not see it.
    """
    if text is None and not path.exists():
        raise WarehouseError(f"warehouse: tables are missing and there is no {path} to create them")
    content = read(path) if text is None else text
    for match in _QUALIFIED.finditer(content):
        if schemas[-1] in {match[2], match[2].lower()}:
            raise WarehouseError(
                f"{path}:{line_of(content, match.end())}: names a table with the schema {match[2]}; write its"
                " name alone, as TOTESYS_WAREHOUSE_SCHEMA names the schema"
            )
    is_temporary = schemas[0].startswith("pg_temp")
    try:
        connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(identifiers(schemas)))
        with naming_functions():
            connection.execute(template(_logged(content) if is_temporary else content))
        connection.execute(SAFE_PATH)
        query = statement("warehouse/untrusted_functions.sql").format(made=_IN_THIS_TRANSACTION)
        untrusted = connection.execute(query).fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        raise WarehouseError(f"warehouse: {error.diag.message_primary}; let its role create tables") from None
    except psycopg.Error as error:
        # Others of these are about the server or the session, not the file.
        is_of_file = isinstance(error, psycopg.errors.ObjectNotInPrerequisiteState)
        if isinstance(error, psycopg.OperationalError) and not is_of_file:
            raise
        told = error.diag.message_primary or str(error)
        raise WarehouseError(
            f"{path}{_line(path, error)}: {told}; {_advice(error, is_temporary=is_temporary)}"
        ) from None
    if untrusted:
        raise WarehouseError(
            "{}: a table would call {} of role {}, who owns neither the schema nor the database;"
            " name another one with its schema, or drop that one".format(path, *untrusted)
        )


def _logged(text: str) -> str:
    """The text without UNLOGGED, each statement at its place."""
    return _UNLOGGED.sub(lambda found: f"{found[1]}{' ' * len('UNLOGGED')}{found[2]}", text)


def _advice(error: psycopg.Error, *, is_temporary: bool) -> str:
    """What to do about an error of the file."""
    if isinstance(error, _EXISTS):
        return "runs execute the file again: write IF NOT EXISTS or OR REPLACE"
    if is_temporary and isinstance(error, _NOT_OF_TEMPORARY):
        return (
            "correct it, or leave it to a script of your own; runs also read the file with temporary tables"
        )
    return "correct it"


def _line(path: Path, error: psycopg.Error) -> str:
    """The line of an error in a file of SQL, if Postgres says where it is."""
    place = error.diag.statement_position
    return f":{line_of(text_of(path), int(place) - 1)}" if place else ""
