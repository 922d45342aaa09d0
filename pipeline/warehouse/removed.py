"""Tables whose models were removed: they stay as they are, with a mark, until they are dropped by consent."""

import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

import psycopg
from psycopg import sql

from pipeline.errors import ModelError, WarehouseError
from pipeline.models.library import Model
from pipeline.models.target import versions_name
from pipeline.postgres import Connection, statement, texts
from pipeline.warehouse import declarations, own_objects, rejected
from pipeline.warehouse.evolve import Change

_logger = logging.getLogger(__name__)


def without_model(connection: Connection, schema: str, models: Collection[str]) -> dict[str, datetime | None]:
    """The tables that have no model any more, with the time since when they are frozen, if they are."""
    rows = connection.execute(
        "SELECT table_name, frozen_at FROM etl.model WHERE schema_name = %s AND table_name <> ALL(%s)"
        " ORDER BY table_name",
        (schema, list(models)),
    ).fetchall()
    return {str(name): at if isinstance(at, datetime) else None for name, at in rows}


def refuse_readers(models: Mapping[str, Model], removed: Collection[str]) -> None:
    """Raise ModelError where a model reads one that was removed."""
    for model in models.values():
        if names := sorted(model.reads & set(removed) - model.seeds.keys()):
            raise ModelError(
                f"{model.path}: reads {names[0]}, whose model was removed; bring back {names[0]}.sql, or read"
                f' another table (if the source has a table {names[0]}: ALLOW="drop {names[0]}")'
            )


def drop_change(schema: str, name: str) -> Change:
    """The change that drops a table without a model."""
    drop = sql.SQL("DROP TABLE {}").format(sql.Identifier(schema, name))
    summary = "the table is dropped with its history, as it has no model"
    return Change(name, "", "dropped", summary, (drop,), "all of its rows would be lost", is_asked=False)


def drop(connection: Connection, schema: str, name: str) -> list[str]:
    """Drop a table with all that the pipeline keeps beside it; returns statements that repeat the grants."""
    named = {"schema": schema, "tables": [name, versions_name(name)]}
    grants = texts(connection, statement("warehouse/table_grants.sql"), named)
    grants += own_objects.drop(connection, schema, [name])
    for table in declarations.read(connection, schema, [versions_name(name), name]):
        try:
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(schema, table)))
        except psycopg.errors.DependentObjectsStillExist as error:
            raise WarehouseError(
                f"warehouse: {schema}.{table} cannot be dropped: {error.diag.message_detail}"
            ) from None
    return grants


def forget(connection: Connection, schema: str, name: str) -> None:
    """Remove what etl records about a dropped table; its rejected rows are resolved."""
    connection.execute("DELETE FROM etl.model WHERE schema_name = %s AND table_name = %s", (schema, name))
    rejected.resolve_tables(connection, schema, [name])


def mark(connection: Connection, schema: str, models: Collection[str], frozen: Iterable[str]) -> None:
    """Mark tables as frozen and resolve their rejected rows; those that have a model again are not frozen."""
    names = list(frozen)
    if names:
        connection.execute(
            "UPDATE etl.model SET frozen_at = now() WHERE schema_name = %s AND table_name = ANY(%s)",
            (schema, names),
        )
        rejected.resolve_tables(connection, schema, names)
    for name in names:
        _logger.warning(
            '%s has no model any more: it stays as it is, and no batch is loaded into it;'
            ' ALLOW="drop %s" drops it',
            name, name,
        )  # fmt: skip
    connection.execute(
        "UPDATE etl.model SET frozen_at = NULL"
        " WHERE schema_name = %s AND table_name = ANY(%s) AND frozen_at IS NOT NULL",
        (schema, list(models)),
    )
