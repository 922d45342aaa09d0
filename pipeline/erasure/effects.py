"""What became of a source row's personal values in the models' tables.

It is found by computing a model twice for each version of the row: over that version, and over it without its
personal values, beside all that the other tables ever held. Where a model's rows do not come from single
rows, or their keys would be others, its table is filled again from the lake instead.
"""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from pipeline.duck import literal, quote, relation_name, session
from pipeline.errors import ModelError
from pipeline.lake import erasures
from pipeline.lake.buckets import File
from pipeline.lake.erasures import Erasure
from pipeline.lake.manifest import Manifest, StateDelta
from pipeline.models import inputs
from pipeline.models.contract import Check, checks
from pipeline.models.inputs import RESULT
from pipeline.models.library import Model
from pipeline.models.target import Target
from pipeline.recovery.refill import Lake

_PAIRS = pa.schema([("key", pa.string()), ("old", pa.string()), ("new", pa.string())])


@dataclass(frozen=True)
class Effect:
    """What erasing changes in a model's table: of which keys which values become which, as JSON of texts.

    One that ``replays`` is filled again from the lake.
    """

    target: Target
    columns: tuple[str, ...]
    pairs: pa.Table
    replays: bool


def ever(manifest: Manifest, manifests: Iterable[Manifest]) -> Manifest:
    """The batch with all that its tables ever held in place of their present state."""
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
    lake: Lake,
    below: Mapping[str, Model],
    ever: Manifest,
    erased: Erasure,
    rows: pa.Table,
    *,
    is_hidden: bool,
) -> Iterator[Effect]:
    """What becomes of a model's rows that show the row, if anything.

    Of rows whose values are hidden already it is not known what they were; any value of their keys counts.
    """
    model = list(below.values())[-1]
    target = lake.targets[model.name]
    with session() as connection:
        inputs.bind(connection, below, lake.targets, ever, lake.raw, changes=False)
        found = checks(model, target, inputs.types_of(connection, model, RESULT))
        generated = {column.name for column in target.columns if column.generated}
        shown = [check for check in found if check.column not in generated]
        _compute(connection, target, shown, rows, erased, is_hidden=is_hidden)
        columns = tuple(check.column for check in shown if _differs(connection, check.column))
        if columns or _has_more(connection, "key"):
            _refuse_nulls(connection, model, target, columns)
            replays = not _is_traceable(connection, target, columns)
            yield Effect(target, columns, _pairs(connection, columns, is_known=not is_hidden), replays)


def _compute(
    connection: duckdb.DuckDBPyConnection,
    target: Target,
    shown: Sequence[Check],
    rows: pa.Table,
    erased: Erasure,
    *,
    is_hidden: bool,
) -> None:
    """Make the tables ``before`` and ``after`` of each version, and ``among`` of one beside other rows."""
    stored, names = quote(f"stored {relation_name(erased.entries[0].table)}"), rows.schema.names
    listed = ", ".join(map(quote, names))
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW {quote('all rows')} AS {_definition(connection, stored)}"
    )
    connection.register("versions", rows.append_column("number", pa.array(range(rows.num_rows))))
    for number in range(rows.num_rows):
        one = f"(SELECT {listed} FROM versions WHERE number = {number})"  # noqa: S608
        before = erased.with_made_up_values(names, one) if is_hidden else f"FROM {one}"
        looks = {"before": before, "after": erased.erase(names, one)}
        if number == 0:
            others = f"SELECT {listed} FROM ({erased.with_mark(quote('all rows'))}) AS marked"  # noqa: S608
            others += f" WHERE {quote(erasures.MARK)} IS NULL"
            looks["among"] = f"SELECT {listed} FROM ({before}) UNION ALL {others}"  # noqa: S608
        for made, query in looks.items():
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {stored} AS {query}")
            begun = f"INSERT INTO {made}" if number else f"CREATE TEMP TABLE {made} AS"
            connection.execute(f"{begun} {_as_texts(target, shown, number)}")


