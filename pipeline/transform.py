"""Run one model over one batch: what its result has gained and lost goes to Parquet, in two ways.

Row by row where DuckDB's planner shows that each row comes from one row of one table, under that row's
key: the model runs over the batch's changed rows. Any other model runs over the present state of all
that it reads, and its result is compared with the last one, which is kept as runs as tables' states are.
Either way each warehouse table equals its model's SQL; how it is computed cannot be observed.
"""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import inputs
from pipeline.analysis import Analysis
from pipeline.batches import Manifest, Run, State, StateRun, TableBatch, needs_merging
from pipeline.buckets import Bucket, File, batch_folder, gone_folder, rejected_folder
from pipeline.commits import COMMITTED
from pipeline.contract import Check
from pipeline.duck import quote, session
from pipeline.errors import ModelError, ObjectMissing, UnfitBatch
from pipeline.inputs import ROWS_NOW, blamed
from pipeline.models import Model, closure
from pipeline.reference import BATCH
from pipeline.rejects import REJECTED, is_repeated, keep_repeated_keys, rejected_rows
from pipeline.relations import relation_name
from pipeline.source import Column, schema_of
from pipeline.state import bind_state, compacted, key_columns, same_key
from pipeline.target import COMMITTED_AT, Target
from pipeline.types import Frozen, duckdb_type, identity
from pipeline.warehouse import Loaded

_ROWS_A_BATCH = 100_000
_BEFORE, _FITS = "result_before", "fits_the_contract"
_COMMITTED_AT = Column(name=COMMITTED_AT, type="timestamptz")
# A column of results alone: true beside the key of a row that does not fit, else NULL.
_IS_REJECTED = Column(name="is rejected (pipeline)", type="boolean")


class Output(Frozen):
    """What a model made of a batch.

    ``files`` are rows that are new or differ, ``gone`` the keys of rows that left the result. Where it
    is ``complete`` the files are all rows that the result has; with ``replaces`` rows of the warehouse
    that are not among them have left it. ``rejected`` are rows that do not fit, all of the result's where
    ``rejects_all``. ``result`` is what the next batch compares with.
    """

    model: str
    fingerprint: str
    complete: bool
    columns: tuple[Column, ...]
    files: Run
    rejected: Run
    gone: Run = ()
    replaces: bool = False
    rejects_all: bool = False
    result: State | None = None

    @property
    def rows(self) -> int:
        """Rows that fit."""
        return sum(file.rows for file in self.files)

    @property
    def rejected_rows(self) -> int:
        """Rows rejected."""
        return sum(file.rows for file in self.rejected)


@dataclass(frozen=True)
class Work:
    """One model over one batch: the last of ``models``, which holds those below it too."""

    models: Mapping[str, Model]
    targets: Mapping[str, Target]
    manifest: Manifest
    loaded: Loaded | None
    raw: Bucket
    processed: Bucket

    @property
    def model(self) -> Model:
        """The model to run."""
        return list(self.models.values())[-1]

    @property
    def target(self) -> Target:
        """Its table."""
        return self.targets[self.model.name]

    @property
    def folder(self) -> str:
        """Where its rows go."""
        return batch_folder(self.model.name, self.manifest.batch_id)

    @property
    def tables(self) -> list[TableBatch]:
        """The source tables that it reads, by whatever way."""
        names = {name for model in self.models.values() for name in model.reads}
        return [table for name, table in self.manifest.tables.items() if name in names]

    @cached_property
    def analysed(self) -> tuple[Analysis, list[Check]]:
        """What the planner tells of it, and how its columns are checked."""
        tables = {name: table.columns for name, table in self.manifest.tables.items()}
        return inputs.analysed(self.models, self.targets, tables)

    @property
    def is_known(self) -> bool:
        """Whether the warehouse was computed with this very model."""
        return self.loaded is not None and self.loaded.fingerprint == self.model.fingerprint

    @property
    def sees_changes(self) -> bool:
        """Whether the warehouse has all that earlier batches brought, so that what changed is enough."""
        return self.is_known and not self.manifest.reconcile

    @property
    def row_table(self) -> TableBatch | None:
        """The table whose rows the model's rows each come from, under the same key, if there is one."""
        analysis, found = self.analysed
        table = self.manifest.tables.get(analysis.table or "")
        if table is None or table.state is None:
            return table
        return table if _same_identity(analysis, table, self.target, found) else None

    @property
    def columns(self) -> tuple[Column, ...]:
        """The warehouse's columns that it yields."""
        return columns_of(self.target, [check.column for check in self.analysed[1]])


