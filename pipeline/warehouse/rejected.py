"""Rejected rows: etl.rejected keeps each with its reason and values.

A row is resolved once it is accepted, replaced or deleted.
"""

import json
from collections.abc import Collection, Iterable

import psycopg
import pyarrow as pa
import pyarrow.dataset as ds
from psycopg import sql

from pipeline.columns import Column
from pipeline.lake.buckets import Bucket
from pipeline.models.output import Output
from pipeline.postgres import Connection, count_in, texts
from pipeline.warehouse import bisection, integrity
from pipeline.warehouse.copying import copy_in
from pipeline.warehouse.table import Table

_COLUMNS = [Column(name=name, type="text") for name in ("key", "reason", "row")]
_TRANSFORM_REJECTIONS = sql.Identifier("pg_temp", "transform_rejections")
# Why a staged row s is rejected: by its error, or by the references and rules that it violates.
_FOUND = sql.SQL("SELECT reason, retried FROM pg_temp.postgres_rejections WHERE place = s.ctid")
_VIOLATIONS = sql.SQL("SELECT array_to_string(ARRAY[{}]::text[], '; ') AS reason, true AS retried")


def tables_to_retry(connection: Connection, schema: str, names: Iterable[str]) -> set[str]:
    """Those of these tables with rejected rows that are retried with each batch."""
    query = (
        "SELECT t.name FROM unnest(%(names)s::text[]) AS t (name) WHERE EXISTS (SELECT FROM etl.rejected AS r"
        " WHERE r.schema_name = %(schema)s AND r.table_name = t.name AND r.waits AND NOT r.resolved)"
    )
    return set(texts(connection, query, {"schema": schema, "names": list(names)}))


def resolve_tables(connection: Connection, schema: str, tables: Collection[str]) -> None:
    """Resolve the rejected rows of these tables."""
    connection.execute(
        "UPDATE etl.rejected SET resolved = true WHERE schema_name = %s AND NOT resolved"
        " AND table_name = ANY(%s)",
        (schema, list(tables)),
    )


def resolve(table: Table, output: Output, accepted: sql.Identifier) -> None:
    """Resolve earlier rejected rows that this batch accepts or no longer rejects.

    ``accepted`` is the relation of the batch's accepted rows.
    """
    resolve_accepted(table, accepted)
    if output.complete or output.rejects_all:
        table.execute("resolve_unlisted.sql", complete=sql.Literal(output.complete))


def resolve_accepted(table: Table, accepted: sql.Identifier) -> int:
    """Resolve the rejected rows that have a key of this relation; returns how many."""
    return table.execute("resolve.sql", keys=accepted, now=sql.Literal(True)).rowcount


def record_transform_rejections(table: Table, output: Output, processed: Bucket) -> int:
    """Record the rows that the transform rejected; returns how many."""
    if not output.rejected:
        return 0
    rows = processed.dataset(output.rejected)
    table.connection.execute(
        'CREATE TEMP TABLE transform_rejections (key jsonb, reason text, "row" jsonb) ON COMMIT DROP'
    )
    try:
        with table.connection.transaction():
            copied = _copy_rejections(table, rows)
    except psycopg.Error as error:
        if not bisection.is_rejection(error):
            raise
        copied = _copy_rejections(table, _encodable(table, rows))
    table.execute("record_transform_rejections.sql")
    table.connection.execute("DROP TABLE pg_temp.transform_rejections")
    return copied


def _copy_rejections(table: Table, rows: ds.Dataset) -> int:
    return copy_in(table.connection, _TRANSFORM_REJECTIONS, _COLUMNS, rows, lambda _: None)


def reject_found(table: Table, *, is_retry: bool = False, **parts: sql.Composable) -> int:
    """Reject the rows in ``pg_temp.postgres_rejections``; returns how many.

    ``parts`` replace names of the statement, if the rows are elsewhere than in the stage.
    """
    return _reject(table, _FOUND, is_retry=is_retry, **parts)


def reject_violations(table: Table, *, is_retry: bool = False) -> int:
    """Reject staged rows that violate a reference or a rule; returns how many.

    Rows that refer to a rejected one violate their reference, too.
    """
    violations = integrity.violations(table)
    if not violations:
        return 0
    reasons = _VIOLATIONS.format(sql.SQL(", ").join(violations))
    total = number = _reject(table, reasons, is_retry=is_retry)
    while number and table.refers_to_itself:
        number = _reject(table, reasons, is_retry=is_retry)
        total += number
    return total


def _reject(table: Table, reasons: sql.Composable, *, is_retry: bool, **parts: sql.Composable) -> int:
    cursor = table.execute("reject.sql", reasons=reasons, is_retry=sql.Literal(is_retry), **parts)
    return cursor.rowcount


def count(table: Table) -> int:
    """How many of the table's rows this batch has rejected so far."""
    return count_in(table.execute("count_rejected.sql"))


def most_common_reason(table: Table) -> str:
    """The most common reason among the rows that this batch has rejected."""
    row = table.execute("most_common_reason.sql").fetchone()
    return str(row[0]) if row else ""


def _encodable(table: Table, rows: ds.Dataset) -> ds.Dataset:
    """The rows with escapes for characters that the warehouse's encoding or jsonb cannot hold."""
    encoding = encoding_of(table.connection)
    written = [
        {
            name: json.dumps(escaped(json.loads(row[name]), encoding), ensure_ascii=False)
            for name in ("key", "row")
        }
        | {"reason": escaped(row["reason"], encoding)}
        for row in rows.to_table().to_pylist()
    ]
    return ds.dataset(pa.Table.from_pylist(written, rows.schema))


def encoding_of(connection: Connection) -> str:
    """The encoding of the database, as Python names it; ASCII where it has none."""
    encoding = connection.info.parameter_status("server_encoding") or ""
    try:
        "".encode(encoding)
    except LookupError:
        return "ascii"
    return encoding


def escaped(value: object, encoding: str) -> object:
    """The texts of a JSON value with escapes for what the encoding, or jsonb, cannot hold."""
    if isinstance(value, list):
        return [escaped(each, encoding) for each in value]
    if isinstance(value, dict):
        return {name: escaped(each, encoding) for name, each in value.items()}
    if isinstance(value, str):
        # A text of the source that is not UTF-8 has escapes already, and a NUL before it.
        text = value.removeprefix("\0").encode(encoding, "backslashreplace").decode(encoding)
        return text.replace("\0", "\\x00")
    return value
