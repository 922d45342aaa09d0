"""The present state of a source table, carried from batch to batch in the raw bucket.

It is kept as runs, oldest to newest, as LSM trees keep theirs: of each key the newest run's row counts,
and a key that a newer run calls gone counts for nothing. Cost follows what changed, not the table. Of a
table without a key all rows of all runs count: it gets a new run only where it gained rows and lost none.
"""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

from collections.abc import Sequence

import duckdb

from pipeline.columns import Column, identity, schema_of
from pipeline.duck import quote, relation_name, session
from pipeline.lake.buckets import Bucket, batch_folder
from pipeline.lake.manifests import Run, State, StateRun, TableBatch, mergeable_runs

_ROWS_A_BATCH = 100_000


def bind_changes(
    connection: duckdb.DuckDBPyConnection, table: TableBatch, raw: Bucket, name: str | None = None
) -> None:
    """Make the rows that a batch read of a table readable, by the name that models use or by another one."""
    name = name or relation_name(table.table)
    rows = _rows(connection, f"changes:{name}", table.files, table.columns, raw)
    _view(connection, name, f"SELECT * FROM {rows}", table.columns)  # noqa: S608


def bind_state(
    connection: duckdb.DuckDBPyConnection,
    table: TableBatch,
    state: State,
    raw: Bucket,
    name: str | None = None,
) -> None:
    """Make a table's present state readable, by the name that models use or by another one."""
    name = name or relation_name(table.table)
    runs = [
        _rows(connection, f"run {place}:{name}", run.files, table.columns, raw)
        for place, run in enumerate(state or (StateRun(),))
    ]
    keys = [
        _keys(connection, f"gone {place}:{name}", table, run, runs[place], raw)
        for place, run in enumerate(state if table.key else ())
    ]
    parts = [_newest(table, rows, keys[place + 1 :]) for place, rows in enumerate(runs)]
    _view(connection, name, " UNION ALL ".join(parts), table.columns)


def compacted(table: TableBatch, batch_id: str, raw: Bucket) -> TableBatch:
    """The table with the newest runs of its state merged into one."""
    kept, merged = mergeable_runs(table.state or ())
    files = write_merged(table, merged, batch_id, raw)
    # Nothing is older than the oldest run, so its keys that went hide nothing.
    gone = tuple(key for run in merged for key in run.gone) if kept else ()
    run = StateRun(files=files, gone=gone)
    return table.model_copy(update={"state": (*kept, run)})


def write_merged(table: TableBatch, runs: State, batch_id: str, bucket: Bucket) -> Run:
    """Write the rows that some runs of a table hold, of each key the newest."""
    schema = schema_of(table.columns)
    with session() as connection:
        bind_state(connection, table, runs, bucket, "merged")
        reader = connection.sql("SELECT * FROM merged").to_arrow_reader(_ROWS_A_BATCH)
        rows = (batch.cast(schema) for batch in reader)
        file = bucket.write_rows(batch_folder(table.table, batch_id), schema, rows)
    return (file,) if file else ()


def key_columns(table: TableBatch) -> tuple[Column, ...]:
    """The columns of a table's key, with their types."""
    by_name = {column.name: column for column in table.columns}
    return tuple(by_name[name] for name in table.key)


def same_key(columns: Sequence[Column], left: str, right: str) -> str:
    """A condition that two relations have the same key, as Postgres's own equality sees it."""
    return " AND ".join(
        f"{identity(f'{left}.{quote(column.name)}', column.type)}"
        f" = {identity(f'{right}.{quote(column.name)}', column.type)}"
        for column in columns
    )


def _rows(
    connection: duckdb.DuckDBPyConnection, name: str, files: Run, columns: Sequence[Column], raw: Bucket
) -> str:
    """Register the rows of some files; returns their name, quoted."""
    schema = schema_of(columns)
    connection.register(name, raw.dataset(files, schema) if files else schema.empty_table())
    return quote(name)


def _keys(
    connection: duckdb.DuckDBPyConnection, name: str, table: TableBatch, run: StateRun, rows: str, raw: Bucket
) -> str:
    """A query for the keys that a run has anything to say of."""
    columns = ", ".join(map(quote, table.key))
    queries = [f"SELECT {columns} FROM {rows}"] if run.files else []  # noqa: S608
    if run.gone:
        gone = _rows(connection, name, run.gone, key_columns(table), raw)
        queries.append(f"SELECT {columns} FROM {gone}")  # noqa: S608
    return " UNION ALL ".join(queries)


def _newest(table: TableBatch, rows: str, later: Sequence[str]) -> str:
    """A query for those of a run's rows that no later run has anything to say of."""
    later = [query for query in later if query]
    if not later:
        return f"SELECT * FROM {rows}"  # noqa: S608
    same = same_key(key_columns(table), "kept", "later")
    return f"SELECT * FROM {rows} AS kept ANTI JOIN ({' UNION ALL '.join(later)}) AS later ON {same}"  # noqa: S608


def _view(connection: duckdb.DuckDBPyConnection, name: str, query: str, columns: Sequence[Column]) -> None:
    listed = ", ".join(quote(column.name) for column in columns)
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS SELECT {listed} FROM ({query}) AS state"  # noqa: S608
    )
