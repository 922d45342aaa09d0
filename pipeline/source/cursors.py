"""Cursor columns: increasing columns that find new rows of relations without ``xmin``.

A batch stores the highest value that it read; the next batch reads from there, minus an overlap. Rows with
NULL, ``infinity`` or ``NaN`` are read by every batch.
"""

from psycopg import sql

from pipeline.columns import Column, Frozen, base_of, numeric_of
from pipeline.postgres import template
from pipeline.source.commits import COMMITTED, EXPRESSION
from pipeline.source.hashing import hashing

# The type of an overlap, by the type of the column.
_OVERLAP_TYPES = {
    "smallint": "bigint",
    "integer": "bigint",
    "bigint": "bigint",
    "numeric": "numeric",
    "real": "double precision",
    "double precision": "double precision",
    "date": "interval",
    "timestamp": "interval",
    "timestamptz": "interval",
}
# The least value that is not finite. NaN sorts above infinity; a numeric has at most 131,072 digits.
_NOT_FINITE = {
    "numeric": "1e131071",
    "real": "infinity",
    "double precision": "infinity",
    "date": "infinity",
    "timestamp": "infinity",
    "timestamptz": "infinity",
}


# ASCII characters, whatever the bytes are.
_ESCAPED = "encode(convert_to({}::text, 'SQL_ASCII'), 'escape')"


class Cursor(Frozen):
    """An increasing column of a relation without ``xmin``, and how far below its highest value to read."""

    column: str
    overlap: str | None = None


class Reached(Frozen):
    """The highest value of a cursor column that a batch read, as text; None where all are NULL."""

    column: str
    type: str
    value: str | None


def overlap_type(type_name: str) -> str | None:
    """The type of an overlap for a column of this type; None where the type has no subtraction."""
    return _OVERLAP_TYPES.get(_kind(type_name))


def condition(cursor: Cursor, column: Column, reached: str) -> sql.Composed:
    """The predicate of rows to read after ``reached``."""
    # An untyped literal takes the column's type.
    bound: sql.Composable = sql.Literal(reached)
    if cursor.overlap is not None and (unit := overlap_type(column.type)):
        bound = template(f"{{}}::{column.type} - {{}}::{unit}").format(bound, cursor.overlap)
    return sql.SQL("({value} >= {bound} OR {value} IS NULL)").format(value=expression(column), bound=bound)


def highest(table: sql.Identifier, column: Column, where: sql.Composable) -> sql.Composed:
    """A scalar subquery: the highest finite value of the column where ``where`` holds, as text."""
    value, limits = expression(column), [where, sql.SQL("{} IS NOT NULL").format(expression(column))]
    if limit := _NOT_FINITE.get(_kind(column.type)):
        limits.append(sql.SQL("{} < {}").format(value, limit))
    query = (
        "(SELECT top.value::text FROM"
        " (SELECT {value} AS value FROM {table} WHERE {where} ORDER BY 1 DESC LIMIT 1) AS top)"
    )
    return template(query).format(value=value, table=table, where=sql.SQL(" AND ").join(limits))


def expression(column: Column) -> sql.Composable:
    """The SELECT expression that reads a column: cast and hashed as it declares."""
    if column == COMMITTED:
        return template(EXPRESSION)
    name = sql.Identifier(column.name)
    value = sql.SQL("{}::{}").format(name, template(column.cast)) if column.cast else name
    if column.hashed_by:
        return hashing(value, column.hashed_by)
    return sql.SQL(_ESCAPED).format(value) if column.is_escaped else value


def _kind(type_name: str) -> str:
    return "numeric" if numeric_of(type_name) else base_of(type_name)