def _definition(connection: duckdb.DuckDBPyConnection, view: str) -> str:
    """What a view selects."""
    query = "SELECT sql FROM duckdb_views() WHERE temporary AND view_name = ?"
    ((text,),) = connection.execute(query, [view[1:-1].replace('""', '"')]).fetchall()
    return str(text).partition(" AS ")[2].rstrip(";")


def _as_texts(target: Target, shown: Sequence[Check], number: int) -> str:
    """A query for a model's rows: their keys as JSON, and all columns as texts."""
    texts = {check.column: f"CAST({check.value} AS VARCHAR)" for check in shown}
    key = ", ".join(f"{literal(name)}, {texts[name]}" for name in target.key)
    listed = ", ".join(f"{text} AS {quote(f'c {name}')}" for name, text in texts.items())
    return (
        f"SELECT DISTINCT {number} AS number, CAST(json_object({key}) AS VARCHAR) AS key, {listed}"  # noqa: S608
        f" FROM {RESULT}"
    )


def _differs(connection: duckdb.DuckDBPyConnection, column: str) -> bool:
    """Whether a column shows something that is erased."""
    return _has_more(connection, f"key, {quote(f'c {column}')}")


def _has_more(connection: duckdb.DuckDBPyConnection, columns: str) -> bool:
    """Whether the row has shown something in these columns that it does not without personal values."""
    query = f"SELECT number, {columns} FROM before EXCEPT SELECT number, {columns} FROM after"  # noqa: S608
    return bool(connection.execute(f"SELECT 1 FROM ({query}) AS more LIMIT 1").fetchall())  # noqa: S608


def _is_traceable(connection: duckdb.DuckDBPyConnection, target: Target, columns: Collection[str]) -> bool:
    """Whether rows of the model can be erased one by one: they come from one row, and keep their keys."""
    if set(columns) & set(target.key) or _has_more(connection, "key"):
        return False
    query = "SELECT * FROM before WHERE number = 0 EXCEPT SELECT * FROM among"
    return not connection.execute(f"SELECT 1 FROM ({query}) AS other LIMIT 1").fetchall()  # noqa: S608


def _refuse_nulls(
    connection: duckdb.DuckDBPyConnection, model: Model, target: Target, columns: Sequence[str]
) -> None:
    """Refuse to erase what may not be NULL and cannot be text."""
    for name in columns:
        column = target.column(name)
        query = f"SELECT 1 FROM after WHERE {quote(f'c {name}')} IS NULL LIMIT 1"  # noqa: S608
        if column and column.required and connection.execute(query).fetchall():
            raise ModelError(
                f"{model.path}: {name} would be NULL once it is erased, which its table does not take;"
                f" ALTER TABLE {target.name} ALTER COLUMN {name} DROP NOT NULL, and forget again"
            )


def _pairs(connection: duckdb.DuckDBPyConnection, columns: Sequence[str], *, is_known: bool) -> pa.Table:
    """Of each key the values that become others, or NULL where they are not known, and what they become."""
    values = ", ".join(f"{literal(name)}, {quote(f'c {name}')}" for name in columns)
    texts = f"number, key, CAST(json_object({values}) AS VARCHAR)"
    found = connection.sql(
        f"SELECT b.key, b.old, max(a.new) AS new FROM (SELECT {texts} AS old FROM before) AS b"  # noqa: S608
        f" JOIN (SELECT {texts} AS new FROM after) AS a ON a.number = b.number AND a.key = b.key"
        " WHERE b.old <> a.new GROUP BY b.key, b.old"
    )
    pairs: pa.Table = found.to_arrow_table().cast(_PAIRS)
    if is_known:
        return pairs
    unknown = pa.nulls(pairs.num_rows, pa.string())
    return pairs.set_column(1, "old", unknown).group_by(["key", "old", "new"]).aggregate([])
