"""Rows of a dimension that is filled again with all its history, and whose keys are in no batch any more."""

import logging
from datetime import datetime

import psycopg
from psycopg import sql

from pipeline.models.target import Target, versions_name
from pipeline.postgres import Connection, identifiers

_logger = logging.getLogger(__name__)


def note(connection: Connection, schema: str, target: Target, base: datetime) -> None:
    """Note the keys that batches from the time ``base`` on have brought, before the versions are deleted."""
    connection.execute(
        sql.SQL(
            "CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT DISTINCT {} FROM {} WHERE valid_from >= {}"
        ).format(
            _noted(target),
            identifiers(target.key),
            sql.Identifier(schema, versions_name(target.name)),
            sql.Literal(base),
        )
    )


def delete(connection: Connection, schema: str, target: Target) -> None:
    """Delete the noted rows that have no version now, unless something refers to them."""
    query = sql.SQL(
        "DELETE FROM {} AS t USING {} AS s"
        " WHERE {same_key} AND NOT EXISTS (SELECT FROM {} AS v WHERE {same_version})"
    ).format(
        sql.Identifier(schema, target.name),
        _noted(target),
        sql.Identifier(schema, versions_name(target.name)),
        same_key=target.same_key("t", "s"),
        same_version=target.same_key("t", "v"),
    )
    try:
        with connection.transaction():
            connection.execute(query)
    except psycopg.errors.ForeignKeyViolation as error:
        _logger.warning(
            "%s: rows that no batch has any more stay, as %s", target.name, error.diag.constraint_name
        )


def _noted(target: Target) -> sql.Identifier:
    return sql.Identifier(f"former {target.name}")
