"""Rejected rows: why each of them is not in its table, and all its values, until it is or need not be."""

import json

import psycopg
import pyarrow as pa
import pyarrow.dataset as ds
from psycopg import sql

from pipeline.columns import Column
from pipeline.lake.buckets import Bucket
from pipeline.models.output import Output
from pipeline.warehouse import integrity, refusals
from pipeline.warehouse.copying import copy_in
from pipeline.warehouse.table import Table

_COLUMNS = [Column(name=name, type="text") for name in ("key", "reason", "row")]
_UNFIT = sql.Identifier("pg_temp", "unfit")


def reject_unfit(table: Table, output: Output, processed: Bucket) -> int:
    """Record the rows that the transform found unfit; returns how many."""
    if not output.rejected:
        return 0
    rows = processed.dataset(output.rejected)
    table.execute("stage_unfit.sql")
    try:
        with table.connection.transaction():
            copied = copy_in(table.connection, _UNFIT, _COLUMNS, rows, lambda _: None)
    except psycopg.Error as error:
        if not refusals.is_refusal(error):
            raise
        copied = copy_in(table.connection, _UNFIT, _COLUMNS, _writable(table, rows), lambda _: None)
    table.execute("reject_unfit.sql")
    table.connection.execute("DROP TABLE pg_temp.unfit")
    return copied


def reject_refused(table: Table, *, is_retry: bool = False, **parts: sql.Composable) -> int:
    """Reject the rows that were refused one by one; ``parts`` say where they are, unless in the stage."""
    return _reject(table, "found_refused.sql", is_retry, parts)


def reject_broken(table: Table, *, is_retry: bool = False) -> int:
    """Reject staged rows that refer to something missing or break a rule, and those that refer to them."""
    reasons = integrity.reasons(table)
    if not reasons:
        return 0
    parts: dict[str, sql.Composable] = {"reasons": sql.SQL(", ").join(reasons)}
    total = found = _reject(table, "found_broken.sql", is_retry, parts)
    while found and table.refers_to_itself:
        found = _reject(table, "found_broken.sql", is_retry, parts)
        total += found
    return total


def count(table: Table) -> int:
    """How many of the table's rows the batch has rejected, before rejected ones are tried again."""
    row = table.execute("rejected_now.sql").fetchone()
    return int(str(row[0])) if row else 0


def usual_reason(table: Table) -> str:
    """The reason that most of the rows have which the batch has rejected."""
    row = table.execute("usual_reason.sql").fetchone()
    return str(row[0]) if row else ""


def _reject(table: Table, found: str, is_retry: bool, parts: dict[str, sql.Composable]) -> int:
    rows = table.part(found, **parts)
    return table.execute("reject.sql", found=rows, is_retry=sql.Literal(is_retry), **parts).rowcount


def _writable(table: Table, rows: ds.Dataset) -> ds.Dataset:
    """The same with whatever the warehouse's encoding or jsonb cannot hold written as an escape."""
    encoding = table.connection.info.parameter_status("server_encoding") or ""
    try:
        "".encode(encoding)
    except LookupError:
        encoding = "ascii"
    written = [
        {
            name: json.dumps(_escaped(json.loads(row[name]), encoding), ensure_ascii=False)
            for name in ("key", "row")
        }
        | {"reason": _escaped(row["reason"], encoding)}
        for row in rows.to_table().to_pylist()
    ]
    return ds.dataset(pa.Table.from_pylist(written, rows.schema))


def _escaped(value: object, encoding: str) -> object:
    if isinstance(value, list):
        return [_escaped(each, encoding) for each in value]
    if isinstance(value, dict):
        return {name: _escaped(each, encoding) for name, each in value.items()}
    if isinstance(value, str):
        return value.encode(encoding, "backslashreplace").decode(encoding).replace("\0", "\\x00")
    return value
