"""Stage a set of rows: a temporary table holds them with their table's types, and without its constraints."""

from collections.abc import Callable, Sequence

import psycopg
from psycopg import sql

from pipeline.lake.buckets import Bucket
from pipeline.models.output import Output
from pipeline.models.target import text_json
from pipeline.postgres import each, template
from pipeline.warehouse import refusals, rejected
from pipeline.warehouse.copying import copy_in
from pipeline.warehouse.table import Table

# How the text of a value is had from untyped rows: from bytes, and from rejected rows.
_FROM_BYTES, _FROM_REJECTED = "convert_from(s.{0}, 'UTF8')", '(s."row" ->> {1})'


def stage(table: Table, output: Output, processed: Bucket, progress: Callable[[int], None], most: int) -> int:
    """Copy a batch's rows into the stage; returns how many have values that Postgres refuses.

    Those are rejected. Raises TooManyRefused where they are more than ``most``.
    """
    table.execute("stage_rows.sql")
    if not output.files:
        return 0
    rows, refused = processed.dataset(output.files), 0
    try:
        with table.connection.transaction():
            copy_in(table.connection, table.stage, output.columns, rows, progress)
    except psycopg.Error as error:
        if not refusals.is_refusal(error, of_values=True):
            raise
        with table.untyped() as untyped:
            columns = each("NULL::bytea AS {0}", table.columns)
            table.execute("stage_untyped.sql", untyped=untyped, bytes=columns)
            copy_in(table.connection, untyped, output.columns, rows, progress, as_bytes=True)
            refused = _find_misfits(table, untyped, _FROM_BYTES, most)
    table.connection.execute(sql.SQL("ANALYZE {}").format(table.stage))
    return refused


def stage_retried(table: Table, row_columns: Sequence[str], *, now: bool) -> None:
    """Stage the rejected rows that have these columns, with the very values that they had.

    With ``now`` those that this batch has rejected are among them.
    """
    table.execute("stage_rows.sql")
    with table.untyped() as untyped:
        columns = sql.Literal(list(row_columns))
        table.execute("stage_retried.sql", untyped=untyped, row_columns=columns, now=sql.Literal(now))
        typed = sql.SQL(", ").join(_typed(table, _FROM_REJECTED))
        try:
            with table.connection.transaction():
                table.execute("type_rows.sql", untyped=untyped, typed=typed)
        except psycopg.Error as error:
            if not refusals.is_refusal(error, of_values=True):
                raise
            _find_misfits(table, untyped, _FROM_REJECTED, refusals.ANY_NUMBER)


def _find_misfits(table: Table, untyped: sql.Identifier, text: str, most: int) -> int:
    """Give untyped rows their types one by one where they must, and reject those that Postgres refuses."""
    expressions = _typed(table, text)
    statement = table.text(
        "type_rows.sql", untyped=untyped, typed=sql.SQL(", ").join(expressions), chosen=refusals.CHOSEN
    )
    refusals.find(table.connection, statement, untyped, most, of_values=True)
    places = [name.as_string(table.connection) for name in (untyped, table.stage)]
    texts = [expression.as_string(table.connection) for expression in expressions]
    table.connection.execute(
        "SELECT pg_temp.name_columns(%s::regclass, %s::regclass, %s, %s)",
        (*places, list(table.columns), texts),
    )
    if text == _FROM_REJECTED:
        kept = {"key_json": template("s.key"), "row_json": template('s."row"')}
        return rejected.reject_refused(table, stage=untyped, is_retry=True, **kept)
    row = text_json(table.columns, each("pg_temp.readable(s.{0})", table.columns))
    return rejected.reject_refused(table, stage=untyped, key_json=_printed_key(table), row_json=row)


def _typed(table: Table, text: str) -> list[sql.Composed]:
    """Each column's value out of its text. Lengths are left to the assignment, which cuts nothing off."""
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
    """The key of an untyped row as the warehouse prints it, as far as it fits."""
    types = dict(zip(table.columns, _types(table), strict=True))
    printed = [
        sql.SQL("pg_temp.printed(pg_temp.readable(s.{}), {})").format(
            sql.Identifier(name), sql.Literal(types[name][1])
        )
        for name in table.target.key
    ]
    return text_json(table.target.key, sql.SQL(", ").join(printed))
