"""Run one model on one batch, and write to Parquet which rows its result has gained and lost.

If DuckDB's planner shows that each row comes from one row of one table, with that row's key, the model runs
on the batch's changed rows. Any other model runs on the present state of all that it reads, and its result is
compared with the last one, which is stored like a table's state. Both give the same warehouse table. A model
with the header `reads: changes` runs on the changed rows of all that it reads, and only adds rows.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import duckdb

from pipeline.columns import Column, identity, schema_of
from pipeline.duck import quote, session
from pipeline.errors import ModelError, ObjectMissing, UnusableBatch
from pipeline.lake.manifest import Files, State, StateDelta, TableBatch, needs_merging
from pipeline.lake.paths import rejected_folder
from pipeline.lake.state import bind_state, compacted, key_columns
from pipeline.models import inputs
from pipeline.models.failing_rows import leave_out_failing_rows
from pipeline.models.failing_values import naming_values
from pipeline.models.inputs import RESULT, naming_model
from pipeline.models.output import Output
from pipeline.models.rejects import REJECTED
from pipeline.models.target import COMMITTED_AT
from pipeline.models.work import Work
from pipeline.models.writing import (
    LAST_RESULT,
    has_uncertain_keys,
    is_rejected,
    write_deleted_keys,
    write_deleted_rows,
    write_rejected_keys,
    write_rows,
)
from pipeline.source.commits import COMMITTED

_COMMITTED_AT = Column(name=COMMITTED_AT, type="timestamptz")


def transform(work: Work) -> Output:
    """Compute which rows the model's result has gained and lost, and write them to the processed bucket.

    Raises ModelError with file, line and DuckDB's message.
    """
    table = work.row_table
    if work.model.appends:
        return _append_only(work)
    return _by_result(work) if table is None else _by_rows(work, table)


def _by_rows(work: Work, table: TableBatch) -> Output:
    """Run on one table's changed rows, or on all if the model is new or the table was read in full."""
    complete = table.mode == "full" or not work.changes_suffice
    with session() as connection, naming_values(connection, work):
        changes = table.mode == "full" or work.changes_suffice
        inputs.bind(connection, work.models, work.targets, work.manifest, work.raw, changes=changes)
        with_commit_times = (
            _bind_commit_times(connection, work, table) if changes and table.has_commit_times else None
        )
        write = partial(
            write_rows,
            connection,
            work,
            may_repeat_keys=table.state is None,
            with_commit_times=with_commit_times,
        )
        failing: Files = ()
        try:
            accepted, rejected = write()
        except ModelError as error:
            rows = leave_out_failing_rows(connection, work, table, error, complete=complete)
            failing = work.processed.write_rows(rejected_folder(work.folder), REJECTED, iter([rows]))
            accepted, rejected = write()
        ignores_deletes = complete or work.model.keeps_deleted
        deleted = () if ignores_deletes else write_deleted_rows(connection, work, table)
    output = _output(work, complete, accepted, (*rejected, *failing), deleted, rejects_all=complete)
    if with_commit_times:
        return output.model_copy(update={"columns": (*output.columns, _COMMITTED_AT)})
    return output


def _bind_commit_times(connection: duckdb.DuckDBPyConnection, work: Work, table: TableBatch) -> str | None:
    """Bind the commit times of a fact's source rows; returns a query for the result's rows with them.

    Returns None for other tables, and if the fact's key does not contain the source's key.
    """
    keys = {column.name: column for column in key_columns(table)}
    carried = {work.analysed[0].carries.get(name): name for name in work.target.key}
    if not work.target.fact or not keys or not keys.keys() <= carried.keys():
        return None
    schema = schema_of((*keys.values(), COMMITTED))
    connection.register("committed", work.raw.dataset(table.files, schema))
    same = " AND ".join(
        f"{identity(f'{RESULT}.{quote(carried[name])}', column.type)}"
        f" = {identity(f'committed.{quote(name)}', column.type)}"
        for name, column in keys.items()
    )
    time = f"committed.{quote(COMMITTED.name)} AS {quote(COMMITTED_AT)}"  # a name that no model's column has
    return f"(SELECT {RESULT}.*, {time} FROM {RESULT} LEFT JOIN committed ON {same}) AS {RESULT}"  # noqa: S608


