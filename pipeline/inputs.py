"""What a model reads, bound in DuckDB: source tables, reference tables, and the models below it as views."""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from pipeline import reference
from pipeline.analysis import Analysis, analyse
from pipeline.batches import Manifest
from pipeline.buckets import Bucket
from pipeline.contract import Check, checks
from pipeline.duck import is_storage_fault, quote, session
from pipeline.errors import ModelError
from pipeline.models import Model, error_in
from pipeline.reference import BATCH
from pipeline.relations import relation_name
from pipeline.source import Column
from pipeline.state import bind_changes, bind_state
from pipeline.target import Target
from pipeline.types import duckdb_type

ROWS_NOW = "rows_now"
_DUCKDB_SAYS = re.compile(r"[A-Z][A-Za-z ]+ Error: ")


def bind(
    connection: duckdb.DuckDBPyConnection,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    manifest: Manifest,
    raw: Bucket,
    *,
    changes: bool,
) -> None:
    """Make all that the last of the models reads readable: tables' present state, or their changed rows.

    A model reads another one as a view of its SQL, with the types of its table.
    """
    names = _named(models)
    for name in sorted(names & manifest.tables.keys()):
        table = manifest.tables[name]
        if changes:
            bind_changes(connection, table, raw)
        else:
            bind_state(connection, table, table.state or (), raw)
    _bind_reference(connection, names - manifest.tables.keys(), manifest.snapshot_at)
    _bind_models(connection, models, targets)


def bind_empty(
    connection: duckdb.DuckDBPyConnection,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
) -> None:
    """The same with tables of DuckDB's own that have no rows."""
    names = _named(models)
    for name in sorted(names & tables.keys()):
        columns = ", ".join(f"{quote(each.name)} {duckdb_type(each.type)}" for each in tables[name])
        listed = columns or "no_column INTEGER"
        connection.execute(f"CREATE TEMP TABLE {quote(relation_name(name))} ({listed})")
    _bind_reference(connection, names - tables.keys(), datetime.now(UTC))
    _bind_models(connection, models, targets)


def analysed(
    models: Mapping[str, Model], targets: Mapping[str, Target], tables: Mapping[str, Sequence[Column]]
) -> tuple[Analysis, list[Check]]:
    """What the planner tells of the last of the models, and how its columns are checked.

    Raises ModelError with file, line and DuckDB's words, also for what is unstable and not allowed to be.
    """
    model = list(models.values())[-1]
    with session() as connection:
        bind_empty(connection, models, targets, tables)
        yields = _describe(connection, model, ROWS_NOW)
        found = checks(model, targets[model.name], yields)
        try:
            analysis = analyse(connection, f"FROM {ROWS_NOW}", list(yields))
        except ValueError as error:
            raise ModelError(f"{model.path}: {error}") from None
    if analysis.unstable and not model.unstable:
        raise ModelError(f"{model.path}: {analysis.unstable[0]}; or write `-- unstable: allowed` at its head")
    by_relation = {relation_name(name): name for name in tables}
    return replace(analysis, table=by_relation.get(analysis.table or "")), found


@contextmanager
def blamed(model: Model) -> Iterator[None]:
    """Name the model in what DuckDB says of it, also while its rows stream."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        words = str(error)
        if is_storage_fault(words) or (isinstance(error, OSError) and not _DUCKDB_SAYS.match(words)):
            raise
        raise error_in(model.path, words) from None


def _named(models: Mapping[str, Model]) -> set[str]:
    return {name for model in models.values() for name in model.reads} - models.keys()


def _bind_reference(connection: duckdb.DuckDBPyConnection, names: set[str], moment: datetime) -> None:
    for name in sorted(names):
        if name == BATCH:
            table = pa.table({"moment": pa.array([moment], pa.timestamp("us", tz="UTC"))})
        else:
            table = reference.table(name)
        connection.register(relation_name(name), table)


def _bind_models(
    connection: duckdb.DuckDBPyConnection, models: Mapping[str, Model], targets: Mapping[str, Target]
) -> None:
    """Views of the models; the last one, which nothing here reads, is ``rows_now``."""
    *below, last = models.values()
    for model in below:
        plain = f"sql:{model.name}"
        yields = _create_view(connection, model, plain)
        columns = ", ".join(_typed(check) for check in checks(model, targets[model.name], yields))
        connection.execute(
            f"CREATE TEMP VIEW {quote(relation_name(model.name))} AS SELECT {columns} FROM {quote(plain)}"  # noqa: S608
        )
    _create_view(connection, last, ROWS_NOW)


def _typed(check: Check) -> str:
    """A column as its table has it; a value that it cannot take is NULL."""
    value = f"CASE WHEN {check.misfit} THEN NULL ELSE {check.value} END" if check.misfit else check.value
    return f"{value} AS {quote(check.column)}"


def _create_view(connection: duckdb.DuckDBPyConnection, model: Model, name: str) -> dict[str, str]:
    with blamed(model):
        connection.execute(f"CREATE TEMP VIEW {quote(name)} AS {model.bound_sql}\n")
    return _describe(connection, model, name)


def _describe(connection: duckdb.DuckDBPyConnection, model: Model, name: str) -> dict[str, str]:
    """Names and DuckDB types of the columns that the model yields."""
    with blamed(model):
        rows = connection.execute(f"DESCRIBE {quote(name)}").fetchall()
    return {str(row[0]): str(row[1]) for row in rows}
