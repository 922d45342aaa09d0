"""The indexes of a dimension's versions: those of the dimension, because every view reads the versions.

A version is kept for good, while an index can come and go. So an index on the versions never stops a run:
one that Postgres refuses is left out, and one that the dimension no longer has refuses no row or type.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
from psycopg import sql

from pipeline.models.target import Target, versions_name
from pipeline.postgres import Connection, identifiers, template
from pipeline.warehouse.history_objects import COPIED, Existing, Index, names_of

_logger = logging.getLogger(__name__)

VALID_FROM = "valid_from"
# Stands for an expression among the columns of an index.
_EXPRESSION = ""


def ensure_unique(connection: Connection, schema: str, target: Target, existing: Existing) -> None:
    """Create the unique index of the versions if it is missing, also because the model has another key.

    Of other unique indexes those stay that no two versions can violate; an expression may be the same in two.
    """
    wanted = [*target.key, VALID_FROM]
    written = {_EXPRESSION, VALID_FROM, "valid_to", "deleted", *(column.name for column in target.columns)}
    versions = versions_name(target.name)
    found = [index for index in existing.indexes.values() if index.table == versions and index.is_unique]
    for index in found:
        if written.issuperset(index.columns) and not set(wanted).issubset(index.columns):
            _drop_unique(connection, schema, index)
    if not any(index.is_valid and index.is_full and index.columns == wanted for index in found):
        create_unique(connection, names_of(schema, target))


def create_unique(connection: Connection, names: Mapping[str, sql.Composable]) -> None:
    """Create the unique index of the versions; ``names`` are those of ``names_of``."""
    query = sql.SQL("CREATE UNIQUE INDEX ON {versions} ({key}, valid_from)")
    connection.execute(query.format(versions=names["versions"], key=names["key"]))


def _drop_unique(connection: Connection, schema: str, index: Index) -> None:
    if index.is_constraint:
        drop = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
            sql.Identifier(schema, index.table), sql.Identifier(index.name)
        )
    else:
        drop = sql.SQL("DROP INDEX {}").format(sql.Identifier(schema, index.name))
    connection.execute(drop)
    if index.columns[-1] != VALID_FROM:  # otherwise it is the one of a former key
        _logger.warning(
            "%s: dropped the unique index %s on (%s), because versions may have the same values there",
            index.table, index.name, ", ".join(each or "an expression" for each in index.columns),
        )  # fmt: skip


def drop_stale(connection: Connection, schema: str, target: Target, existing: Existing) -> None:
    """Drop the indexes that were made after those of the dimension, and that it no longer has."""
    versions, wanted = versions_name(target.name), _wanted(target, existing)
    for index in existing.lookups(versions):
        if index.is_copied and index.columns not in wanted:
            with _left_out(connection, versions, index.columns, "keeps"):
                connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(schema, index.name)))


def ensure(connection: Connection, schema: str, target: Target, existing: Existing) -> None:
    """Give the versions the indexes of their dimension, as far as no other serves."""
    versions, wanted = versions_name(target.name), _wanted(target, existing)
    others = [
        index.columns
        for index in existing.lookups(versions)
        if not index.is_copied or index.columns in wanted
    ]
    have = [[*target.key, VALID_FROM], *others]
    for columns in wanted:
        if columns not in [each[: len(columns)] for each in have]:
            have.append(columns)
            with _left_out(connection, versions, columns, "lacks"):
                _create(connection, schema, versions, columns)


def _wanted(target: Target, existing: Existing) -> list[list[str]]:
    names = {column.name for column in target.columns}
    return [index.columns for index in existing.lookups(target.name) if names.issuperset(index.columns)]


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