def _append_only(work: Work) -> Output:
    """Run on the changed rows of all that the model reads; rows of earlier batches stay."""
    complete = not work.changes_suffice or any(table.mode == "full" for table in work.tables)
    if complete:
        _require_states(
            work, [table for table in work.tables if table.mode == "changes" and not table.reached]
        )
    with session() as connection, naming_values(connection, work):
        inputs.bind(connection, work.models, work.targets, work.manifest, work.raw, changes=not complete)
        _compute_once(connection, work)
        accepted, rejected = write_rows(connection, work, may_repeat_keys=True)
    return _output(work, complete, accepted, rejected)


def _by_result(work: Work) -> Output:
    """Run on the present state of all that the model reads, and write what differs from the last result."""
    _require_states(work, work.tables)
    last = work.loaded.result if work.loaded and work.changes_suffice else None
    if last is not None:
        with suppress(ObjectMissing):  # if an object of the raw bucket is missing, _full_result raises again
            return _compared_result(work, last)
    return _full_result(work)


def _require_states(work: Work, tables: Sequence[TableBatch]) -> None:
    """Refuse a batch of an earlier release that stored no state of one of the tables."""
    for table in tables:
        if table.state is None:
            raise UnusableBatch(f"batch {work.manifest.batch_id} was read without the state of {table.table}")


def _full_result(work: Work) -> Output:
    """Write all rows of the result, because the last result is unknown or lost."""
    with session() as connection, naming_values(connection, work):
        inputs.bind(connection, work.models, work.targets, work.manifest, work.raw, changes=False)
        return _written_in_full(connection, work)


def _written_in_full(connection: duckdb.DuckDBPyConnection, work: Work) -> Output:
    accepted, rejected = write_rows(connection, work, may_repeat_keys=True)
    keys = write_rejected_keys(connection, work, accepted) if rejected else ()
    output = _output(work, True, accepted, rejected, rejects_all=True)
    return output.model_copy(update={"result": (StateDelta(files=(*output.files, *keys)),)})


def _compared_result(work: Work, last: State) -> Output:
    """Write the rows that differ from the last result; all if only Postgres can compare their keys."""
    with session() as connection, naming_values(connection, work):
        inputs.bind(connection, work.models, work.targets, work.manifest, work.raw, changes=False)
        result = _as_table(work, last)
        bind_state(connection, result, last, work.processed, LAST_RESULT)
        _compute_once(connection, work)
        if has_uncertain_keys(connection, work):
            return _written_in_full(connection, work)
        accepted, rejected = write_rows(connection, work, may_repeat_keys=True, only_changes=True)
        deleted = () if work.model.keeps_deleted else write_deleted_keys(connection, work)
    output = _output(work, False, accepted, rejected, deleted, rejects_all=True)
    return output.model_copy(update={"result": _with_changes(work, result, output)})


def _compute_once(connection: duckdb.DuckDBPyConnection, work: Work) -> None:
    """Store the result, which several queries read: the one for repeated keys, and those that write."""
    with naming_model(work.model):
        connection.execute(f"CREATE TEMP TABLE computed AS SELECT * FROM {RESULT}")  # noqa: S608
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {RESULT} AS SELECT * FROM computed")  # noqa: S608


def _as_table(work: Work, state: State) -> TableBatch:
    """The model's result as a table of a batch, whose state can be bound and merged."""
    return TableBatch(
        table=work.model.name,
        mode="changes",
        reason="",
        columns=(*work.columns, is_rejected(work)),
        key=work.target.key,
        heaps="",
        state=state,
    )


def _with_changes(work: Work, result: TableBatch, output: Output) -> State:
    """The stored result with this batch's changes, its newest deltas merged if there are many."""
    state = result.state or ()
    if output.files or output.deleted:
        state = (*state, StateDelta(files=output.files, deleted=output.deleted))
    result = result.model_copy(update={"state": state})
    if needs_merging(result):
        result = compacted(result, work.manifest.batch_id, work.processed)
    return result.state or ()


def _output(
    work: Work,
    complete: bool,
    accepted: Files,
    rejected: Files,
    deleted: Files = (),
    *,
    rejects_all: bool = False,
) -> Output:
    return Output(
        model=work.model.name,
        fingerprint=work.model.fingerprint,
        complete=complete,
        columns=work.columns,
        files=accepted,
        rejected=rejected,
        deleted=deleted,
        replaces=complete and not work.model.keeps_rows,
        rejects_all=rejects_all,
    )
