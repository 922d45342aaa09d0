"""Run one model over one batch: rows that fit go to Parquet, the others are set aside.

A model whose rows each come from one source row is computed from the batch's changed
rows. Any other model is computed twice, from the present state and from the state
before the batch, and the keys whose rows are new or differ go on; that is exact
whatever the SQL joins or adds up. A model that reads other models sees their rows of this batch.
"""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import reference
from pipeline.batches import Manifest, Run, TableBatch, mergeable_runs
from pipeline.buckets import Bucket, File, batch_folder, rejected_folder
from pipeline.contract import Check, checks, literal, quote, reasons
from pipeline.duck import is_storage_fault, session
from pipeline.models import Model, error_in
from pipeline.source import Column, schema_of
from pipeline.types import Frozen
from pipeline.warehouse import Target

_ROWS_A_BATCH = 100_000
_RUN = "run of its state"
# Of rows that share a key and are set aside together.
_ROWS_SHOWN = 100
_DUCKDB_SAYS = re.compile(r"[A-Z][A-Za-z ]+ Error: ")
REJECTED = pa.schema([("key", pa.string()), ("reason", pa.string()), ("row", pa.string())])


class Output(Frozen):
    """What a model made of a batch; ``complete`` where that is all rows it has."""

    model: str
    fingerprint: str
    complete: bool
    columns: tuple[Column, ...]
    files: tuple[File, ...]
    rejected: tuple[File, ...]

    @property
    def rows(self) -> int:
        """Rows that fit."""
        return sum(file.rows for file in self.files)

    @property
    def rejected_rows(self) -> int:
        """Rows set aside."""
        return sum(file.rows for file in self.rejected)


@dataclass(frozen=True)
class Work:
    """One model over one batch, and where its inputs and outputs lie.

    ``loaded`` is the fingerprint of the model that the warehouse's rows were computed
    with; where it is another one, all rows go on.
    """

    model: Model
    target: Target
    manifest: Manifest
    upstream: Mapping[str, Output]
    loaded: str | None
    raw: Bucket
    processed: Bucket

    @property
    def tables(self) -> list[TableBatch]:
        """The source tables that the model reads."""
        return [table for name, table in self.manifest.tables.items() if name in self.model.reads]

    @property
    def from_changes(self) -> bool:
        """Whether changed rows are all that the model needs."""
        return self.model.row_wise and bool(self.tables)

    @property
    def unique(self) -> bool:
        """Whether no two rows can have the same key, because it holds the source table's own."""
        carried = {self.model.carries.get(name) for name in self.target.key}
        return self.from_changes and bool(self.tables[0].key) and carried.issuperset(self.tables[0].key)

    @property
    def complete(self) -> bool:
        """Whether this batch gives every row that the model has, and not only what changed."""
        if self.from_changes:
            return self.tables[0].mode == "full"
        if self.upstream:
            return all(output.complete for output in self.upstream.values())
        known = self.model.fingerprint == self.loaded and all(
            table.before is not None for table in self.tables
        )
        return self.manifest.reconcile or not known

    @property
    def compared(self) -> bool:
        """Whether the model is computed for the state before as well, to see what differs."""
        return not (self.complete or self.from_changes or self.upstream)


def needed(model: Model, manifest: Manifest, loaded: str | None, computed: Collection[str]) -> bool:
    """Whether anything that the model reads may be new in this batch, or the model itself is.

    ``computed`` are the models that are computed in this batch.
    """
    if model.fingerprint != loaded or model.reads & set(computed):
        return True
    return any(manifest.tables[name].mode != "unchanged" for name in model.reads & manifest.tables.keys())


def verify(
    models: Mapping[str, Model], targets: Mapping[str, Target], tables: Mapping[str, Sequence[Column]]
) -> None:
    """Try every model on empty tables of these columns.

    Raises ModelError that names file, line and column.
    """
    columns = dict(tables) | {name: nothing(target).columns for name, target in targets.items()}
    for name, model in models.items():
        with session() as connection:
            for read in model.reads - reference.NAMES:
                connection.register(read, schema_of(columns[read]).empty_table())
            _bind_reference_tables(connection, model)
            _run(connection, model, "CREATE TEMP VIEW rows_now AS ")
            checks(model, targets[name], _describe(connection, model))


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
    """Compute the model's rows of the batch and write them to the processed bucket.

    Raises ModelError with file, line and DuckDB's words.
    """
    folder = batch_folder(work.model.name, work.manifest.batch_id)
    with session() as connection:
        _compute(connection, work)
        found = checks(work.model, work.target, _describe(connection, work.model))
        query = _query(work)
        good, refused = _write_good(connection, work, found, query, folder)
        rejected = None
        if repeated := good is not None and not work.unique and _keep_repeated_keys(connection, work, [good]):
            good, _ = _write_good(connection, work, found, _without_repeated(work, found, query), folder)
        if refused or repeated:
            rows = _rejected(connection, work, found, query, repeated=repeated)
            rejected = work.processed.write_rows(rejected_folder(folder), REJECTED, rows)
    return Output(
        model=work.model.name,
        fingerprint=work.model.fingerprint,
        complete=work.complete,
        columns=columns_of(work.target, [check.column for check in found]),
        files=(good,) if good else (),
        rejected=(rejected,) if rejected else (),
    )


