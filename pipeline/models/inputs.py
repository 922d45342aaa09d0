"""The relations that a model reads, in DuckDB: source tables, reference tables and other models as views."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache

import duckdb
import pyarrow as pa

from pipeline.columns import Column
from pipeline.duck import is_storage_error, quote, relation_name, session
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest
from pipeline.lake.state import bind_changes, bind_state
from pipeline.models import reference_tables, typed_views
from pipeline.models.comparisons import as_model_type, as_stored, model_type
from pipeline.models.computing import Probe
from pipeline.models.duckdb_errors import error_in
from pipeline.models.library import Model
from pipeline.models.literals import with_labels
from pipeline.models.mistakes import explained
from pipeline.models.quantifiers import may_quantify, with_null_lists
from pipeline.models.reference_tables import BATCH
from pipeline.models.rounding import as_in_postgres, may_compute, redefines_operators
from pipeline.models.stored import create_functions, is_stored_as_text
from pipeline.models.target import Target

TableColumns = tuple[tuple[str, tuple[Column, ...]], ...]
# The view of the result of the model that runs.
RESULT = "result"
_DUCKDB_MESSAGE = re.compile(r"[A-Z][A-Za-z ]+ Error: ")


def bind(
    connection: duckdb.DuckDBPyConnection,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    manifest: Manifest,
    raw: Bucket,
    *,
    changes: bool,
) -> None:
    """Bind all that the last of the models reads: tables' present state, or their changed rows.

    Of a table without a state, as one that is read by a cursor, these are the rows that the batch read.
    A model reads another one as a view of its SQL, with the types of its table.
    """
    names = read_names(models)
    for name in sorted(names & manifest.tables.keys()):
        table = manifest.tables[name]
        stored = stored_name(name)
        if changes or table.state is None:
            bind_changes(connection, table, raw, stored)
        else:
            bind_state(connection, table, table.state, raw, stored)
        shown = ", ".join(
            f"{as_model_type(each, quote(each.name))} AS {quote(each.name)}" for each in table.columns
        )
        connection.execute(
            f"CREATE TEMP VIEW {quote(relation_name(name))} AS SELECT {shown} FROM {quote(stored)}"  # noqa: S608
        )
    _bind_reference(connection, names - manifest.tables.keys(), manifest.snapshot_at)
    _bind_models(connection, models, targets, texts_of(models, targets, manifest.columns), None)


def bind_empty(
    connection: duckdb.DuckDBPyConnection,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
) -> dict[str, str]:
    """Bind empty tables of DuckDB instead; returns the models' SQL as it is run.

    Columns that DuckDB compares differently from Postgres are marked, see pipeline.models.comparisons.
    """
    names = read_names(models)
    for name in sorted(names & tables.keys()):
        columns = ", ".join(f"{quote(each.name)} {model_type(each, marked=True)}" for each in tables[name])
        listed = columns or "no_column INTEGER"
        connection.execute(f"CREATE TEMP TABLE {quote(relation_name(name))} ({listed})")
    reference_names = names - tables.keys()
    _bind_reference(connection, reference_names, datetime.now(UTC))
    if not _needs_other_sql(models, targets, tables):
        return _bind_models(connection, models, targets, None, tables)
    known = _known_texts(*as_key(models, targets, tables))
    if known:
        return _bind_models(connection, models, targets, known, tables)
    with session() as other:
        _bind_reference(other, reference_names, datetime.now(UTC))
        probe = Probe(other, {name: tables[name] for name in names & tables.keys()}, connection)
        known |= _bind_models(connection, models, targets, probe, tables)
    return known


@contextmanager
def as_tables(
    connection: duckdb.DuckDBPyConnection,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session in which all that the last of the models reads are empty tables, also other models.

    The models are bound in ``connection``.
    """
    names = read_names(models)
    with session() as other:
        _bind_reference(other, names - tables.keys(), datetime.now(UTC))
        probe = Probe(other, {name: tables[name] for name in names & tables.keys()}, connection)
        for name in list(models)[:-1]:
            shown = connection.sql(f"FROM {quote(relation_name(name))}").columns
            probe.add(name, [each for each in typed_views.columns_of(targets[name]) if each.name in shown])
        yield other


def _needs_other_sql(
    models: Mapping[str, Model], targets: Mapping[str, Target], tables: Mapping[str, Sequence[Column]]
) -> bool:
    """Whether other SQL is needed: the models read columns of enums, or stored as text, or may compute."""
    below = list(models.values())[:-1]
    columns = [column for name in read_names(models) & tables.keys() for column in tables[name]]
    columns += [column for model in below for column in typed_views.columns_of(targets[model.name])]
    return any(column.labels or is_stored_as_text(column) for column in columns) or any(
        may_compute(model.sql) or may_quantify(model.sql) for model in models.values()
    )


