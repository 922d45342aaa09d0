"""The models' tables: made where they are missing, and described as contracts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pipeline.columns import base_of
from pipeline.errors import ModelError, WarehouseError
from pipeline.models.library import SCHEMA_FILE, Model, with_meaning
from pipeline.models.target import (
    ADDED_TO_FACTS,
    DELETED,
    OF_HISTORY,
    RECORDED_AT,
    Constraint,
    Reference,
    Rule,
    Target,
    TargetColumn,
    versions_name,
)
from pipeline.postgres import SAFE_PATH, Connection, identifiers, statement, template, transaction
from pipeline.warehouse import history, upgrades
from pipeline.warehouse.ledger import LOCK

# Postgres cuts longer ones off without a word.
_LONGEST_NAME = 63


def prepare(url: str, schema: str, models: Mapping[str, Model], folder: Path) -> dict[str, Target]:
    """Make whatever tables are missing and return the contract of each model's table.

    Raises WarehouseError where a table is missing and the models' ``schema.sql`` does
    not make it, ModelError where a model's key is not in its table.
    """
    with transaction(url, "warehouse") as connection:
        # Serialized: two first runs at once would both make the same tables.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (LOCK + " prepare",))
        return made(connection, schema, models, folder)


def made(
    connection: Connection,
    schema: str,
    models: Mapping[str, Model],
    folder: Path,
    *,
    beside: str | None = None,
) -> dict[str, Target]:
    """The same inside a transaction; types and functions may come from the schema ``beside``, too."""
    with _permitted():
        connection.execute("SET LOCAL client_min_messages TO warning")
        _make_missing(connection, schema, models, folder / SCHEMA_FILE, beside)
        described = _describe(connection, schema, models)
        if missing := sorted(models.keys() - described.keys()):
            raise WarehouseError(
                f"warehouse: {schema}.{missing[0]} is missing; add it to {folder / SCHEMA_FILE}"
            )
        targets = {name: _target(models[name], described[name]) for name in models}
        kept = _versions(connection, schema, targets.values())
        for target in targets.values():
            _check_versions_fit(schema, target)
        history.ensure(connection, schema, targets.values(), kept)
        return targets


def targets(url: str, schema: str, models: Mapping[str, Model]) -> dict[str, Target]:
    """The contract of each model's table that is there; nothing is made."""
    with transaction(url, "warehouse") as connection:
        described = _describe(connection, schema, models)
    return {name: _target(models[name], row) for name, row in described.items()}


def with_contracts(models: Mapping[str, Model], targets: Mapping[str, Target]) -> dict[str, Model]:
    """The models, with what their tables take and what the models that they read mean."""
    return with_meaning(models, {name: target.contract for name, target in targets.items()})


@contextmanager
def _permitted() -> Iterator[None]:
    """Say which right the warehouse's role lacks."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise WarehouseError(
            f"warehouse: {error.diag.message_primary}; docs/warehouse-role.sql gives its role what it needs"
        ) from None


def _make_missing(
    connection: Connection, schema: str, models: Mapping[str, Model], path: Path, beside: str | None
) -> None:
    """Make the schema etl and the models' tables, where they are not there."""
    # A role that owns the schema need not be allowed to make schemas.
    if connection.execute("SELECT to_regnamespace('etl')").fetchone() == (None,):
        connection.execute("CREATE SCHEMA etl")
    upgrades.upgrade(connection, schema)
    connection.execute(
        "INSERT INTO etl.warehouse (warehouse_id) VALUES (%s) ON CONFLICT DO NOTHING", (uuid4(),)
    )
    known = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
    if known is None:
        raise WarehouseError(
            f"warehouse: there is no schema {schema}; create it or set TOTESYS_WAREHOUSE_SCHEMA"
        )
    if models.keys() - _describe(connection, schema, models).keys():
        _apply_schema(connection, [schema, beside] if beside else [schema], path)


