"""Rows that left a model's result: facts end, a bridge's rows are deleted, and dimensions' rows stay."""

from psycopg import sql

from pipeline.buckets import Bucket
from pipeline.copying import copy_in
from pipeline.table import Table
from pipeline.transform import Output, columns_of

_GONE = sql.Identifier("pg_temp", "gone_keys")


def stage(table: Table, output: Output, processed: Bucket) -> None:
    """Take the keys that left the result; rejected rows that have them are retried no more."""
    if output.gone:
        table.execute("stage_gone.sql")
        keys = columns_of(table.target, table.target.key)
        copy_in(table.connection, _GONE, keys, processed.dataset(output.gone), lambda _: None)
        table.execute("resolve_gone_keys.sql")


def end(table: Table, output: Output) -> int:
    """End what left the result, now that the batch's rows are in; returns how many."""
    if not (table.target.fact or table.target.bridge):
        return 0
    replaced, gone = ("delete_replaced.sql", "delete_gone.sql")
    if table.target.fact:
        replaced, gone = ("mark_deleted.sql", "mark_gone.sql")
    ended = table.execute(replaced).rowcount if output.replaces else 0
    return ended + (table.execute(gone).rowcount if output.gone else 0)
