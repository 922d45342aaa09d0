"""Run one model over one batch: what its result has gained and lost goes to Parquet, in two ways.

Row by row where DuckDB's planner shows that each row comes from one row of one table, under that row's
key: the model runs over the batch's changed rows. Any other model runs over the present state of all
that it reads, and its result is compared with the last one, which is kept as runs as tables' states are.
Either way each warehouse table equals its model's SQL; how it is computed cannot be observed.
"""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

from collections.abc import Iterator
from contextlib import suppress

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import Column, identity, schema_of
from pipeline.duck import ROWS_PER_BATCH, quote, relation_name, session
from pipeline.errors import ObjectMissing, UnfitBatch
from pipeline.lake.buckets import File
from pipeline.lake.manifest import Files, State, StateDelta, TableBatch, needs_merging
from pipeline.lake.paths import deleted_folder, rejected_folder
from pipeline.lake.state import bind_state, compacted, key_columns, same_key
from pipeline.models import inputs
from pipeline.models.inputs import ROWS_NOW, blamed
from pipeline.models.output import Output, columns_of
from pipeline.models.rejects import REJECTED, is_repeated, keep_repeated_keys, rejected_rows
from pipeline.models.target import COMMITTED_AT
from pipeline.models.work import Work
from pipeline.source.commits import COMMITTED

_BEFORE, _FITS = "result_before", "fits_the_contract"
_COMMITTED_AT = Column(name=COMMITTED_AT, type="timestamptz")
# A column of results alone: true beside the key of a row that does not fit, else NULL.
_IS_REJECTED = Column(name="is rejected (pipeline)", type="boolean")


def transform(work: Work) -> Output:
    """Compute what the model's result has gained and lost, and write it to the processed bucket.

    Raises ModelError with file, line and DuckDB's words.
    """
    table = work.row_table
    if work.model.sees_changes:
        return _growing(work)
    return _by_result(work) if table is None else _by_rows(work, table)


def _by_rows(work: Work, table: TableBatch) -> Output:
    """Over the changed rows of one table; over all of them where the model is new or it was read whole."""
    complete = table.mode == "full" or not work.sees_changes
    with session() as connection:
        changes = table.mode == "full" or work.sees_changes
        inputs.bind(connection, work.models, work.targets, work.manifest, work.raw, changes=changes)
        repeats = table.state is None
        committed = (
            _bind_commit_times(connection, work, table) if changes and table.has_commit_times else None
        )
        good, rejected = _write_rows(connection, work, repeats=repeats, committed=committed)
        gone = () if complete or work.model.keeps_deleted else _write_gone_rows(connection, work, table)
    output = _output(work, complete=complete, good=good, rejected=rejected, gone=gone, rejects_all=complete)
    return output.model_copy(update={"columns": (*output.columns, _COMMITTED_AT)}) if committed else output


def _bind_commit_times(connection: duckdb.DuckDBPyConnection, work: Work, table: TableBatch) -> str | None:
    """Bind when a fact's source rows were committed; returns a query for its rows with that.

    None for other tables, and where the fact's key does not lead to the source's rows.
    """
    sources = {column.name: column for column in key_columns(table)}
    carried = {work.analysed[0].carries.get(name): name for name in work.target.key}
    if not work.target.fact or not sources or not sources.keys() <= carried.keys():
        return None
    schema = schema_of((*sources.values(), COMMITTED))
    connection.register("committed", work.raw.dataset(table.files, schema))
    same = " AND ".join(
        f"{identity(f'{ROWS_NOW}.{quote(carried[name])}', column.type)}"
        f" = {identity(f'committed.{quote(name)}', column.type)}"
        for name, column in sources.items()
    )
    time = f"committed.{quote(COMMITTED.name)}"
    return f"(SELECT {ROWS_NOW}.*, {time} FROM {ROWS_NOW} LEFT JOIN committed ON {same}) AS {ROWS_NOW}"  # noqa: S608


def _growing(work: Work) -> Output:
    """Over the changed rows of all that it reads: what it had made of the others stays."""
    complete = not work.sees_changes or any(table.mode == "full" for table in work.tables)
    with session() as connection:
        inputs.bind(connection, work.models, work.targets, work.manifest, work.raw, changes=not complete)
        good, rejected = _write_rows(connection, work, repeats=True)
    output = _output(work, complete=complete, good=good, rejected=rejected)
    return output.model_copy(update={"replaces": False})


def _by_result(work: Work) -> Output:
    """Over the present state of all that it reads; what differs from the last result goes on."""
    _demand_states(work)
    last = work.loaded.result if work.loaded and work.sees_changes else None
    if last is not None:
        with suppress(ObjectMissing):  # where it is the raw bucket that lacks one, that is met again
            return _compared(work, last)
    return _compared(work, None)


