"""Cursors: columns that rise, by which relations without ``xmin`` are read.

A batch keeps the highest value that it saw, and the next one reads from there, less an overlap. Rows with
NULL, or with a value that has no end (``infinity``, ``NaN``), are read each time.
"""

from psycopg import sql

from pipeline.columns import Column, Frozen, base_of, numeric_of
from pipeline.postgres import template
from pipeline.source.commits import COMMITTED, EXPRESSION
from pipeline.source.hashing import hashing

# What can be subtracted from values of a type.
_UNITS = {
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
# Where values without an end begin; NaN is above infinity, and a numeric has at most 131,072 digits.
_END = {
    "numeric": "1e131071",
    "real": "infinity",
    "double precision": "infinity",
    "date": "infinity",
    "timestamp": "infinity",
    "timestamptz": "infinity",
}


class Cursor(Frozen):
    """For relations without ``xmin``: a column that rises, and how far below its highest value to read."""

    column: str
    overlap: str | None = None


class Reached(Frozen):
    """How far a batch came: the highest value of a cursor's column as Postgres prints it, if there is one."""

    column: str
    type: str
    value: str | None


def unit_of(type_name: str) -> str | None:
    """The type of an overlap with a column of this type; None where there is none."""
    return _UNITS.get(_kind(type_name))


def condition(cursor: Cursor, column: Column, reached: str) -> sql.Composed:
    """True for rows to read after ``reached``; values without an end are above it, too."""
    # A literal without a type takes the column's.
    bound: sql.Composable = sql.Literal(reached)
    if cursor.overlap is not None and (unit := unit_of(column.type)):
        bound = template(f"{{}}::{column.type} - {{}}::{unit}").format(bound, cursor.overlap)
    return sql.SQL("({value} >= {bound} OR {value} IS NULL)").format(value=expression(column), bound=bound)


def highest(table: sql.Identifier, column: Column, where: sql.Composable) -> sql.Composed:
    """A scalar subquery: the highest value with an end among the rows that ``where`` leaves, as text."""
    value, limits = expression(column), [where, sql.SQL("{} IS NOT NULL").format(expression(column))]
    if end := _END.get(_kind(column.type)):
        limits.append(sql.SQL("{} < {}").format(value, end))
    query = (
        "(SELECT top.value::text FROM"
        " (SELECT {value} AS value FROM {table} WHERE {where} ORDER BY 1 DESC LIMIT 1) AS top)"
    )
    return template(query).format(value=value, table=table, where=sql.SQL(" AND ").join(limits))


def expression(column: Column) -> sql.Composable:
    """A column as it is read."""
    if column == COMMITTED:
        return template(EXPRESSION)
    name = sql.Identifier(column.name)
    value = sql.SQL("{}::{}").format(name, template(column.cast)) if column.cast else name
    return hashing(value, column.hashed_by) if column.hashed_by else value


def _kind(type_name: str) -> str:
    return "numeric" if numeric_of(type_name) else base_of(type_name)
