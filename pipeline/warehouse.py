"""The warehouse: its catalogue as the contract, its watermark, and facts with history."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import cast
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row
from pydantic import TypeAdapter, ValidationError

from pipeline import history, upgrades
from pipeline.batches import Home, State, Watermark
from pipeline.errors import ConcurrentRunError, ModelError, WarehouseBusy, WarehouseError
from pipeline.models import SCHEMA_FILE, Model, with_meaning
from pipeline.postgres import SAFE_PATH, Connection, exists, identifiers, statement, template, transaction
from pipeline.target import (
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
from pipeline.types import Frozen, base_of

_LOCK = "totesys-etl"
# Postgres cuts longer ones off without a word.
_LONGEST_NAME = 63


class Loaded(Frozen):
    """What a table was last computed with: the model, and its result where it is kept."""

    fingerprint: str
    result: State | None = None


class Lock:
    """Keeps other runs away from a warehouse, by a transaction that is held open."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check(self) -> None:
        """Raise ConcurrentRunError where the lock is gone, because its connection is."""
        try:
            self._connection.execute("SELECT")
        except psycopg.OperationalError as error:
            raise ConcurrentRunError(
                "warehouse: the connection that keeps other runs away was lost, and nothing more is loaded"
                f" without it: {' '.join(str(error).split())}; run again"
            ) from None


@contextmanager
def lock(url: str, schema: str, minutes: int = 0) -> Iterator[Lock]:
    """Keep other runs away from this schema of the warehouse for as long as the block runs.

    The lock is a transaction's, so that it works through a pooler, too. Raises WarehouseBusy where
    another run is still at work after so many minutes.
    """
    held = ExitStack()
    connection = held.enter_context(transaction(url, "warehouse"))
    try:
        # Never 0, which is for ever to Postgres.
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{60_000 * minutes + 1}ms",))
        try:
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s), hashtext(%s))", (_LOCK, schema))
        except psycopg.errors.LockNotAvailable:
            raise WarehouseBusy("another run is at work on this warehouse; let it finish") from None
        yield Lock(connection)
    finally:
        # What was done stays done, also where this connection is gone meanwhile.
        with suppress(psycopg.OperationalError):
            held.close()


def prepare(url: str, schema: str, models: Mapping[str, Model], folder: Path) -> dict[str, Target]:
    """Make whatever tables are missing and return the contract of each model's table.

    Raises WarehouseError where a table is missing and the models' ``schema.sql`` does
    not make it, ModelError where a model's key is not in its table.
    """
    with transaction(url, "warehouse") as connection:
        # Serialized: two first runs at once would both make the same tables.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (_LOCK + " prepare",))
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
        stranger = connection.execute(statement("strangers.sql")).fetchone()
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
        cursor.execute(statement("warehouse_tables.sql"), {"schema": schema, "tables": list(models)})
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


def home(url: str, schema: str) -> Home:
    """Where a schema's batches go; without an id where this release has prepared nothing yet."""
    with transaction(url, "warehouse") as connection:
        kept = None
        if exists(connection, "etl.warehouse"):
            kept = connection.execute("SELECT warehouse_id::text FROM etl.warehouse").fetchone()
        with connection.cursor(row_factory=class_row(Home)) as cursor:
            names = {"schema": schema, "id": kept[0] if kept else ""}
            found = cursor.execute(statement("home.sql"), names).fetchone()
    assert found is not None  # noqa: S101  a query without FROM has one row
    return found


def become(connection: Connection, former: Home) -> None:
    """Go on as the warehouse that was here before it was lost; not once there are batches."""
    connection.execute(
        "UPDATE etl.warehouse SET warehouse_id = %s::uuid WHERE NOT EXISTS (SELECT FROM etl.watermark)",
        (former.id,),
    )


def watermark(url: str, schema: str) -> Watermark | None:
    """How far a schema of the warehouse is, or None before its first batch."""
    with (
        transaction(url, "warehouse") as connection,
        connection.cursor(row_factory=class_row(Watermark)) as cursor,
    ):
        return cursor.execute(
            "SELECT batch_id, manifest, snapshot_at, source_xmin FROM etl.watermark WHERE schema_name = %s",
            (schema,),
        ).fetchone()


def last_batch(url: str, schema: str) -> str | None:
    """The batch that a schema of the warehouse is at."""
    known = watermark(url, schema)
    return known.batch_id if known else None


def loaded(url: str, schema: str) -> dict[str, Loaded]:
    """What a schema's tables were last computed with, by table."""
    with transaction(url, "warehouse") as connection:
        rows = connection.execute(
            "SELECT table_name, fingerprint, result FROM etl.model WHERE schema_name = %s", (schema,)
        ).fetchall()
    return {
        str(name): Loaded(fingerprint=str(fingerprint), result=_kept(result))
        for name, fingerprint, result in rows
    }


def _kept(result: object) -> State | None:
    """Where a result lies; one that is no place below the bucket is none, and all rows are compared anew."""
    try:
        return TypeAdapter(State | None).validate_python(result)
    except ValidationError:
        return None
