"""Find deleted rows: first count them, and only if there are any read the table's keys.

The plan counts the rows of the last batch that were updated or deleted since. Updated are the changed rows
whose keys the last batch had. If these are fewer, the rest was deleted, and the keys of the table are read
at the batch's snapshot.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Callable, Iterator
from contextlib import closing

import duckdb
import pyarrow as pa

from pipeline.columns import Frozen, schema_of
from pipeline.duck import ROWS_PER_BATCH, quote, relation_name, session
from pipeline.errors import PipelineError
from pipeline.lake.buckets import Bucket, File
from pipeline.lake.manifest import Files, State, TableBatch
from pipeline.lake.paths import batch_folder
from pipeline.lake.state import bind_changes, bind_state, key_columns, same_key
from pipeline.postgres import Connection
from pipeline.source.changes import Slice
from pipeline.source.read import read_rows


class RowsDoNotAddUp(PipelineError):
    """Counts and keys of a table contradict each other, so it has to be read in full."""


class DeletionCheck(Frozen):
    """A table that may have lost rows: its changed rows, its state before, and its count of replaced rows."""

    table: TableBatch
    before: State
    replaced: int
    batch_id: str
    snapshot: str


def find(check: DeletionCheck, raw: Bucket, keys: Callable[[], Iterator[pa.RecordBatch]]) -> Files:
    """Write the keys of a table's deleted rows; ``keys`` reads the keys that it has at the snapshot.

    Raises RowsDoNotAddUp where counts and keys contradict each other.
    """
    table = check.table
    with session() as connection:
        bind_state(connection, table, check.before, raw, "before")
        bind_changes(connection, table, raw)
        deleted = check.replaced - _updated_rows(connection, table)
        if deleted == 0:
            return ()
        if deleted > 0:
            file = _write_deleted(connection, check, raw, keys())
            if file and file.rows == deleted:
                return (file,)
    raise RowsDoNotAddUp(f"source: table {table.table}: its changes do not explain how many rows it has")


def read_keys(connection: Connection, schema: str, table: TableBatch) -> Iterator[pa.RecordBatch]:
    """The keys of all rows that a table has at the snapshot."""
    with closing(read_rows(connection, schema, table.table, key_columns(table), Slice())) as rows:
        yield from rows


def _updated_rows(connection: duckdb.DuckDBPyConnection, table: TableBatch) -> int:
    """How many changed rows have keys that the last batch had."""
    same = same_key(key_columns(table), "changed", "before")
    changed = quote(relation_name(table.table))
    # DuckDB holds the right side in memory, so that is the smaller one. Keys are unique on both sides.
    query = f"SELECT count(*) FROM before SEMI JOIN {changed} AS changed ON {same}"  # noqa: S608
    ((rows,),) = connection.execute(query).fetchall()
    return int(rows)


def _write_deleted(
    connection: duckdb.DuckDBPyConnection, check: DeletionCheck, raw: Bucket, keys: Iterator[pa.RecordBatch]
) -> File | None:
    """Write the keys that the last batch had and the table no longer has."""
    table = check.table
    schema = schema_of(key_columns(table))
    connection.register("keys", pa.RecordBatchReader.from_batches(schema, keys))
    connection.execute("CREATE TEMP TABLE present AS SELECT * FROM keys")
    columns = ", ".join(f"before.{quote(column.name)}" for column in key_columns(table))
    same = same_key(key_columns(table), "before", "present")
    query = f"SELECT {columns} FROM before ANTI JOIN present ON {same}"  # noqa: S608
    rows = (batch.cast(schema) for batch in connection.sql(query).to_arrow_reader(ROWS_PER_BATCH))
    return raw.write_rows(batch_folder(table.table, check.batch_id), schema, rows)
