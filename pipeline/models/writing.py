"""Write a model's result to the processed bucket: rows, rejected rows and the keys of deleted rows."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import Column, has_spellings, schema_of
from pipeline.duck import ROWS_PER_BATCH, quote, relation_name, streamed
from pipeline.lake.manifest import Files, TableBatch
from pipeline.lake.paths import deleted_folder, rejected_folder
from pipeline.lake.state import key_columns, same_key
from pipeline.models.inputs import RESULT, naming_model
from pipeline.models.output import columns_of
from pipeline.models.rejects import REJECTED, accepts, keep_repeated_keys, rejected_rows
from pipeline.models.target import COMMITTED_AT
from pipeline.models.work import Work
from pipeline.words import unused

# The relation of the last result, if it is known.
LAST_RESULT = "last_result"


def is_rejected(work: Work) -> Column:
    """A column of stored results: true beside the key of a rejected row, else NULL."""
    name = unused("is rejected (pipeline)", [column.name for column in work.columns])
    return Column(name=name, type="boolean")


def has_uncertain_keys(connection: duckdb.DuckDBPyConnection, work: Work) -> bool:
    """Whether the result has keys that may be equal although DuckDB tells them apart."""
    values = {column.name: f"({column.value})" for column in work.analysed[1]}
    keys = [column for column in work.target.columns if column.name in work.target.key]
    conditions = [found for column in keys if (found := column.uncertain(values[column.name]))]
    if not conditions:
        return False
    query = f"SELECT EXISTS (SELECT 1 FROM {RESULT} WHERE {' OR '.join(conditions)})"  # noqa: S608
    return connection.execute(query).fetchone() == (True,)


def write_rows(
    connection: duckdb.DuckDBPyConnection,
    work: Work,
    *,
    may_repeat_keys: bool,
    only_changes: bool = False,
    with_commit_times: str | None = None,
) -> tuple[Files, Files]:
    """Write the rows that meet the contract, and those that do not; returns the files of both.

    Rows with the same key are rejected; ``may_repeat_keys`` says that there may be some. ``only_changes``
    leaves out the rows of the last result. ``with_commit_times`` is a query for the rows with their commit
    times.
    """
    contract, target = work.analysed[1], work.target
    with naming_model(work.model):
        repeated = may_repeat_keys and keep_repeated_keys(connection, target, contract, RESULT)
        values = ", ".join(f"{column.value} AS {quote(column.name)}" for column in contract)
        if with_commit_times:
            values += f", {quote(COMMITTED_AT)}"
        fits = unused("fits", [column.name for column in contract])
        accepted = accepts(target, contract, repeated=repeated)
        query = f"SELECT {values}, {accepted} AS {fits} FROM {with_commit_times or RESULT}"  # noqa: S608
        if only_changes:
            same = _is_in_last_result(work, fits)
            query = f"SELECT * FROM ({query}) AS rows ANTI JOIN {LAST_RESULT} ON {same}"  # noqa: S608
        fitting, number = _write_fitting(connection, work, query)
        rejected: Files = ()
        if number or repeated:
            rows = rejected_rows(connection, target, contract, RESULT, repeated=repeated)
            rejected = work.processed.write_rows(rejected_folder(work.folder), REJECTED, rows)
    return fitting, rejected


def _is_in_last_result(work: Work, fits: str) -> str:
    """The condition that an accepted row, which ``fits``, is in the last result, equal in all columns.

    Untracked ones count: if the load has rejected the row for one of them, their change can make it right.
    So does another spelling of the key.
    """
    key = work.target.key
    names = [each.name for each in work.columns if each.name not in key or has_spellings(each.type)]
    same = [f"rows.{quote(name)} IS NOT DISTINCT FROM {LAST_RESULT}.{quote(name)}" for name in names]
    accepted = [f"rows.{fits}", f"{LAST_RESULT}.{quote(is_rejected(work).name)} IS NULL"]
    return " AND ".join([*accepted, same_key(_key_of(work), "rows", LAST_RESULT), *same])


def _write_fitting(connection: duckdb.DuckDBPyConnection, work: Work, query: str) -> tuple[Files, int]:
    """Write the rows whose last column is true; returns their file, and the number of the others."""
    others = 0

    def fitting(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        nonlocal others
        for batch in reader:
            fits = batch.column(batch.num_columns - 1)
            number = len(fits) - int(pc.sum(fits).as_py() or 0)
            others += number
            rows = batch.select(range(batch.num_columns - 1))
            if number < len(fits):
                yield rows.filter(fits) if number else rows

    reader = connection.sql(query).to_arrow_reader(ROWS_PER_BATCH)
    schema = pa.schema(list(reader.schema)[:-1])
    return work.processed.write_rows(work.folder, schema, fitting(reader)), others


def write_deleted_rows(connection: duckdb.DuckDBPyConnection, work: Work, table: TableBatch) -> Files:
    """Write the keys of rows that were deleted from a model's table, or that the model filters out now."""
    analysis, _ = work.analysed
    if not analysis.carries.keys() >= set(work.target.key):
        return ()
    columns = ", ".join(f"{quote(analysis.carries[name])} AS {quote(name)}" for name in work.target.key)
    queries = []
    if table.deleted:
        connection.register("deleted", work.raw.dataset(table.deleted, schema_of(key_columns(table))))
        queries.append(f"SELECT {columns} FROM deleted")  # noqa: S608
    if analysis.filtered and table.files:
        same = same_key(_key_of(work), "changed", RESULT)
        changed = f"SELECT {columns} FROM {quote(relation_name(table.table))}"  # noqa: S608
        queries.append(f"SELECT * FROM ({changed}) AS changed ANTI JOIN {RESULT} ON {same}")  # noqa: S608
    keys = " UNION ALL ".join(queries)
    values = _key_values(work)
    return _write_keys(connection, work, f"SELECT {values} FROM ({keys}) AS deleted") if queries else ()  # noqa: S608


