"""Drop views and functions that the pipeline has made, which it makes again afterwards."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import cast

import psycopg
from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.postgres import Connection, statement, template
from pipeline.warehouse.schemas import as_of_schema, reporting_schema


def drop(
    connection: Connection,
    schema: str,
    tables: Collection[str] = (),
    *,
    views: Iterable[tuple[str, str]] = (),
    marts: Collection[str] = (),
) -> list[str]:
    """Drop what the pipeline has made beside tables, further views, marts, and the marts that read any.

    Returns the statements that grant others what they had, for :func:`grant_again`. Raises WarehouseError
    where something else depends on them.
    """
    views = list(views)
    if not (tables or views or marts):
        return []
    names = {
        "schema": schema,
        "as_of": as_of_schema(schema),
        "reporting": reporting_schema(schema),
        "tables": list(tables),
        "views": [_regclass(connection, sql.Identifier(*view)) for view in views],
        "marts": list(marts),
    }
    granted: list[str] = []
    for kind, name, grants in connection.execute(statement("warehouse/own_views.sql"), names).fetchall():
        _drop(connection, template(f"{kind} {name}"))
        granted += cast(list[str], grants)
    return granted


def _regclass(connection: Connection, view: sql.Identifier) -> str:
    row = connection.execute("SELECT to_regclass(%s)::text", (view.as_string(),)).fetchone()
    return str(row[0]) if row else ""


def _drop(connection: Connection, named: sql.Composable) -> None:
    try:
        connection.execute(sql.SQL("DROP {}").format(named))
    except psycopg.errors.DependentObjectsStillExist as error:
        raise WarehouseError(
            f"warehouse: {named.as_string()} has to be made again, as a table or a mart changes; drop what"
            f" depends on it first: {error.diag.message_detail}; nothing was changed"
        ) from None


def grant_again(connection: Connection, grants: Iterable[str]) -> None:
    """Execute GRANTs, except on what is not there any more."""
    for grant in grants:
        gone = psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction
        with suppress(*gone), connection.transaction():
            connection.execute(template(grant))