def _compared(work: Work, last: State | None) -> Output:
    """The present result compared with the last one; all its rows go on where that is not known or lost."""
    with session() as connection:
        inputs.bind(connection, work.models, work.targets, work.manifest, work.raw, changes=False)
        if last is None:
            good, rejected = _write_rows(connection, work, repeats=True)
            keys = _write_rejected_keys(connection, work, good) if rejected else ()
            output = _output(work, complete=True, good=good, rejected=rejected, rejects_all=True)
            return output.model_copy(update={"result": (StateDelta(files=(*output.files, *keys)),)})
        result = _as_table(work, last)
        bind_state(connection, result, last, work.processed, _BEFORE)
        with blamed(work.model):
            connection.execute(f"CREATE TEMP TABLE computed AS SELECT * FROM {ROWS_NOW}")  # noqa: S608
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {ROWS_NOW} AS SELECT * FROM computed")  # noqa: S608
        good, rejected = _write_rows(connection, work, repeats=True, differs=True)
        gone = () if work.model.keeps_deleted else _write_gone_keys(connection, work)
    output = _output(work, complete=False, good=good, rejected=rejected, gone=gone, rejects_all=True)
    return output.model_copy(update={"result": _with_run(work, result, output)})


def _demand_states(work: Work) -> None:
    """Refuse a batch of an earlier version that kept no state of a table."""
    for table in work.tables:
        if table.state is None:
            raise UnfitBatch(f"batch {work.manifest.batch_id} was read without the state of {table.table}")


def _as_table(work: Work, state: State) -> TableBatch:
    """A result as what carries states takes it for."""
    return TableBatch(
        table=work.model.name,
        mode="changes",
        reason="",
        columns=(*work.columns, _IS_REJECTED),
        key=work.target.key,
        heaps="",
        state=state,
    )


def _with_run(work: Work, result: TableBatch, output: Output) -> State:
    """The result with what this batch brought, its newest runs merged where that is worth it."""
    state = result.state or ()
    if output.files or output.gone:
        state = (*state, StateDelta(files=output.files, deleted=output.gone))
    now = result.model_copy(update={"state": state})
    if needs_merging(now):
        now = compacted(now, work.manifest.batch_id, work.processed)
    return now.state or ()


def _output(
    work: Work,
    *,
    complete: bool,
    good: File | None,
    rejected: File | None,
    gone: Files = (),
    rejects_all: bool = False,
) -> Output:
    return Output(
        model=work.model.name,
        fingerprint=work.model.fingerprint,
        complete=complete,
        columns=work.columns,
        files=(good,) if good else (),
        rejected=(rejected,) if rejected else (),
        gone=gone,
        replaces=complete and not work.model.keeps_deleted,
        rejects_all=rejects_all,
    )


def _write_rows(
    connection: duckdb.DuckDBPyConnection,
    work: Work,
    *,
    repeats: bool,
    differs: bool = False,
    committed: str | None = None,
) -> tuple[File | None, File | None]:
    """Write the rows that meet the contract, and those that do not.

    With ``repeats`` a key may have several rows, which are then rejected; with ``differs`` only rows
    that the last result did not have are written. ``committed`` is a query for rows with commit times.
    """
    found, target = work.analysed[1], work.target
    with blamed(work.model):
        repeated = repeats and keep_repeated_keys(connection, target, found, ROWS_NOW)
        fits = [f"({check.reason}) IS NULL" for check in found if check.reason]
        if repeated:
            fits.append(f"NOT {is_repeated(target, found)}")
        values = ", ".join(f"{check.value} AS {quote(check.column)}" for check in found)
        if committed:
            values += f", {quote(COMMITTED.name)} AS {quote(COMMITTED_AT)}"
        query = f"SELECT {values}, {' AND '.join(fits) or 'true'} AS {_FITS} FROM {committed or ROWS_NOW}"  # noqa: S608
        if differs:
            query = f"SELECT * FROM ({query}) AS rows ANTI JOIN {_BEFORE} ON {_is_as_before(work)}"  # noqa: S608
        good, refused = _write_fitting(connection, work, query)
        rejected = None
        if refused or repeated:
            rows = rejected_rows(connection, target, found, ROWS_NOW, repeated=repeated)
            rejected = work.processed.write_rows(rejected_folder(work.folder), REJECTED, rows)
    return good, rejected


def _is_as_before(work: Work) -> str:
    """A condition that a row that fits stands in the last result as it is, untracked columns aside."""
    names = [each.name for each in work.columns if each.name not in {*work.target.key, *work.model.untracked}]
    same = [f"rows.{quote(name)} IS NOT DISTINCT FROM {_BEFORE}.{quote(name)}" for name in names]
    fits = [f"rows.{_FITS}", f"{_BEFORE}.{quote(_IS_REJECTED.name)} IS NULL"]
    return " AND ".join([*fits, same_key(_key_of(work), "rows", _BEFORE), *same])