def pieces(model: Model, manifest: Manifest) -> list[Manifest]:
    """The batch as a model may read it in turn or on many machines: file by file, or whole."""
    names = model.reads & manifest.tables.keys()
    if not model.row_wise or len(names) != 1:
        return [manifest]
    table = manifest.tables[next(iter(names))]
    if len(table.files) < 2:  # noqa: PLR2004  one is whole
        return [manifest]
    return [
        manifest.model_copy(update={"tables": {table.table: table.model_copy(update={"files": (file,)})}})
        for file in table.files
    ]


def joined(work: Work, outputs: Sequence[Output]) -> Output | None:
    """The outputs of a batch's pieces as one; None where a key has rows in several of them."""
    files = tuple(file for output in outputs for file in output.files)
    if not work.unique and sum(bool(output.rejected) for output in outputs) > 1:
        return None
    if files and not work.unique:
        with session() as connection:
            if _keep_repeated_keys(connection, work, files):
                return None
    rejected = tuple(file for output in outputs for file in output.rejected)
    return outputs[0].model_copy(update={"files": files, "rejected": rejected})


def compacted(table: TableBatch, batch_id: str, raw: Bucket) -> TableBatch:
    """The table with the newest runs of its state merged into one, the newest row of a key each."""
    kept, merged = mergeable_runs(table.state or ())
    with session() as connection:
        bind(connection, table, merged, raw)
        reader = connection.sql(f"SELECT * FROM {quote(table.table)}").to_arrow_reader(_ROWS_A_BATCH)  # noqa: S608
        schema = schema_of(table.columns)
        file = raw.write_rows(
            batch_folder(table.table, batch_id), schema, (rows.cast(schema) for rows in reader)
        )
    return table.model_copy(update={"state": (*kept, (file,) if file else ())})


def bind(
    connection: duckdb.DuckDBPyConnection, table: TableBatch, runs: tuple[Run, ...], raw: Bucket
) -> None:
    """Make a table's rows readable by its own name: of each key the newest run's row."""
    schema, name, number = schema_of(table.columns), quote(table.table), quote(_RUN)
    connection.execute(f"DROP VIEW IF EXISTS {name}")
    parts = []
    for position, run in enumerate(runs or ((),)):
        rows = raw.dataset(run, schema) if run else schema.empty_table()
        connection.register(f"{table.table} run {position}", rows)
        parts.append(f"SELECT *, {position} AS {number} FROM {quote(f'{table.table} run {position}')}")  # noqa: S608
    newest = ""
    if len(parts) > 1:
        key = ", ".join(map(quote, table.key))
        newest = f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {number} DESC) = 1"
    union = " UNION ALL BY NAME ".join(parts)
    connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * EXCLUDE ({number}) FROM ({union}) {newest}")  # noqa: S608


def _compute(connection: duckdb.DuckDBPyConnection, work: Work) -> None:
    """Bind all that the model reads and make rows_now, and rows_before where they are compared."""
    for name, output in work.upstream.items():
        schema = schema_of(output.columns)
        connection.register(
            name, work.processed.dataset(output.files, schema) if output.files else schema.empty_table()
        )
    _bind_reference_tables(connection, work.model)
    if work.compared:
        _bind_all(connection, work, "before")
        _run(connection, work.model, "CREATE TEMP TABLE rows_before AS ")
    _bind_all(connection, work, "files" if work.from_changes else "state")
    _run(connection, work.model, f"CREATE TEMP {'TABLE' if work.compared else 'VIEW'} rows_now AS ")


def _bind_reference_tables(connection: duckdb.DuckDBPyConnection, model: Model) -> None:
    for name in model.reads & reference.NAMES:
        connection.register(name, reference.table(name))


def _query(work: Work) -> str:
    """A query for the rows that go on: all, or those of keys whose rows are new or differ."""
    if not work.compared:
        return "SELECT * FROM rows_now"
    key = ", ".join(map(quote, work.target.key))
    same = " AND ".join(
        f"rows_now.{quote(name)} IS NOT DISTINCT FROM touched.{quote(name)}" for name in work.target.key
    )
    return (
        "SELECT * FROM rows_now SEMI JOIN ("  # noqa: S608
        f"SELECT {key} FROM (SELECT * FROM rows_now EXCEPT ALL SELECT * FROM rows_before)"
        f" UNION SELECT {key} FROM (SELECT * FROM rows_before EXCEPT ALL SELECT * FROM rows_now)"
        f") AS touched ON {same}"
    )


def _bind_all(
    connection: duckdb.DuckDBPyConnection, work: Work, which: Literal["files", "state", "before"]
) -> None:
    for table in work.tables:
        runs = {"files": (table.files,), "state": table.state, "before": table.before}[which]
        bind(connection, table, runs or (), work.raw)