def _same_identity(analysis: Analysis, table: TableBatch, target: Target, found: Sequence[Check]) -> bool:
    """Whether a warehouse key is the source's own, told apart by the same equality."""
    types = {column.name: column.type for column in table.columns}
    plain = {check.column for check in found if check.value == quote(check.column)}
    keys = [analysis.carries.get(name) for name in target.key]
    return (
        bool(table.key)
        and sorted(filter(None, keys)) == sorted(table.key)
        and plain.issuperset(target.key)
        and all(
            identity("x", types[str(key)]) == identity("x", column.type)
            and duckdb_type(types[str(key)]) == duckdb_type(column.type)
            for key, name in zip(keys, target.key, strict=True)
            if (column := target.column(name))
        )
    )


def needed(models: Mapping[str, Model], manifest: Manifest, loaded: Loaded | None) -> bool:
    """Whether the last of these models, the others being below it, may have another result than before."""
    model = list(models.values())[-1]
    reads = {name for each in models.values() for name in each.reads}
    if loaded is None or loaded.fingerprint != model.fingerprint or BATCH in reads:
        return True
    return manifest.reconcile or any(manifest.tables[name].changed for name in reads & manifest.tables.keys())


def verify(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
    keys: Mapping[str, tuple[str, ...]] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Try every model on empty tables of these columns; returns the columns that each leaves out, if any.

    Where the primary ``keys`` of tables are given, as they are now, a model that takes rows that tie in any
    order is refused, and so is one that compares an enum with what is no label of it. Raises ModelError that
    names file, line and column.
    """
    more: dict[str, tuple[str, ...]] = {}
    _refuse_like_columns(models, tables)
    cursors = {name for model in models.values() for name in model.cursors}
    for name, model in models.items():
        below = closure(models, name)
        analysis, _ = inputs.analysed(below, targets, tables, keys)
        if analysis.left_out:
            more[name] = analysis.left_out
        if analysis.unknown_labels and keys is not None:
            raise ModelError(f"{model.path}: {analysis.unknown_labels[0]}")
        read = cursors & {table for each in below.values() for table in each.reads}
        if read and not model.sees_changes and analysis.table not in read:
            raise ModelError(
                f"{model.path}: reads {min(read)} by a cursor, which shows changed rows only, so each row has"
                " to come from one of them; take the joins and aggregates out, or the cursor"
            )
    return more


def _refuse_like_columns(models: Mapping[str, Model], tables: Mapping[str, Sequence[Column]]) -> None:
    """Refuse tables of which DuckDB, which folds the case of names, cannot tell the columns apart."""
    for model in models.values():
        for table in sorted(model.reads & tables.keys()):
            names: dict[str, str] = {}
            for column in tables[table]:
                like = names.setdefault(column.name.lower(), column.name)
                if like != column.name:
                    raise ModelError(
                        f"{model.path}: reads table {table}, whose columns {like} and {column.name} differ by"
                        " case only; rename one, or read a view that does"
                    )


def nothing(target: Target) -> Output:
    """The output of a model that was not needed."""
    names = [column.name for column in target.columns if not (column.filled or column.generated)]
    return Output(
        model=target.name,
        fingerprint="",
        complete=False,
        columns=columns_of(target, names),
        files=(),
        rejected=(),
    )


def columns_of(target: Target, names: Sequence[str]) -> tuple[Column, ...]:
    """Columns of a warehouse table by name, with their Postgres types."""
    types = {column.name: column.type for column in target.columns}
    return tuple(Column(name=name, type=types[name]) for name in names)


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
            return output.model_copy(update={"result": (StateRun(files=(*output.files, *keys)),)})
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
        state = (*state, StateRun(files=output.files, gone=output.gone))
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
    gone: Run = (),
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

    reader = connection.sql(query).to_arrow_reader(_ROWS_A_BATCH)
    schema = pa.schema(list(reader.schema)[:-1])
    return work.processed.write_rows(work.folder, schema, fitting(reader)), refused


def _write_gone_rows(connection: duckdb.DuckDBPyConnection, work: Work, table: TableBatch) -> Run:
    """Write the keys of rows that left a model's table, or that the model left out now."""
    analysis, _ = work.analysed
    if not analysis.carries.keys() >= set(work.target.key):
        return ()
    columns = ", ".join(f"{quote(analysis.carries[name])} AS {quote(name)}" for name in work.target.key)
    queries = []
    if table.gone:
        connection.register("gone", work.raw.dataset(table.gone, schema_of(key_columns(table))))
        queries.append(f"SELECT {columns} FROM gone")  # noqa: S608
    if analysis.filtered and table.files:
        same = same_key(_key_of(work), "changed", ROWS_NOW)
        changed = f"SELECT {columns} FROM {quote(relation_name(table.table))}"  # noqa: S608
        queries.append(f"SELECT * FROM ({changed}) AS changed ANTI JOIN {ROWS_NOW} ON {same}")  # noqa: S608
    keys = " UNION ALL ".join(queries)
    values = _key_values(work)
    return _write_keys(connection, work, f"SELECT {values} FROM ({keys}) AS gone") if queries else ()  # noqa: S608


def _write_gone_keys(connection: duckdb.DuckDBPyConnection, work: Work) -> Run:
    """Write the keys of the last result that no row has any more, be it one that is rejected."""
    keys = _key_values(work)
    listed = ", ".join(f"{_BEFORE}.{quote(name)}" for name in work.target.key)
    same = same_key(_key_of(work), _BEFORE, "now")
    return _write_keys(
        connection,
        work,
        f"SELECT {listed} FROM {_BEFORE} ANTI JOIN (SELECT {keys} FROM {ROWS_NOW}) AS now ON {same}",  # noqa: S608
    )


def _write_rejected_keys(connection: duckdb.DuckDBPyConnection, work: Work, good: File | None) -> Run:
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
        reader = connection.sql(query).to_arrow_reader(_ROWS_A_BATCH)
        batches = (pa.record_batch(batch.columns, schema.names).cast(schema) for batch in reader)
        file = work.processed.write_rows(work.folder, schema, batches)
    return (file,) if file else ()


def _key_values(work: Work) -> str:
    """The columns of the key as the warehouse takes them, in the key's order."""
    found = {check.column: check.value for check in work.analysed[1]}
    return ", ".join(f"{found[name]} AS {quote(name)}" for name in work.target.key)


def _write_keys(connection: duckdb.DuckDBPyConnection, work: Work, query: str) -> Run:
    schema = schema_of(_key_of(work))
    with blamed(work.model):
        reader = connection.sql(query).to_arrow_reader(_ROWS_A_BATCH)
        rows = (batch.cast(schema) for batch in reader)
        file = work.processed.write_rows(gone_folder(work.folder), schema, rows)
    return (file,) if file else ()


def _key_of(work: Work) -> tuple[Column, ...]:
    return columns_of(work.target, work.target.key)


def pieces(work: Work) -> list[Manifest]:
    """The batch as a model may read it on many machines: file by file where a table was read whole."""
    table = work.row_table
    if table is None or table.state is None or table.mode != "full" or len(table.files) < 2:  # noqa: PLR2004
        return [work.manifest]
    return [
        work.manifest.model_copy(
            update={
                "tables": work.manifest.tables | {table.table: table.model_copy(update={"files": (file,)})}
            }
        )
        for file in table.files
    ]


def joined(outputs: Sequence[Output]) -> Output:
    """The outputs of a batch's pieces as one; no key has rows in two of them."""
    files = tuple(file for output in outputs for file in output.files)
    rejected = tuple(file for output in outputs for file in output.rejected)
    return outputs[0].model_copy(update={"files": files, "rejected": rejected})