def _write_fitting(connection: duckdb.DuckDBPyConnection, work: Work, query: str) -> tuple[File | None, int]:
    """Write the rows that fit, as their last column says; returns their file and how many do not."""
    refused = 0

    def fitting(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        nonlocal refused
        for batch in reader:
            fits = batch.column(batch.num_columns - 1)
            bad = len(fits) - int(pc.sum(fits).as_py() or 0)
            refused += bad
            rows = batch.select(range(batch.num_columns - 1))
            if bad < len(fits):
                yield rows.filter(fits) if bad else rows

    reader = connection.sql(query).to_arrow_reader(ROWS_PER_BATCH)
    schema = pa.schema(list(reader.schema)[:-1])
    return work.processed.write_rows(work.folder, schema, fitting(reader)), refused


def _write_gone_rows(connection: duckdb.DuckDBPyConnection, work: Work, table: TableBatch) -> Files:
    """Write the keys of rows that left a model's table, or that the model left out now."""
    analysis, _ = work.analysed
    if not analysis.carries.keys() >= set(work.target.key):
        return ()
    columns = ", ".join(f"{quote(analysis.carries[name])} AS {quote(name)}" for name in work.target.key)
    queries = []
    if table.deleted:
        connection.register("gone", work.raw.dataset(table.deleted, schema_of(key_columns(table))))
        queries.append(f"SELECT {columns} FROM gone")  # noqa: S608
    if analysis.filtered and table.files:
        same = same_key(_key_of(work), "changed", ROWS_NOW)
        changed = f"SELECT {columns} FROM {quote(relation_name(table.table))}"  # noqa: S608
        queries.append(f"SELECT * FROM ({changed}) AS changed ANTI JOIN {ROWS_NOW} ON {same}")  # noqa: S608
    keys = " UNION ALL ".join(queries)
    values = _key_values(work)
    return _write_keys(connection, work, f"SELECT {values} FROM ({keys}) AS gone") if queries else ()  # noqa: S608


def _write_gone_keys(connection: duckdb.DuckDBPyConnection, work: Work) -> Files:
    """Write the keys of the last result that no row has any more, be it one that is rejected."""
    keys = _key_values(work)
    listed = ", ".join(f"{_BEFORE}.{quote(name)}" for name in work.target.key)
    same = same_key(_key_of(work), _BEFORE, "now")
    return _write_keys(
        connection,
        work,
        f"SELECT {listed} FROM {_BEFORE} ANTI JOIN (SELECT {keys} FROM {ROWS_NOW}) AS now ON {same}",  # noqa: S608
    )


def _write_rejected_keys(connection: duckdb.DuckDBPyConnection, work: Work, good: File | None) -> Files:
    """Write the keys of rows that do not fit, as rows of the result.

    The table may have older rows of these keys, which stay until their keys leave the result.
    """
    schema = schema_of((*_key_of(work), _IS_REJECTED))
    rows = work.processed.dataset([good], schema) if good else schema.empty_table()
    connection.register("fitting", rows)
    values, keys = _key_values(work), ", ".join(map(quote, work.target.key))
    known = " AND ".join(f"{quote(name)} IS NOT NULL" for name in work.target.key)
    same = same_key(_key_of(work), "now", "fitting")
    query = (
        f"SELECT DISTINCT {keys}, true FROM (SELECT {values} FROM {ROWS_NOW}) AS now"  # noqa: S608
        f" ANTI JOIN fitting ON {same} WHERE {known}"
    )
    with blamed(work.model):
        reader = connection.sql(query).to_arrow_reader(ROWS_PER_BATCH)
        batches = (pa.record_batch(batch.columns, schema.names).cast(schema) for batch in reader)
        file = work.processed.write_rows(work.folder, schema, batches)
    return (file,) if file else ()


def _key_values(work: Work) -> str:
    """The columns of the key as the warehouse takes them, in the key's order."""
    found = {check.column: check.value for check in work.analysed[1]}
    return ", ".join(f"{found[name]} AS {quote(name)}" for name in work.target.key)


def _write_keys(connection: duckdb.DuckDBPyConnection, work: Work, query: str) -> Files:
    schema = schema_of(_key_of(work))
    with blamed(work.model):
        reader = connection.sql(query).to_arrow_reader(ROWS_PER_BATCH)
        rows = (batch.cast(schema) for batch in reader)
        file = work.processed.write_rows(deleted_folder(work.folder), schema, rows)
    return (file,) if file else ()


def _key_of(work: Work) -> tuple[Column, ...]:
    return columns_of(work.target, work.target.key)