@contextmanager
def _blamed(model: Model) -> Iterator[None]:
    """Name the model in what DuckDB says of it, also while its rows stream."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        words = str(error)
        if is_storage_fault(words) or (isinstance(error, OSError) and not _DUCKDB_SAYS.match(words)):
            raise
        raise error_in(model.path, words) from None


def _run(connection: duckdb.DuckDBPyConnection, model: Model, prefix: str) -> None:
    with _blamed(model):
        connection.execute(f"{prefix}{model.sql}\n")


def _describe(connection: duckdb.DuckDBPyConnection, model: Model) -> dict[str, str]:
    """Names and DuckDB types of the columns that the model yields."""
    with _blamed(model):
        rows = connection.execute("DESCRIBE rows_now").fetchall()
    return {str(row[0]): str(row[1]) for row in rows}


def _write_good(
    connection: duckdb.DuckDBPyConnection, work: Work, found: Sequence[Check], query: str, folder: str
) -> tuple[File | None, int]:
    """Write the rows that meet the contract; returns their file and how many do not."""
    values = ", ".join(f"{check.value} AS {quote(check.column)}" for check in found)
    ok = " AND ".join(f"({check.reason}) IS NULL" for check in found if check.reason) or "true"
    refused = 0

    def good(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        nonlocal refused
        for batch in reader:
            fits = batch.column(batch.num_columns - 1)
            bad = len(fits) - int(pc.sum(fits).as_py() or 0)
            refused += bad
            rows = batch.select(range(batch.num_columns - 1))
            if bad < len(fits):
                yield rows.filter(fits) if bad else rows

    with _blamed(work.model):
        reader = connection.sql(
            f"SELECT {values}, {ok} FROM ({query}) AS model"  # noqa: S608
        ).to_arrow_reader(_ROWS_A_BATCH)
        schema = pa.schema(list(reader.schema)[:-1])
        return work.processed.write_rows(folder, schema, good(reader)), refused


def _keep_repeated_keys(connection: duckdb.DuckDBPyConnection, work: Work, good: Sequence[File]) -> bool:
    """Note the keys that more than one row has; a row's grain is what its key says."""
    keys = ", ".join(map(quote, work.target.key))
    named = ", ".join(f"{quote(name)} AS {quote('repeated ' + name)}" for name in work.target.key)
    connection.register("written", work.processed.dataset(good))
    connection.execute(
        f"CREATE TEMP TABLE repeated AS SELECT {named} FROM written"  # noqa: S608
        f" GROUP BY {keys} HAVING count(*) > 1"
    )
    return connection.execute("SELECT count(*) FROM repeated").fetchall() != [(0,)]


def _is_repeated(work: Work, found: Sequence[Check]) -> str:
    values = {check.column: check.value for check in found}
    same = " AND ".join(f"{quote('repeated ' + name)} = {values[name]}" for name in work.target.key)
    return f"EXISTS (SELECT 1 FROM repeated WHERE {same})"  # noqa: S608


def _without_repeated(work: Work, found: Sequence[Check], query: str) -> str:
    return f"SELECT * FROM ({query}) AS model WHERE NOT {_is_repeated(work, found)}"  # noqa: S608


def _rejected(
    connection: duckdb.DuckDBPyConnection, work: Work, found: Sequence[Check], query: str, *, repeated: bool
) -> Iterator[pa.RecordBatch]:
    """The rows set aside: key and row as JSON with values as text, and the reason in words.

    A key stands once, because it is set aside as a whole; where several rows have it,
    ``row`` is a list of the first of them.
    """
    why = reasons(found)
    if repeated:
        why = f"CASE WHEN {_is_repeated(work, found)} THEN 'more than one row has this key' ELSE {why} END"
    reader = connection.sql(
        f"SELECT key, first(reason) AS reason, CASE count(*) WHEN 1 THEN first(row)"  # noqa: S608
        f" ELSE '[' || array_to_string(arg_min(row, row, {_ROWS_SHOWN}), ', ') || ']' END AS row FROM ("
        f"SELECT {_key_json(work, found)} AS key, {why} AS reason, {_row_json(found)} AS row"
        f" FROM ({query}) AS model) AS judged WHERE reason <> '' GROUP BY key"
    ).to_arrow_reader(_ROWS_A_BATCH)
    return (batch.cast(REJECTED) for batch in reader)


def _key_json(work: Work, found: Sequence[Check]) -> str:
    """The key as the warehouse spells it, and as the model does where it does not fit."""
    values = {check.column: check.value for check in found}
    return _json(
        {name: f"COALESCE(CAST({values[name]} AS VARCHAR), {_text(name)})" for name in work.target.key}
    )


def _row_json(found: Sequence[Check]) -> str:
    return _json({check.column: _text(check.column) for check in found})


def _text(name: str) -> str:
    return f"CAST({quote(name)} AS VARCHAR)"


def _json(texts: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{literal(name)}, {text}" for name, text in texts.items())
    return f"CAST(json_object({pairs}) AS VARCHAR)"
