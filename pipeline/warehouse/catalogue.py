"""The models' tables: created if they are missing, and described as contracts."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import cast
from uuid import uuid4

from psycopg.rows import dict_row

from pipeline.columns import base_of
from pipeline.errors import ModelError, WarehouseError, all_mistakes
from pipeline.messages import naming_functions
from pipeline.models import marts as mart_files
from pipeline.models.library import SCHEMA_FILE, Model, is_stable, with_meaning
from pipeline.models.target import (
    ADDED_TO_FACTS,
    DELETED,
    LONGEST_NAME,
    OF_HISTORY,
    RECORDED_AT,
    Constraint,
    Reference,
    Rule,
    Target,
    TargetColumn,
    versions_name,
)
from pipeline.postgres import Connection, statement, transaction
from pipeline.warehouse import (
    alterations,
    altering,
    dropped_columns,
    history,
    ledger,
    own_objects,
    publications,
    readers,
    referring,
    renames,
    schema_file,
    upgrades,
)
from pipeline.warehouse.alterations import Alterations
from pipeline.warehouse.heads import check_key
from pipeline.warehouse.marts import NAMES


def prepare(
    url: str, schema: str, models: Mapping[str, Model], folder: Path, allow: Collection[str] = ()
) -> dict[str, Target]:
    """Create the missing tables, apply what has changed, and return the contract of each model's table.

    ``allow`` names changes that somebody consents to, such as ``drop dim_staff.manager``. Raises
    WarehouseError if one is missing, or if a table is missing and ``schema.sql`` in the models' folder does
    not create it, and ModelError if a model does not fit its table.
    """
    with transaction(url, "warehouse") as connection:
        return prepare_in(connection, schema, models, folder, allow)


def prepare_in(
    connection: Connection,
    schema: str,
    models: Mapping[str, Model],
    folder: Path,
    allow: Collection[str] = (),
) -> dict[str, Target]:
    """As :func:`prepare`, inside a transaction, which may be rolled back."""
    ledger.lock_for_prepare(connection)
    return create_tables(connection, schema, models, folder, allow=allow)


def create_tables(
    connection: Connection,
    schema: str,
    models: Mapping[str, Model],
    folder: Path,
    *,
    beside: str | None = None,
    allow: Collection[str] = (),
    for_readers: bool = True,
) -> dict[str, Target]:
    """As :func:`prepare_in`, without its lock; ``schema.sql`` may use types and functions of ``beside``, too.

    ``for_readers``: with the schema for readers and its marts.
    """
    with naming_functions():
        connection.execute("SET LOCAL client_min_messages TO warning")
        is_published = _open_ledger(connection, schema)
        found = None if beside else alterations.find(connection, schema, models, folder, allow)
        grants = altering.apply(connection, found) if found else []
        names = [*models, *map(versions_name, models)]
        described = _describe(connection, schema, names)
        if beside and models.keys() - described.keys():
            schema_file.run(connection, [schema, beside], folder / SCHEMA_FILE)
            described = _describe(connection, schema, names)
        _require(schema, models, described, folder / SCHEMA_FILE)
        targets = _targets(models, described)
        version_tables = _version_tables(described, targets.values())
        for target in targets.values():
            _check_uniques(schema, target)
        referring.refuse_impossible(models, targets)
        marts = mart_files.load(folder, {*targets, *NAMES})
        homes = readers.ensure_schemas(connection, schema, targets, marts, for_readers=for_readers)
        if is_published:
            publications.identify_rows(connection, schema, names)
        grants += history.ensure(connection, schema, targets.values(), version_tables, homes)
        if is_published:  # the tables of versions, too, which may be new
            publications.identify_rows(connection, schema, names)
        grants += readers.ensure(connection, schema, models, targets, marts, homes, found)
        own_objects.grant_again(connection, grants)
        if found:
            _record(connection, found, with_contracts(models, targets), targets, version_tables)
        return targets


def _require(schema: str, names: Iterable[str], described: Collection[str], file: Path) -> None:
    if missing := sorted({*names} - {*described}):
        raise WarehouseError(f"warehouse: {schema}.{missing[0]} is missing; add it to {file}")


def _record(
    connection: Connection,
    found: Alterations,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    version_tables: Mapping[str, Collection[TargetColumn]],
) -> None:
    """Record what the tables are computed with after these alterations, and which are to be restated.

    These are also those of which somebody has dropped a column, and perhaps added it again.
    """
    required = alterations.required_columns(connection, found)
    renames.keep_fingerprints(connection, found.schema, models, targets, found.new_columns, required)
    known = {name: target.columns for name, target in targets.items()} | dict(version_tables)
    columns = {name: [column.name for column in each] for name, each in known.items()}
    for name in (dropped_columns.incomplete_versions(columns) | {*found.replaced}) & targets.keys():
        if is_stable(models, name):
            dropped_columns.mark_restored(connection, found.schema, [name], models[name].fingerprint)
    ledger.record_texts(connection, found.schema, models)
    if found.text and (found.is_new or found.old_text is None):
        schema_file.record(connection, found.schema, found.text)


def targets(url: str, schema: str, models: Mapping[str, Model]) -> dict[str, Target]:
    """The contract of each model's table that exists; nothing is created."""
    with transaction(url, "warehouse") as connection:
        return existing_targets(connection, schema, models)


