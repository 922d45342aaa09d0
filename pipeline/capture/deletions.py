"""Rows that the source has no more: how many, by counting, and only then which, by their keys.

Of the rows that the last batch had, those that are as they were are counted by the plan. The others
were written anew or deleted. Written anew are those changed rows whose keys the last batch had; if
these are fewer, the rest was deleted, and the table's keys are read under the batch's snapshot.
"""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

from collections.abc import Callable, Iterator
from contextlib import closing

import duckdb
import pyarrow as pa

from pipeline.columns import Frozen, schema_of
from pipeline.duck import quote, relation_name, session
from pipeline.errors import PipelineError
from pipeline.lake.buckets import Bucket, File, batch_folder
from pipeline.lake.manifests import Run, State, TableBatch
from pipeline.lake.state import bind_changes, bind_state, key_columns, same_key
from pipeline.postgres import Connection
from pipeline.source.changes import Slice
from pipeline.source.read import read_rows

_ROWS_A_BATCH = 100_000


class RowsDoNotAddUp(PipelineError):
    """What is known of a table does not explain how many rows it has; it has to be read whole."""


class Suspicion(Frozen):
    """A table of which rows may be gone: what was read of it, its state before, and rows replaced since."""

    table: TableBatch
    before: State
    replaced: int
    batch_id: str
    snapshot: str


def find(suspicion: Suspicion, raw: Bucket, keys: Callable[[], Iterator[pa.RecordBatch]]) -> Run:
    """Write the keys of a table's rows that are gone; ``keys`` reads those that it has now.

    Raises RowsDoNotAddUp where numbers and keys contradict each other.
    """
    table = suspicion.table
    with session() as connection:
        bind_state(connection, table, suspicion.before, raw, "before")
        bind_changes(connection, table, raw)
        gone = suspicion.replaced - _written_anew(connection, table)
        if gone == 0:
            return ()
        if gone > 0:
            file = _write_gone(connection, suspicion, raw, keys())
            if file and file.rows == gone:
                return (file,)
    raise RowsDoNotAddUp(f"source: table {table.table}: its changes do not explain how many rows it has")


def read_keys(connection: Connection, schema: str, table: TableBatch) -> Iterator[pa.RecordBatch]:
    """The keys of all rows that a table has at the snapshot."""
    with closing(read_rows(connection, schema, table.table, key_columns(table), Slice())) as rows:
        yield from rows


def _written_anew(connection: duckdb.DuckDBPyConnection, table: TableBatch) -> int:
    """Changed rows whose keys the last batch had."""
    same = same_key(key_columns(table), "changed", "before")
    changed = quote(relation_name(table.table))
    query = f"SELECT count(*) FROM {changed} AS changed SEMI JOIN before ON {same}"  # noqa: S608
    ((rows,),) = connection.execute(query).fetchall()
    return int(rows)


def _write_gone(
    connection: duckdb.DuckDBPyConnection, suspicion: Suspicion, raw: Bucket, keys: Iterator[pa.RecordBatch]
) -> File | None:
    """Write the keys that the last batch had and the table has no more."""
    table = suspicion.table
    schema = schema_of(key_columns(table))
    connection.register("found", pa.RecordBatchReader.from_batches(schema, keys))
    connection.execute("CREATE TEMP TABLE present AS SELECT * FROM found")
    columns = ", ".join(f"before.{quote(column.name)}" for column in key_columns(table))
    same = same_key(key_columns(table), "before", "present")
    query = f"SELECT {columns} FROM before ANTI JOIN present ON {same}"  # noqa: S608
    rows = (batch.cast(schema) for batch in connection.sql(query).to_arrow_reader(_ROWS_A_BATCH))
    return raw.write_rows(batch_folder(table.table, suspicion.batch_id), schema, rows)
