"""Queries of the past: a function <table>_as_of(moment), and views that show the moment a reader chose."""

import logging

import psycopg
from psycopg import sql

from pipeline.models.target import Target
from pipeline.postgres import Connection, statement, template
from pipeline.warehouse.history_objects import Existing, names_of

_logger = logging.getLogger(__name__)


def as_of_schema(schema: str) -> str:
    """The schema of the views that show the moment a reader has chosen."""
    return "as_of" if schema == "public" else f"{schema}_as_of"


def ensure_function(connection: Connection, schema: str, target: Target, existing: Existing) -> None:
    """Create the function <table>_as_of(moment), unless it exists with this body."""
    moment: sql.Composable = template("(SELECT etl.known($1, {}, {}))").format(schema, target.name)
    if not existing.is_open_to_readers:
        moment = sql.SQL("$1")
    body = _query(schema, target, moment).as_string(connection)
    if existing.functions.get(f"{target.name}_as_of") != body:
        # A literal, because a dollar-quoted body could end inside a column's name.
        names = names_of(schema, target)
        row_type = names["current"] if target.fact else names["table"]
        parts = {"body": sql.Literal(body), "row_type": row_type}
        connection.execute(statement("warehouse/as_of_function.sql").format(**names, **parts))


def ensure_view(connection: Connection, schema: str, target: Target, existing: Existing) -> None:
    """Create the view of the table as of the moment that etl.look_at has set."""
    columns = {column.name for column in target.columns}
    if target.name in existing.checked_views and columns <= set(existing.as_of_views.get(target.name, ())):
        return
    moment = template("(SELECT etl.known(etl.looked_at(), {}, {}))").format(schema, target.name)
    view = sql.Identifier(as_of_schema(schema), target.name)
    create = sql.SQL("CREATE OR REPLACE VIEW {} AS {}").format(view, _query(schema, target, moment))
    try:
        with connection.transaction():
            connection.execute(create)
    except psycopg.errors.InvalidTableDefinition:  # a column was renamed
        connection.execute(sql.SQL("DROP VIEW {}").format(view))
        connection.execute(create)


def _query(schema: str, target: Target, moment: sql.Composable) -> sql.Composed:
    """A query of the table's rows at a moment, which is an SQL expression."""
    file = "fact_as_of.sql" if target.fact else "dimension_as_of.sql"
    return statement(f"warehouse/{file}").format(**names_of(schema, target), moment=moment)


def ensure_schema(connection: Connection, schema: str) -> bool:
    """Create the schema of these views if it is missing; returns False if the role lacks the privilege.

    A schema whose name begins with pg_, such as a temporary one, gets none, as Postgres reserves these names.
    """
    if schema.startswith("pg_"):
        return False
    name = as_of_schema(schema)
    row = connection.execute(
        "SELECT has_schema_privilege(oid, 'create') FROM pg_namespace WHERE nspname = %s", (name,)
    ).fetchone()
    if row is None:
        row = connection.execute("SELECT has_database_privilege(current_database(), 'create')").fetchone()
        if row == (True,):
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    if row != (True,):
        _logger.warning(
            "Schema %s is not created, because the warehouse's role lacks the privilege;"
            " docs/warehouse-role.sql grants it",
            name,
        )
    return row == (True,)