def _apply_schema(connection: Connection, schemas: Sequence[str], path: Path) -> None:
    """Run the models' own DDL, whose bare names are those of the schemas: the one place that calls them."""
    if not path.exists():
        raise WarehouseError(f"warehouse: tables are missing and there is no {path} to make them")
    try:
        connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(identifiers(schemas)))
        connection.execute(template(path.read_text(encoding="utf-8")))
        connection.execute(SAFE_PATH)
        stranger = connection.execute(statement("warehouse/strangers.sql")).fetchone()
    except psycopg.OperationalError:
        raise
    except psycopg.errors.InsufficientPrivilege as error:
        raise WarehouseError(f"warehouse: {error.diag.message_primary}; let its role create tables") from None
    except psycopg.Error as error:
        raise WarehouseError(f"{path}: {error.diag.message_primary or error}") from None
    if stranger:
        raise WarehouseError(
            "{}: a table would call {} of role {}, who owns neither the schema nor the database;"
            " name another one with its schema, or drop that one".format(path, *stranger)
        )


def _describe(connection: Connection, schema: str, models: Iterable[str]) -> dict[str, dict[str, object]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            statement("warehouse/warehouse_tables.sql"), {"schema": schema, "tables": list(models)}
        )
        return {str(row["name"]): row for row in cursor}


def _versions(
    connection: Connection, schema: str, targets: Iterable[Target]
) -> dict[str, list[TargetColumn]]:
    """The columns of the dimensions' tables of versions that are there."""
    found = _describe(
        connection, schema, [versions_name(target.name) for target in targets if not target.fact]
    )
    return {
        name: [TargetColumn.model_validate(column) for column in cast(list[object], row["columns"])]
        for name, row in found.items()
    }


def _target(model: Model, row: Mapping[str, object]) -> Target:
    fact = model.kind == "fact"
    added = set(ADDED_TO_FACTS) if fact else set[str]()
    columns = [TargetColumn.model_validate(column) for column in cast(list[object], row["columns"])]
    uniques = [Constraint.model_validate(unique) for unique in cast(list[object], row["uniques"])]
    primary = tuple(cast(list[str], row["primary_key"]))
    key = model.key or (() if fact else primary)
    if len(f"{model.name}_history".encode()) > _LONGEST_NAME:
        raise ModelError(
            f"{model.path}: the name leaves no room for {model.name}_history; 55 bytes are the most"
        )
    if not key:
        raise ModelError(f"{model.path}: say `-- key: …`, the columns that tell its rows apart")
    target = Target(
        name=model.name,
        fact=fact,
        key=key,
        columns=tuple(column for column in columns if column.name not in added),
        references=tuple(
            Reference.model_validate(reference) for reference in cast(list[object], row["references"])
        ),
        rules=tuple(Rule.model_validate(rule) for rule in cast(list[object], row["rules"])),
        rebuildable=tuple(Constraint.model_validate(each) for each in cast(list[object], row["rebuildable"])),
        uniques=tuple(each for each in uniques if added.isdisjoint(each.columns)),
        deferrable=bool(row["deferrable"]),
        bridge=model.kind == "bridge",
        untracked=model.untracked,
        max_deleted_share=model.max_deleted_share,
    )
    ours = {name: "boolean" if name == DELETED else "timestamptz" for name in added}
    for column in columns:
        name, type_ = column.name, base_of(column.type)
        if name in OF_HISTORY or type_ != ours.get(name, type_):
            raise ModelError(
                f"{model.path}: its table has a column {name}, which is what {model.name}_history adds;"
                f" write `{name} AS source_{name}`, and call it so in the table"
            )
    for name in key:
        if target.column(name) is None:
            raise ModelError(f"{model.path}: key column {name} is not in the warehouse table {model.name}")
    return target


def _check_versions_fit(schema: str, target: Target) -> None:
    """Refuse a fact whose table allows one row of a key only, which leaves no place for a second version."""
    if not target.fact:
        return
    numbered = {column.name for column in target.columns if column.numbered}
    for unique in target.uniques:
        if (numbered - set(target.key)).isdisjoint(unique.columns):
            raise WarehouseError(
                f"warehouse: {schema}.{target.name} keeps the versions of a row, which its {unique.name},"
                f" {unique.definition}, forbids; drop it, or add {RECORDED_AT} to its columns"
            )
