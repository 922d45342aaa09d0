"""Tables that would fit a model, from the types that DuckDB gives its columns."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from psycopg import sql

from pipeline.columns import Column
from pipeline.duck import session
from pipeline.models import inputs, properties
from pipeline.models.inputs import RESULT
from pipeline.models.library import Model, closure
from pipeline.models.target import OF_VERSIONS, Target, TargetColumn
from pipeline.postgres import identifiers, template
from pipeline.warehouse import declarations, evolve
from pipeline.warehouse.alterations import Alterations

_TYPES = {
    "TINYINT": "smallint", "SMALLINT": "smallint", "UTINYINT": "smallint", "INTEGER": "integer",
    "USMALLINT": "integer", "BIGINT": "bigint", "UINTEGER": "bigint", "HUGEINT": "numeric(38,0)",
    "UBIGINT": "numeric(20,0)", "BOOLEAN": "boolean", "FLOAT": "real", "DOUBLE": "double precision",
    "DATE": "date", "TIME": "time without time zone", "TIMESTAMP": "timestamp without time zone",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone", "UUID": "uuid", "BLOB": "bytea", "JSON": "jsonb",
    "INTERVAL": "interval",
}  # fmt: skip
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


def type_for(yielded: str) -> str:
    """The Postgres type for a DuckDB type; text for those that have no counterpart."""
    if match := _DECIMAL.fullmatch(yielded):
        return f"numeric({match[1]},{match[2]})"
    return _TYPES.get(yielded, "text")


def column_of(name: str, type_: str, *, required: bool = False) -> TargetColumn:
    """A warehouse column of this type."""
    return TargetColumn(
        name=name, type=type_, category="S", labels=(), required=required, filled=False, generated=False
    )


def target_for(model: Model, yields: Mapping[str, str], key: Sequence[str]) -> Target:
    """A table for a model that has none."""
    return Target(
        name=model.name,
        fact=model.kind == "fact",
        bridge=model.kind == "bridge",
        key=tuple(key),
        columns=tuple(column_of(name, type_for(each), required=name in key) for name, each in yields.items()),
        references=(),
        rules=(),
        rebuildable=(),
        untracked=model.untracked,
    )


def altered(targets: Mapping[str, Target], found: Alterations) -> dict[str, Target]:
    """The tables as a run leaves them: with new columns, and with other names and types."""
    new: dict[str, dict[str, str]] = {}
    for change in found.changes:
        if change.happens and change.kind in {"added", "widened", "narrowed"}:
            new.setdefault(change.table, {})[change.column] = found.declared[change.table][change.column].type
    return {
        name: target.model_copy(
            update={
                "key": tuple(found.new_columns.get(name, {}).get(column, column) for column in target.key),
                "columns": (*_columns(target, found.new_columns.get(name, {}), new.get(name, {})),),
            }
        )
        for name, target in targets.items()
    }


def _columns(target: Target, names: Mapping[str, str], types: Mapping[str, str]) -> Iterator[TargetColumn]:
    """The columns of a table with new ``names``, and these new types, some of them of new columns."""
    present = [
        column.model_copy(update={"name": names.get(column.name, column.name)}) for column in target.columns
    ]
    for column in present:
        yield column.model_copy(update={"type": types.get(column.name, column.type)})
    for name in types.keys() - {column.name for column in present}:
        yield column_of(name, types[name])


def future_target(model: Model, found: Alterations) -> Target | None:
    """The table of a model with the columns that it will have, as far as the model has to fit them.

    None if nothing declares it. A new column of a table that exists may stay without NOT NULL.
    """
    name, is_fact = model.name, model.kind == "fact"
    existing = {} if name in evolve.remade(found.changes) else found.existing.get(name, {})
    declared = found.declared.get(name, {})
    removed = {each.column for each in found.changes if (each.table, each.kind) == (name, "removed")}
    columns = {
        column.name: column_of(
            column.name, "text", required=column.required and (column.name in existing or not existing)
        ).model_copy(update={"filled": column.computed or column.default_value is not None})
        for column in {**existing, **declared}.values()
        if column.name not in removed and not (is_fact and column.name in OF_VERSIONS)
    }
    target = target_for(model, {}, model.key or declarations.primary_key(declared or existing))
    return target.model_copy(update={"columns": tuple(columns.values())}) if columns else None


def create_table(target: Target) -> str:
    """The statement that creates a table; a fact gets a serial number as its primary key."""
    columns = [
        template("{} {}{}").format(
            sql.Identifier(column.name),
            template(column.type),
            template(" NOT NULL" if column.required else ""),
        )
        for column in target.columns
    ]
    if target.fact:
        number = sql.Identifier(f"{target.name.removeprefix('fact_')}_record_id")
        lines: Iterable[sql.Composable] = [template("{} serial PRIMARY KEY").format(number), *columns]
    else:
        lines = [*columns, template("PRIMARY KEY ({})").format(identifiers(target.key))]
    return (
        template("CREATE TABLE IF NOT EXISTS {} (\n    {}\n);")
        .format(sql.Identifier(target.name), template(",\n    ").join(lines))
        .as_string()
    )


def with_missing(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
    keys: Mapping[str, tuple[str, ...]],
) -> dict[str, Target]:
    """The tables of these models; those that do not exist are made up, each after those that it reads."""
    found = dict(targets)
    for name, model in models.items():
        if name not in found:
            types = types_of(models, found, tables, name)
            key = model.key or _source_key(models, found, tables, keys, name, types)
            found[name] = target_for(model, types, key)
    return found


def types_of(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
    name: str,
) -> dict[str, str]:
    """The columns of a model and their types in DuckDB."""
    with session() as connection:
        inputs.bind_empty(connection, closure(models, name), targets, tables)
        return inputs.types_of(connection, models[name], RESULT)


def _source_key(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
    keys: Mapping[str, tuple[str, ...]],
    name: str,
    types: Mapping[str, str],
) -> tuple[str, ...]:
    """The columns of a model that hold the key of the table that it is over, or else its first column."""
    first = next(iter(types))
    guessed = {**targets, name: target_for(models[name], types, [first])}
    analysis, _ = properties.analysed(closure(models, name), guessed, tables)
    carried = {source: column for column, source in analysis.carries.items()}
    key = keys.get(analysis.table or "", ())
    return tuple(carried[column] for column in key) if key and carried.keys() >= set(key) else (first,)
