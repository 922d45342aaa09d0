"""The indexes of a dimension's versions: those of the dimension, because every view reads the versions.

A version is kept for good, while an index can come and go. So an index on the versions never stops a run:
one that Postgres refuses is left out, and one that the dimension no longer has refuses no row or type.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from pipeline.models.target import Target, versions_name
from pipeline.postgres import Connection, identifiers, template
from pipeline.warehouse.history_objects import COPIED, Existing

_logger = logging.getLogger(__name__)


def drop_stale(connection: Connection, schema: str, target: Target, existing: Existing) -> None:
    """Drop the indexes that were made after those of the dimension, and that it no longer has."""
    versions, wanted = versions_name(target.name), _wanted(target, existing)
    for index in existing.lookups.get(versions, ()):
        if index.is_copied and index.columns not in wanted:
            with _left_out(connection, versions, index.columns, "keeps"):
                connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(schema, index.name)))


def ensure(connection: Connection, schema: str, target: Target, existing: Existing) -> None:
    """Give the versions the indexes of their dimension, as far as no other serves."""
    versions, wanted = versions_name(target.name), _wanted(target, existing)
    others = [
        index.columns
        for index in existing.lookups.get(versions, ())
        if not index.is_copied or index.columns in wanted
    ]
    have = [[*target.key, "valid_from"], *others]
    for columns in wanted:
        if columns not in [each[: len(columns)] for each in have]:
            have.append(columns)
            with _left_out(connection, versions, columns, "lacks"):
                _create(connection, schema, versions, columns)


def _wanted(target: Target, existing: Existing) -> list[list[str]]:
    names = {column.name for column in target.columns}
    return [
        index.columns for index in existing.lookups.get(target.name, ()) if names.issuperset(index.columns)
    ]


def _create(connection: Connection, schema: str, versions: str, columns: list[str]) -> None:
    """Create an index whose comment says where it comes from; Postgres chooses its name."""
    create = template("CREATE INDEX ON {} ({})")
    connection.execute(create.format(sql.Identifier(schema, versions), identifiers(columns)))
    rows = connection.execute(
        "SELECT max(indexrelid)::regclass::text FROM pg_index WHERE indrelid = %s::regclass",
        (sql.Identifier(schema, versions).as_string(connection),),
    ).fetchall()
    ((name,),) = rows
    connection.execute(template("COMMENT ON INDEX {} IS {}").format(template(str(name)), sql.Literal(COPIED)))


@contextmanager
def _left_out(connection: Connection, versions: str, columns: list[str], lacks: str) -> Iterator[None]:
    """Only warn of what Postgres refuses: an old version has a long value, or others own the table."""
    try:
        with connection.transaction():
            yield
    except (psycopg.errors.ProgramLimitExceeded, psycopg.errors.InsufficientPrivilege) as error:
        _logger.warning(
            "%s %s an index on (%s): %s", versions, lacks, ", ".join(columns), error.diag.message_primary
        )
