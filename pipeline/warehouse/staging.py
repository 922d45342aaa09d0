"""Stage rows in a temporary table that has the types of their table, and none of its constraints."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import psycopg
import pyarrow.dataset as ds
from psycopg import sql

from pipeline.columns import Column
from pipeline.lake.buckets import Bucket
from pipeline.models.output import Output
from pipeline.models.target import text_json
from pipeline.postgres import each, template
from pipeline.warehouse import bisection, rejected
from pipeline.warehouse.copying import copy_in
from pipeline.warehouse.limits import NO_LIMIT
from pipeline.warehouse.table import Table

# The text of a value in an untyped row: one of bytes, or a rejected one.
_FROM_BYTES, _FROM_REJECTED = "convert_from(s.{0}, 'UTF8')", '(s."row" ->> {1})'


def stage(
    table: Table, output: Output, processed: Bucket, progress: Callable[[int], None], row_limit: int
) -> int:
    """Copy a batch's rows into the stage; returns how many were rejected because a value has another type.

    Raises RejectionLimitExceeded if they are more than ``row_limit``.
    """
    table.execute("stage_rows.sql")
    if not output.files:
        return 0
    rows, lost = processed.dataset(output.files), 0
    try:
        with table.connection.transaction():
            copy_in(table.connection, table.stage, output.columns, rows, progress)
    except psycopg.Error as error:
        if not bisection.is_rejection(error, of_values=True):
            raise
        with table.untyped() as untyped:
            columns = each("NULL::bytea AS {0}", table.columns)
            table.execute("stage_untyped.sql", untyped=untyped, bytes=columns)
            copy_in(table.connection, untyped, output.columns, rows, progress, as_bytes=True)
            lost = _cast_by_bisection(table, untyped, _FROM_BYTES, row_limit)
    table.connection.execute(sql.SQL("ANALYZE {}").format(table.stage))
    return lost


def stage_retried(table: Table, row_columns: Sequence[str], *, with_batch: bool) -> None:
    """Stage the rejected rows that have exactly these columns, with their stored values.

    ``with_batch`` includes rows that this batch has rejected.
    """
    table.execute("stage_rows.sql")
    with table.untyped() as untyped:
        columns, now = sql.Literal(list(row_columns)), sql.Literal(with_batch)
        table.execute("stage_retried.sql", untyped=untyped, row_columns=columns, now=now)
        casts = sql.SQL(", ").join(_casts(table, _FROM_REJECTED))
        try:
            with table.connection.transaction():
                table.execute("type_rows.sql", untyped=untyped, typed=casts)
        except psycopg.Error as error:
            if not bisection.is_rejection(error, of_values=True):
                raise
            _cast_by_bisection(table, untyped, _FROM_REJECTED, NO_LIMIT)


def copy_valid_keys(table: Table, into: sql.Identifier, keys: Sequence[Column], rows: ds.Dataset) -> None:
    """Copy the keys that the table's types can hold, and resolve the rejected rows of the others."""
    table = replace(table, columns=table.target.key)
    with table.untyped() as untyped:
        table.execute("stage_untyped.sql", untyped=untyped, bytes=each("NULL::bytea AS {0}", table.columns))
        copy_in(table.connection, untyped, keys, rows, lambda _: None, as_bytes=True)
        casts = sql.SQL(", ").join(_casts(table, _FROM_BYTES))
        parts = {"stage": into, "untyped": untyped, "typed": casts, "chosen": bisection.CHOSEN}
        bisection.run(
            table.connection, table.text("type_rows.sql", **parts), untyped, NO_LIMIT, of_values=True
        )
        plain = text_json(table.columns, each("pg_temp.readable(s.{0})", table.columns))
        names = {"plain": plain, "printed": _printed_key(table)}
        table.execute("resolve_invalid.sql", untyped=untyped, **names)


def _cast_by_bisection(table: Table, untyped: sql.Identifier, text: str, row_limit: int) -> int:
    """Cast untyped rows into the stage, and reject those that cannot be cast; returns how many."""
    casts = _casts(table, text)
    statement = table.text(
        "type_rows.sql", untyped=untyped, typed=sql.SQL(", ").join(casts), chosen=bisection.CHOSEN
    )
    bisection.run(table.connection, statement, untyped, row_limit, of_values=True)
    places = [name.as_string(table.connection) for name in (untyped, table.stage)]
    texts = [cast.as_string(table.connection) for cast in casts]
    table.connection.execute(
        "SELECT pg_temp.name_columns(%s::regclass, %s::regclass, %s, %s)",
        (*places, list(table.columns), texts),
    )
    if text == _FROM_REJECTED:
        stored = {"key_json": template("s.key"), "row_json": template('s."row"')}
        return rejected.reject_found(table, stage=untyped, is_retry=True, **stored)
    row = text_json(table.columns, each("pg_temp.readable(s.{0})", table.columns))
    return rejected.reject_found(table, stage=untyped, key_json=_printed_key(table), row_json=row)


def _casts(table: Table, text: str) -> list[sql.Composed]:
    """A cast of each column's text to its type without length, which would cut values off."""
    return [
        sql.SQL("{}::{}").format(each(text, [name]), template(plain))
        for name, (plain, _) in zip(table.columns, _types(table), strict=True)
    ]


def _types(table: Table) -> list[tuple[str, str]]:
    """The types of the columns, without and with domains and lengths."""
    rows = table.execute("column_types.sql").fetchall()
    types = {str(name): (str(plain), str(declared)) for name, plain, declared in rows}
    return [types[name] for name in table.columns]


def _printed_key(table: Table) -> sql.Composed:
    """The key of an untyped row as jsonb; values that fit are printed as the warehouse prints them."""
    types = dict(zip(table.columns, _types(table), strict=True))
    printed = [
        sql.SQL("pg_temp.printed(pg_temp.readable(s.{}), {})").format(
            sql.Identifier(name), sql.Literal(types[name][1])
        )
        for name in table.target.key
    ]
    return text_json(table.target.key, sql.SQL(", ").join(printed))
