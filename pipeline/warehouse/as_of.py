"""Queries of the past: a function <table>_as_of(moment), and views that show the moment a reader chose.

The views stand twice: in the schema ``as_of``, and in the schema ``reporting`` among all that readers need.
"""

import psycopg
from psycopg import sql

from pipeline.models.target import Target
from pipeline.postgres import Connection, statement, template
from pipeline.warehouse import own_objects
from pipeline.warehouse.history_objects import Existing, names_of


def ensure_function(connection: Connection, schema: str, target: Target, existing: Existing) -> None:
    """Create the function <table>_as_of(moment), unless it exists with this body."""
    # etl.known returns a moment of which the table has versions, or raises an error.
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


def ensure_view(
    connection: Connection, home: str, schema: str, target: Target, existing: Existing
) -> list[str]:
    """Create the view of the table as of the moment that etl.look_at has set, in the schema ``home``.

    Returns the statements that grant others what they had on what was dropped for that.
    """
    columns = {column.name for column in target.columns}
    shown = existing.views[home].get(target.name, ())
    is_checked = (home, target.name) in existing.checked_views
    if is_checked and (home, target.name, target.versions_table) in existing.read and columns <= set(shown):
        return []
    moment = template("(SELECT etl.known(etl.looked_at(), {}, {}))").format(schema, target.name)
    view = sql.Identifier(home, target.name)
    create = sql.SQL("CREATE OR REPLACE VIEW {} AS {}").format(view, _query(schema, target, moment))
    try:
        with connection.transaction():
            connection.execute(create)
    except psycopg.errors.InvalidTableDefinition:  # a column was renamed
        grants = own_objects.drop(connection, schema, views=[(home, target.name)])
        connection.execute(create)
        return grants
    return []


def _query(schema: str, target: Target, moment: sql.Composable) -> sql.Composed:
    """A query of the table's rows at a moment, which is an SQL expression."""
    file = "fact_as_of.sql" if target.fact else "dimension_as_of.sql"
    return statement(f"warehouse/{file}").format(**names_of(schema, target), moment=moment)
