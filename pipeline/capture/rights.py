"""Check what models read of the source: rights on columns, and cursors."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Mapping, Sequence

import duckdb
import psycopg
from psycopg import sql

from pipeline.columns import Column, schema_of
from pipeline.duck import relation_name, session
from pipeline.errors import ModelError, SourceError
from pipeline.models import reference_tables
from pipeline.models.library import Model
from pipeline.postgres import Connection, template
from pipeline.source import cursors
from pipeline.source.catalogue import Table
from pipeline.source.cursors import Cursor
from pipeline.source.table_names import identifier, in_model, of_another_schema, of_column


def check_rights(models: Mapping[str, Model], tables: Mapping[str, Table]) -> None:
    """Raise SourceError where a model names a column that the source's role may not read."""
    known = {*tables, *reference_tables.NAMES, *reference_tables.QUALIFIED}
    for model in models.values():
        read = {name: tables[name] for name in sorted(model.reads & tables.keys())}
        unreadable = {name: table.unreadable for name, table in read.items() if table.unreadable}
        seeds = {name: seed.columns for name, seed in model.seeds.items()}
        if not unreadable or model.reads - known - seeds.keys():
            continue
        readable = seeds | {name: table.columns for name, table in read.items()}
        all_columns = seeds | {name: (*table.columns, *table.unreadable) for name, table in read.items()}
        if not _binds(model, readable) and _binds(model, all_columns):
            names = ", ".join(
                f"{name}.{column.name}" for name, columns in unreadable.items() for column in columns
            )
            raise SourceError(
                f"source: {model.path} needs a column that the pipeline's role may not read;"
                f" grant SELECT on what it needs of {names}"
            )


def _binds(model: Model, tables: Mapping[str, Sequence[Column]]) -> bool:
    """Whether every name in the model's SQL exists."""
    with session() as connection:
        for name in model.reads - tables.keys() - {reference_tables.BATCH}:
            connection.register(relation_name(name), reference_tables.table(name))
        for name, columns in tables.items():
            connection.register(relation_name(name), schema_of(columns).empty_table())
        try:
            connection.execute(f"CREATE TEMP VIEW model AS {model.bound_sql}\n")
        except duckdb.Error:
            return False
    return True


def cursors_of(
    connection: Connection, schema: str, models: Mapping[str, Model], tables: Mapping[str, Table]
) -> dict[str, Cursor]:
    """The cursors that models declare, by table, after a test on the source.

    Raises ModelError for a cursor that cannot work or is not needed.
    """
    declared: dict[str, tuple[Model, Cursor]] = {}
    every = ((model, *each) for model in models.values() for each in model.cursors.items())
    for model, name, cursor in every:
        if name not in model.reads & tables.keys():
            meant = of_another_schema(name, model.reads & tables.keys())
            raise ModelError(
                f"{model.at_header('cursor', name)}: it declares a cursor for {name}, a table that it does"
                f" not read{f'; write {in_model(of_column(meant, cursor.column))}' if meant else ''}"
            )
        other, first = declared.setdefault(name, (model, cursor))
        if first != cursor:
            raise ModelError(
                f"{model.at_header('cursor', name)}: its cursor for {name} is {_spelled(cursor)}, but"
                f" {other.path} declares {_spelled(first)}; a table has one cursor"
            )
        _check(connection, schema, model, tables[name], cursor)
    return {name: cursor for name, (_, cursor) in declared.items()}


def _spelled(cursor: Cursor) -> str:
    return f"{cursor.column} {cursor.overlap or ''}".rstrip()


def _check(connection: Connection, schema: str, model: Model, table: Table, cursor: Cursor) -> None:
    prefix = f"{model.at_header('cursor', table.name)}: cursor {table.name}.{cursor.column}"
    column = table.column(cursor.column)
    if column is None:
        raise ModelError(f"{prefix}: {table.name} has no such column, or the role may not read it")
    if column.hashed_by:
        raise ModelError(f"{prefix}: the column is hashed, and hashes have no order; name another column")
    if table.tracked:
        raise ModelError(f"{prefix}: {table.name} needs no cursor, its changes are found by xmin; remove it")
    unit = cursors.overlap_type(column.type)
    if cursor.overlap is not None and unit is None:
        raise ModelError(f"{prefix}: type {column.type} takes no overlap; remove {cursor.overlap!r}")
    try:
        with connection.transaction():
            _try(connection, identifier(schema, table.name), column, cursor, unit)
    except (psycopg.DataError, psycopg.ProgrammingError) as error:
        raise ModelError(f"{prefix}: {error.diag.message_primary}") from None
    except ValueError:
        raise ModelError(f"{prefix}: a negative overlap would skip rows") from None


def _try(
    connection: Connection, table: sql.Identifier, column: Column, cursor: Cursor, unit: str | None
) -> None:
    """Let Postgres order the column and parse the overlap; raises ValueError for a negative one."""
    value = cursors.expression(column)
    connection.execute(template("SELECT {0} >= {0} FROM {1} ORDER BY {0} LIMIT 0").format(value, table))
    if cursor.overlap is not None and unit is not None:
        negative = template(f"SELECT {{}}::{unit} < '0'::{unit}").format(cursor.overlap)
        if connection.execute(negative).fetchone() == (True,):
            raise ValueError
