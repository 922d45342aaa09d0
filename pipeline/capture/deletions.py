"""Find deleted rows: first count them, and only if there are any read the table's keys.

The plan counts the rows of the last batch that were updated or deleted since. Updated are the changed rows
whose keys the last batch had. If these are fewer, the rest was deleted, and the keys of the table are read
at the batch's snapshot.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import duckdb
import pyarrow as pa

from pipeline.columns import Column, Frozen, identity, schema_of
from pipeline.duck import quote, relation_name, session, streamed
from pipeline.errors import PipelineError
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Files, State, TableBatch
from pipeline.lake.paths import batch_folder
from pipeline.lake.state import bind_changes, bind_state, key_columns, same_key
from pipeline.postgres import Connection
from pipeline.source.changes import Slice
from pipeline.source.read import read_rows


class RowsDoNotAddUp(PipelineError):
    """Counts and keys of a table contradict each other, so it has to be read in full."""


# Keys compared at once: DuckDB needs some 40 bytes of memory for each.
_KEYS_PER_PASS = 500_000
_MAX_PASSES = 16
# Of 8 kB; the keys in them are a message of less than a megabyte.
_PAGES_PER_MESSAGE = 1024


class DeletionCheck(Frozen):
    """A table that may have lost rows: its changed rows, its state before, and its count of replaced rows.

    ``slices`` are those of a full read.
    """

    table: TableBatch
    slices: tuple[Slice, ...]
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
            files = _write_deleted(connection, check, raw, keys())
            if sum(file.rows for file in files) == deleted:
                return files
    raise RowsDoNotAddUp(f"source: table {table.table}: its changes do not explain how many rows it has")


def read_keys(connection: Connection, schema: str, check: DeletionCheck) -> Iterator[pa.RecordBatch]:
    """The keys of all rows that a table has at the snapshot."""
    columns = key_columns(check.table)
    for slice_ in check.slices:
        rows = read_rows(
            connection, schema, check.table.table, columns, slice_, pages_per_message=_PAGES_PER_MESSAGE
        )
        with closing(rows):
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
) -> Files:
    """Write the keys that the last batch had and the table no longer has."""
    table = check.table
    schema = schema_of(key_columns(table))
    connection.register("keys", pa.RecordBatchReader.from_batches(schema, keys))
    columns = ", ".join(quote(column.name) for column in key_columns(table))
    for name, rows in (("present", "keys"), ("held", "before")):
        connection.execute(f"CREATE TEMP TABLE {name} AS SELECT {columns} FROM {rows}")  # noqa: S608
    absent = absent_keys(connection, key_columns(table))
    return raw.write_rows(batch_folder(table.table, check.batch_id), schema, absent)


def absent_keys(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], keys_per_pass: int = _KEYS_PER_PASS
) -> Iterator[pa.RecordBatch]:
    """The keys in the table ``held`` that the table ``present`` lacks; compared in passes to save memory."""
    schema, same = schema_of(columns), same_key(columns, "held", "present")
    ((rows,),) = connection.execute("SELECT count(*) FROM held").fetchall()
    passes = min(_MAX_PASSES, 1 + rows // keys_per_pass)
    for number in range(passes):
        held, present = (
            f"(SELECT * FROM {name} WHERE {_hash(columns)} % {passes} = {number}) AS {name}"  # noqa: S608
            for name in ("held", "present")
        )
        yield from streamed(connection, f"FROM {held} ANTI JOIN {present} ON {same}", schema)


def _hash(columns: Sequence[Column]) -> str:
    """A hash that is the same for keys that are equal in Postgres."""
    return f"hash({', '.join(identity(quote(column.name), column.type) for column in columns)})"
