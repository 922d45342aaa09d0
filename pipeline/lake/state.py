"""The present state of a source table, stored in the raw bucket and continued from batch to batch.

A state is a list of deltas, oldest first, as in an LSM tree: the newest row of each key counts, unless a
newer delta deletes the key. So the cost of a batch depends on its changes, not on the size of the table.
For a table without a key all rows of all deltas count; it gets a delta only where rows were added and none
was updated or deleted.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Sequence

import duckdb

from pipeline.columns import Column, identity, schema_of
from pipeline.duck import quote, relation_name, session, streamed
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Files, State, StateDelta, TableBatch, mergeable_deltas
from pipeline.lake.paths import batch_folder


def bind_changes(
    connection: duckdb.DuckDBPyConnection, table: TableBatch, raw: Bucket, name: str | None = None
) -> None:
    """Create a view of the rows that a batch read; ``name`` defaults to the table's name in models."""
    name = name or relation_name(table.table)
    rows = _register(connection, f"changes:{name}", table.files, table.columns, raw)
    _create_view(connection, name, f"SELECT * FROM {rows}", table.columns)  # noqa: S608


def bind_state(
    connection: duckdb.DuckDBPyConnection, table: TableBatch, state: State, raw: Bucket, name: str
) -> None:
    """Create a view of a table's present state."""
    relations = [
        _register(connection, f"delta {number}:{name}", delta.files, table.columns, raw)
        for number, delta in enumerate(state or (StateDelta(),))
    ]
    keys = [
        _keys_query(connection, f"deleted {number}:{name}", table, delta, relations[number], raw)
        for number, delta in enumerate(state if table.key else ())
    ]
    queries = [_newest_rows_query(table, rows, keys[number + 1 :]) for number, rows in enumerate(relations)]
    _create_view(connection, name, " UNION ALL ".join(queries), table.columns)


def compacted(table: TableBatch, batch_id: str, raw: Bucket) -> TableBatch:
    """The table with the newest deltas of its state merged into one."""
    kept, merged = mergeable_deltas(table.state or ())
    files = write_merged(table, merged, batch_id, raw)
    # The oldest delta needs no deleted keys: there are no older rows to delete.
    deleted = tuple(file for delta in merged for file in delta.deleted) if kept else ()
    delta = StateDelta(files=files, deleted=deleted)
    return table.model_copy(update={"state": (*kept, delta)})


def write_merged(table: TableBatch, deltas: State, batch_id: str, bucket: Bucket) -> Files:
    """Write the newest row of each key in some deltas of a table."""
    schema = schema_of(table.columns)
    with session() as connection:
        bind_state(connection, table, deltas, bucket, "merged")
        rows = streamed(connection, "SELECT * FROM merged", schema)
        return bucket.write_rows(batch_folder(table.table, batch_id), schema, rows)


def key_columns(table: TableBatch) -> tuple[Column, ...]:
    """The columns of a table's key, with their types."""
    by_name = {column.name: column for column in table.columns}
    return tuple(by_name[name] for name in table.key)


def same_key(columns: Sequence[Column], left: str, right: str) -> str:
    """A condition that joins two relations by key, with the equality of Postgres."""
    return " AND ".join(
        f"{identity(f'{left}.{quote(column.name)}', column.type)}"
        f" = {identity(f'{right}.{quote(column.name)}', column.type)}"
        for column in columns
    )


def _register(
    connection: duckdb.DuckDBPyConnection, name: str, files: Files, columns: Sequence[Column], raw: Bucket
) -> str:
    """Register files as a relation; returns its quoted name."""
    schema = schema_of(columns)
    connection.register(name, raw.dataset(files, schema) if files else schema.empty_table())
    return quote(name)


def _keys_query(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    table: TableBatch,
    delta: StateDelta,
    rows: str,
    raw: Bucket,
) -> str:
    """A query for the keys that a delta writes or deletes; empty where there are none."""
    columns = ", ".join(map(quote, table.key))
    queries = [f"SELECT {columns} FROM {rows}"] if delta.files else []  # noqa: S608
    if delta.deleted:
        deleted = _register(connection, name, delta.deleted, key_columns(table), raw)
        queries.append(f"SELECT {columns} FROM {deleted}")  # noqa: S608
    return " UNION ALL ".join(queries)


def _newest_rows_query(table: TableBatch, rows: str, later_keys: Sequence[str]) -> str:
    """A query for the rows of a delta whose keys no later delta writes or deletes."""
    later = [query for query in later_keys if query]
    if not later:
        return f"SELECT * FROM {rows}"  # noqa: S608
    same = same_key(key_columns(table), "kept", "later")
    return f"SELECT * FROM {rows} AS kept ANTI JOIN ({' UNION ALL '.join(later)}) AS later ON {same}"  # noqa: S608


def _create_view(
    connection: duckdb.DuckDBPyConnection, name: str, query: str, columns: Sequence[Column]
) -> None:
    listed = ", ".join(quote(column.name) for column in columns)
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS SELECT {listed} FROM ({query}) AS state"  # noqa: S608
    )
