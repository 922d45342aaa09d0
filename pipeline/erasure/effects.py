"""Where a source row's personal values are in the models' tables.

Each model is computed twice for each version of the row: with its personal values and without them, together
with all rows that the other tables ever held. The difference is what to erase. If a model's rows do not each
come from one source row, or if their keys would change, its table is refilled from the lake instead.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.duck import json_object, quote, relation_name, session
from pipeline.errors import ModelError
from pipeline.lake import erasures
from pipeline.lake.buckets import File
from pipeline.lake.erasures import Erasure
from pipeline.lake.manifest import Manifest, StateDelta
from pipeline.models import inputs
from pipeline.models.contract import ContractColumn, contract_of
from pipeline.models.inputs import RESULT
from pipeline.models.library import Model
from pipeline.models.rejects import key_json
from pipeline.models.target import Target
from pipeline.recovery.replays import Replayer

PAIRS = pa.schema([("key", pa.string()), ("old", pa.string()), ("new", pa.string())])


@dataclass(frozen=True)
class Effect:
    """What erasing changes in a model's table: keys with old and new values of ``columns``, as JSON of texts.

    With ``replays`` the table is refilled from the lake instead. ``has_left``: the lake lacks the rows.
    """

    target: Target
    columns: tuple[str, ...]
    pairs: pa.Table
    replays: bool
    has_left: bool = False


def ever(manifest: Manifest, manifests: Iterable[Manifest]) -> Manifest:
    """The batch with all rows that its tables ever held as their state."""
    files: dict[str, dict[str, File]] = {name: {} for name in manifest.tables}
    for each_ in (*manifests, manifest):
        for name, table in each_.tables.items():
            if name in files and table.columns == manifest.tables[name].columns:
                runs = [table.files, *(run.files for run in table.state or ())]
                files[name] |= {file.path: file for run in runs for file in run}
    tables = {
        name: table.model_copy(update={"state": (StateDelta(files=tuple(files[name].values())),)})
        for name, table in manifest.tables.items()
    }
    return manifest.model_copy(update={"tables": tables})


def effects(
    replayer: Replayer,
    below: Mapping[str, Model],
    ever: Manifest,
    erased: Erasure,
    rows: pa.Table,
    *,
    is_hidden: bool,
    is_former: bool = False,
) -> Iterator[Effect]:
    """The effect of erasing a row on a model's table; nothing if the model does not show it.

    With ``is_hidden`` the old values are no longer known; then any value of the row's keys is replaced. With
    ``is_former`` the model may have yielded them in columns that it no longer yields.
    """
    model, targets = list(below.values())[-1], replayer.targets
    target = targets[model.name]
    with session() as connection:
        inputs.bind(connection, below, targets, ever, replayer.raw, changes=False)
        contract = contract_of(model, target, inputs.types_of(connection, model, RESULT))
        generated = {column.name for column in target.columns if column.generated}
        shown = [column for column in contract if column.name not in generated]
        try:
            with inputs.naming_model(model):
                _compute(connection, target, shown, rows, erased, is_hidden=is_hidden)
        except ModelError as error:
            is_whole = replayer.work(below, ever).row_table is None
            if is_whole or (_is_referred_to(targets, target) and _has_a_row(connection, rows, erased)):
                raise ModelError(f"{error}; so it would fail with erased values; write TRY_CAST") from None
            # The row is rejected, with its values or without.
            yield Effect(target, (), PAIRS.empty_table(), replays=True)
            return
        columns = tuple(column.name for column in shown if _differs(connection, column.name))
        if columns or _has_more(connection, "key"):
            _refuse_nulls(connection, model, target, columns)
            replays = not _is_traceable(connection, target, columns)
            yield Effect(target, columns, _pairs(connection, columns, is_known=not is_hidden), replays)
        if is_former:
            yield from _of_former_columns(connection, model, target, shown, erased)


def _of_former_columns(
    connection: duckdb.DuckDBPyConnection,
    model: Model,
    target: Target,
    shown: Sequence[ContractColumn],
    erased: Erasure,
) -> Iterator[Effect]:
    """The effect on columns that the model no longer yields: versions that are not restated may have values.

    These can be of a column that the source has dropped or retyped; nothing tells from which one they came.
    A column that the table fills is one of them if it has the name of an erased one.
    """
    kept = {column.name for column in shown} | {each.name for each in target.columns if each.generated}
    kept |= {each.name for each in target.columns if each.filled} - {column.name for column in erased.columns}
    names = [each.name for each in target.columns if each.name not in kept]
    if names and _is_traceable(connection, target, ()):
        for each in target.columns:
            if each.required and each.name in names:
                raise null_refused(model, target, each.name)
        new = json_object(dict.fromkeys(names, "NULL"))
        query = f"SELECT DISTINCT key, CAST(NULL AS VARCHAR) AS old, {new} AS new FROM before"  # noqa: S608
        pairs = connection.sql(query).to_arrow_table().cast(PAIRS)
        yield Effect(target, tuple(names), pairs, replays=False)


def _is_referred_to(targets: Mapping[str, Target], target: Target) -> bool:
    """Whether rows of another table may refer to one of this table, which then cannot be deleted."""
    references = [each for name, other in targets.items() if name != target.name for each in other.references]
    return target.name in {reference.to_table for reference in references}


def _has_a_row(connection: duckdb.DuckDBPyConnection, rows: pa.Table, erased: Erasure) -> bool:
    """Whether the model does not fail for each version of the row as it was."""
    stored = quote(f"stored {relation_name(erased.entries[0].table)}")
    for number in range(rows.num_rows):
        connection.register("former version", rows.slice(number, 1))
        connection.execute(f'CREATE OR REPLACE TEMP VIEW {stored} AS FROM "former version"')
        with suppress(duckdb.Error):
            if connection.execute(f"SELECT * FROM {RESULT}").fetchall():  # noqa: S608
                return True
    return False


def _compute(
    connection: duckdb.DuckDBPyConnection,
    target: Target,
    shown: Sequence[ContractColumn],
    rows: pa.Table,
    erased: Erasure,
    *,
    is_hidden: bool,
) -> None:
    """Create the tables ``before`` and ``after`` for all versions, and ``among`` for one with other rows."""
    stored, names = quote(f"stored {relation_name(erased.entries[0].table)}"), rows.schema.names
    listed = ", ".join(map(quote, names))
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW {quote('all rows')} AS {_definition(connection, stored)}"
    )
    connection.register("versions", rows.append_column("number", pa.array(range(rows.num_rows))))
    for number in range(rows.num_rows):
        one = f"(SELECT {listed} FROM versions WHERE number = {number})"  # noqa: S608
        before = erased.with_made_up_values(names, one) if is_hidden else f"FROM {one}"
        queries = {"before": before, "after": erased.erase(names, one)}
        if number == 0:
            others = f"SELECT {listed} FROM ({erased.with_mark(quote('all rows'))}) AS marked"  # noqa: S608
            others += f" WHERE {quote(erasures.MARK)} IS NULL"
            queries["among"] = f"SELECT {listed} FROM ({before}) UNION ALL {others}"  # noqa: S608
        for table, query in queries.items():
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {stored} AS {query}")
            store = f"INSERT INTO {table}" if number else f"CREATE TEMP TABLE {table} AS"
            connection.execute(f"{store} {_as_texts(target, shown, number)}")


def _definition(connection: duckdb.DuckDBPyConnection, view: str) -> str:
    """The query of a view."""
    query = "SELECT sql FROM duckdb_views() WHERE temporary AND view_name = ?"
    ((text,),) = connection.execute(query, [view[1:-1].replace('""', '"')]).fetchall()
    return str(text).partition(" AS ")[2].rstrip(";")


def _as_texts(target: Target, shown: Sequence[ContractColumn], number: int) -> str:
    """A query for a model's rows: keys as JSON, as rejected rows have them, too, and all columns as text."""
    texts = {column.name: f"CAST({column.value} AS VARCHAR)" for column in shown}
    listed = ", ".join(f"{text} AS {quote(f'c {name}')}" for name, text in texts.items())
    return (
        f"SELECT DISTINCT {number} AS number, {key_json(target, shown)} AS key, {listed}"  # noqa: S608
        f" FROM {RESULT}"
    )