def texts_of(
    models: Mapping[str, Model], targets: Mapping[str, Target], tables: Mapping[str, Sequence[Column]]
) -> dict[str, str]:
    """The models' SQL as it is run: labels of enums, and what is stored as text, are cast."""
    if not _needs_other_sql(models, targets, tables):
        return {model.name: model.bound_sql for model in models.values()}
    if known := _known_texts(*as_key(models, targets, tables)):
        return known
    with session() as connection:
        return bind_empty(connection, models, targets, tables)


@lru_cache(maxsize=512)  # the same at every batch of a rebuild, and for a run's check and its transforms
def _known_texts(_: tuple[Model, ...], __: tuple[Target, ...], ___: TableColumns) -> dict[str, str]:
    """What ``bind_empty`` has computed for these; empty before."""
    return {}


def as_key(
    models: Mapping[str, Model], targets: Mapping[str, Target], tables: Mapping[str, Sequence[Column]]
) -> tuple[tuple[Model, ...], tuple[Target, ...], TableColumns]:
    """What the models' binding depends on, as values that a cache can compare."""
    read = read_names(models)
    return (
        tuple(models.values()),
        tuple(targets[name] for name in models if name in targets),
        tuple((name, tuple(columns)) for name, columns in tables.items() if name in read),
    )


@contextmanager
def naming_model(model: Model) -> Iterator[None]:
    """Name the model in errors of DuckDB, also while its rows stream."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        text = str(error)
        if is_storage_error(text) or (isinstance(error, OSError) and not _DUCKDB_MESSAGE.match(text)):
            raise
        raise error_in(model.path, text) from None


def read_names(models: Mapping[str, Model]) -> set[str]:
    """The source tables, seeds and reference tables that the models read."""
    return {name for model in models.values() for name in model.reads} - models.keys()


def stored_name(table: str) -> str:
    """The relation of a table's rows as they are stored; the relation that models read is a view of it."""
    return f"stored {relation_name(table)}"


def _bind_reference(connection: duckdb.DuckDBPyConnection, names: set[str], moment: datetime) -> None:
    """Create reference tables in DuckDB, which shows no plan of a query that reads Arrow tables."""
    for name in sorted(names):
        if name == BATCH:
            table = pa.table({"moment": pa.array([moment], pa.timestamp("us", tz="UTC"))})
        else:
            table = reference_tables.table(name)
        connection.register("reference rows", table)
        connection.execute(f'CREATE TEMP TABLE {quote(relation_name(name))} AS FROM "reference rows"')


def _bind_models(
    connection: duckdb.DuckDBPyConnection,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    texts: Mapping[str, str] | Probe | None,
    empty: Mapping[str, Sequence[Column]] | None,
) -> dict[str, str]:
    """Create a view of each model, the last one also as ``result``; returns their SQL.

    ``empty`` are the source tables if they are bound as empty ones, for the analysis. With a probe, labels,
    numbers and lists are cast, for which all relations have to be tables of DuckDB.
    """
    bound = {}
    has_functions = False
    for model in models.values():
        if isinstance(texts, Probe):
            text = with_null_lists(texts.connection, model.bound_sql)
            text = texts.computable(model, as_in_postgres(texts.connection, text))
        else:
            text = texts[model.name] if texts else model.bound_sql
        if not has_functions and (text != model.bound_sql or redefines_operators(text)):
            create_functions(connection)  # takes some milliseconds
            has_functions = True
        if isinstance(texts, Probe):
            text = with_labels(connection, text)
        bound[model.name] = text
        yields = _create_view(connection, model, text, texts if isinstance(texts, Probe) else None)
        if model.name in targets and len(bound) < len(models):
            columns = typed_views.create(connection, model, targets[model.name], yields, empty)
            if isinstance(texts, Probe):
                texts.add(model.name, columns)
    connection.execute(f"CREATE TEMP VIEW {RESULT} AS FROM {quote(typed_views.inner_name(model))}")
    return bound


def _create_view(
    connection: duckdb.DuckDBPyConnection, model: Model, text: str, probe: Probe | None
) -> dict[str, str]:
    """Create a view of a model with the types in which values are stored; returns these by column."""
    inner = f"text:{model.name}"
    try:
        connection.execute(f"CREATE TEMP VIEW {quote(inner)} AS {text}\n")
    except duckdb.Error as error:
        # Over the probe's tables, numbers and lists are no text.
        attempts = [(probe.connection, model.bound_sql)] if probe else []
        raise explained(model, error, [*attempts, (connection, text)]) from None
    types = types_of(connection, model, inner)
    listed = ", ".join(as_stored(name, type_) for name, type_ in types.items())
    connection.execute(
        f"CREATE TEMP VIEW {quote(typed_views.inner_name(model))} AS SELECT {listed} FROM {quote(inner)}"  # noqa: S608
    )
    return types_of(connection, model, typed_views.inner_name(model))


def types_of(connection: duckdb.DuckDBPyConnection, model: Model, name: str) -> dict[str, str]:
    """Names and DuckDB types of the columns of a view of the model."""
    with naming_model(model):
        # Not DESCRIBE, which ignores an alias that differs from its column in case only.
        view = connection.sql(f"FROM {quote(name)}")
        return dict(zip(view.columns, map(str, view.types), strict=True))