def write_deleted_keys(connection: duckdb.DuckDBPyConnection, work: Work) -> Files:
    """Write the keys of the last result that no row has any more, not even a rejected one."""
    keys = _key_values(work)
    listed = ", ".join(f"{LAST_RESULT}.{quote(name)}" for name in work.target.key)
    same = same_key(_key_of(work), LAST_RESULT, "now")
    return _write_keys(
        connection,
        work,
        f"SELECT {listed} FROM {LAST_RESULT} ANTI JOIN (SELECT {keys} FROM {RESULT}) AS now ON {same}",  # noqa: S608
    )


def write_rejected_keys(connection: duckdb.DuckDBPyConnection, work: Work, accepted: Files) -> Files:
    """Write the keys of rejected rows, as rows of the result.

    The table may have older rows of these keys, which stay until their keys leave the result.
    """
    schema = schema_of((*_key_of(work), is_rejected(work)))
    rows = work.processed.dataset(accepted, schema) if accepted else schema.empty_table()
    connection.register("accepted", rows)
    values, keys = _key_values(work), ", ".join(map(quote, work.target.key))
    complete = " AND ".join(f"{quote(name)} IS NOT NULL" for name in work.target.key)
    same = same_key(_key_of(work), "now", "accepted")
    query = (
        f"SELECT DISTINCT {keys}, true FROM (SELECT {values} FROM {RESULT}) AS now"  # noqa: S608
        f" ANTI JOIN accepted ON {same} WHERE {complete}"
    )
    with naming_model(work.model):
        reader = connection.sql(query).to_arrow_reader(ROWS_PER_BATCH)
        batches = (pa.record_batch(batch.columns, schema.names).cast(schema) for batch in reader)
        return work.processed.write_rows(work.folder, schema, batches)


def _key_values(work: Work) -> str:
    """The columns of the key as the warehouse stores them, in the key's order."""
    values = {column.name: column.value for column in work.analysed[1]}
    return ", ".join(f"{values[name]} AS {quote(name)}" for name in work.target.key)


def _write_keys(connection: duckdb.DuckDBPyConnection, work: Work, query: str) -> Files:
    schema = schema_of(_key_of(work))
    with naming_model(work.model):
        rows = streamed(connection, query, schema)
        return work.processed.write_rows(deleted_folder(work.folder), schema, rows)


def _key_of(work: Work) -> tuple[Column, ...]:
    return columns_of(work.target, work.target.key)