def existing_targets(connection: Connection, schema: str, models: Mapping[str, Model]) -> dict[str, Target]:
    """The contract of each model's table that exists, inside a transaction, which may be read-only."""
    return _targets(models, _describe(connection, schema, models))


def _targets(models: Mapping[str, Model], described: Mapping[str, Mapping[str, object]]) -> dict[str, Target]:
    """The contracts of tables; raises ModelError with a line for each mistake."""
    found = dict[str, Target]()
    with all_mistakes() as mistake:
        for name, model in models.items():
            with mistake():
                if name in described:
                    found[name] = _target(model, described[name])
    return found


def with_contracts(models: Mapping[str, Model], targets: Mapping[str, Target]) -> dict[str, Model]:
    """The models with the contracts of their tables and the fingerprints of the models that they read."""
    return with_meaning(models, {name: target.contract for name, target in targets.items()})


def _open_ledger(connection: Connection, schema: str) -> bool:
    """Create or upgrade the schema etl; returns whether the database has a publication."""
    query = (
        "SELECT ARRAY(SELECT nspname::text FROM pg_namespace WHERE nspname = ANY(%s)),"
        " EXISTS (SELECT FROM pg_publication)"
    )
    ((names, is_published),) = connection.execute(query, (["etl", schema],)).fetchall()
    existing = cast(list[str], names)
    # The role may own the schema etl without the privilege to create schemas.
    if "etl" not in existing:
        connection.execute("CREATE SCHEMA etl")
    upgrades.upgrade(connection, schema)
    connection.execute(
        "INSERT INTO etl.warehouse (warehouse_id) VALUES (%s) ON CONFLICT DO NOTHING", (uuid4(),)
    )
    if schema not in existing:
        raise WarehouseError(
            f"warehouse: there is no schema {schema}; create it or set TOTESYS_WAREHOUSE_SCHEMA"
        )
    return bool(is_published)


def _describe(connection: Connection, schema: str, models: Iterable[str]) -> dict[str, dict[str, object]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            statement("warehouse/warehouse_tables.sql"), {"schema": schema, "tables": list(models)}
        )
        return {str(row["name"]): row for row in cursor}


def _version_tables(
    described: Mapping[str, Mapping[str, object]], targets: Iterable[Target]
) -> dict[str, list[TargetColumn]]:
    """The columns of the dimensions' existing tables of versions, by name."""
    names = {versions_name(target.name) for target in targets if not target.fact}
    return {
        name: [TargetColumn.model_validate(column) for column in cast(list[object], row["columns"])]
        for name, row in described.items()
        if name in names
    }


def _target(model: Model, row: Mapping[str, object]) -> Target:
    """The contract of a model's table, which ``row`` describes."""
    fact = model.kind == "fact"
    added = set(ADDED_TO_FACTS) if fact else set[str]()
    columns = [TargetColumn.model_validate(column) for column in cast(list[object], row["columns"])]
    uniques = [Constraint.model_validate(unique) for unique in cast(list[object], row["uniques"])]
    primary = tuple(cast(list[str], row["primary_key"]))
    target = Target(
        name=model.name,
        fact=fact,
        key=model.key or (() if fact else primary),
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
        model_sql=model.sql,
    )
    _check_names(model, target, columns)
    return target


def _check_names(model: Model, target: Target, columns: Iterable[TargetColumn]) -> None:
    """Refuse a name, a key or a column that leaves no room for the table's history."""
    if len(f"{model.name}_history".encode()) > LONGEST_NAME:
        raise ModelError(
            f"{model.path}: the name is too long for the view {model.name}_history; use at most 55 bytes"
        )
    if not target.key:
        primary = (
            f"give table {model.name} a PRIMARY KEY in {SCHEMA_FILE} and, if it exists, by ALTER TABLE in the"
            " warehouse, or "
            if not target.fact
            else ""
        )
        raise ModelError(
            f"{model.path}:1: no business key; {primary}add a line `-- key: column[, …]` that names the"
            " columns identifying a row"
        )
    added = ADDED_TO_FACTS if target.fact else ()
    of_history = OF_HISTORY if target.fact else (*OF_HISTORY, DELETED)
    added_types = {name: "boolean" if name == DELETED else "timestamptz" for name in added}
    for column in columns:
        name, type_ = column.name, base_of(column.type)
        if name in of_history or type_ != added_types.get(name, type_):
            raise ModelError(
                f"{model.path}: its table has a column {name}, a name that {model.name}_history adds;"
                f" write `{name} AS source_{name}`, and rename it in the table"
            )
    check_key(model, target.key, [column.name for column in target.columns])


def _check_uniques(schema: str, target: Target) -> None:
    """Refuse a fact table with a unique index that forbids a second version of a row."""
    if not target.fact:
        return
    numbered = {column.name for column in target.columns if column.numbered}
    for unique in target.uniques:
        if (numbered - set(target.key)).isdisjoint(unique.columns):
            raise WarehouseError(
                f"warehouse: {schema}.{target.name} keeps the versions of a row, which its {unique.name},"
                f" {unique.definition}, forbids; drop it, or add {RECORDED_AT} to its columns"
            )