def _differs(connection: duckdb.DuckDBPyConnection, column: str) -> bool:
    """Whether a column shows a personal value."""
    return _has_more(connection, f"key, {quote(f'c {column}')}")


def _has_more(connection: duckdb.DuckDBPyConnection, columns: str) -> bool:
    """Whether these columns have values with personal values that they do not have without."""
    query = f"SELECT number, {columns} FROM before EXCEPT SELECT number, {columns} FROM after"  # noqa: S608
    return bool(connection.execute(f"SELECT 1 FROM ({query}) AS more LIMIT 1").fetchall())  # noqa: S608


def _is_traceable(connection: duckdb.DuckDBPyConnection, target: Target, columns: Collection[str]) -> bool:
    """Whether each of the model's rows comes from one source row and keeps its key, so it can be updated.

    It must also refer to the same rows: those that it refers to by such a value are refilled.
    """
    referring = {name for reference in target.references for name in reference.columns}
    if set(columns) & {*target.key, *referring} or _has_more(connection, "key"):
        return False
    query = "SELECT * FROM before WHERE number = 0 EXCEPT SELECT * FROM among"
    return not connection.execute(f"SELECT 1 FROM ({query}) AS other LIMIT 1").fetchall()  # noqa: S608


def _refuse_nulls(
    connection: duckdb.DuckDBPyConnection, model: Model, target: Target, columns: Sequence[str]
) -> None:
    """Raise ModelError if an erased column would be NULL and its table does not allow that."""
    for name in columns:
        column = target.column(name)
        query = f"SELECT 1 FROM after WHERE {quote(f'c {name}')} IS NULL LIMIT 1"  # noqa: S608
        if column and column.required and connection.execute(query).fetchall():
            raise null_refused(model, target, name)


def null_refused(model: Model, target: Target, name: str) -> ModelError:
    """The error for a column that would be NULL after the erasure."""
    return ModelError(
        f"{model.path}: {name} would be NULL after the erasure, which its table does not allow;"
        f" ALTER TABLE {target.name} ALTER COLUMN {name} DROP NOT NULL, and forget again"
    )


def _pairs(connection: duckdb.DuckDBPyConnection, columns: Sequence[str], *, is_known: bool) -> pa.Table:
    """The old and new values of each key that changes, also equal ones; unknown old ones are NULL."""
    texts = f"number, key, {json_object({name: quote(f'c {name}') for name in columns})}"
    result = connection.sql(
        f"SELECT b.key, b.old, max(a.new) AS new FROM (SELECT {texts} AS old FROM before) AS b"  # noqa: S608
        f" JOIN (SELECT {texts} AS new FROM after) AS a ON a.number = b.number AND a.key = b.key"
        " GROUP BY b.key, b.old QUALIFY bool_or(b.old <> max(a.new)) OVER (PARTITION BY b.key)"
    )
    pairs: pa.Table = result.to_arrow_table().cast(PAIRS)
    if is_known:
        return pairs
    pairs = pairs.filter(pc.not_equal(pairs["old"], pairs["new"]))
    unknown = pa.nulls(pairs.num_rows, pa.string())
    return pairs.set_column(1, "old", unknown).group_by(["key", "old", "new"]).aggregate([])
