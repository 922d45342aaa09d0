"""The warehouse: its catalogue as the contract, its watermark, and facts with history."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import cast

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row

from pipeline import upgrades
from pipeline.batches import State, Watermark
from pipeline.errors import ConcurrentRunError, ModelError, WarehouseBusy, WarehouseError
from pipeline.models import SCHEMA_FILE, Model, with_meaning
from pipeline.postgres import SAFE_PATH, Connection, identifiers, statement, template, transaction
from pipeline.types import Frozen

RECORDED_AT, DELETED = "recorded_at", "deleted"
_LOCK = "totesys-etl"
_HISTORY = {True: "fact_history.sql", False: "dimension_history.sql"}
# Postgres cuts longer ones off without a word.
_LONGEST_NAME = 63


class Loaded(Frozen):
    """What a table was last computed with: the model, and its result where it is kept."""

    fingerprint: str
    result: State | None = None


class Operator(Frozen):
    """An operator of the warehouse with its schema, by which it is called wherever it stands."""

    in_schema: str = "pg_catalog"
    name: str = "="

    @property
    def call(self) -> sql.Composed:
        """How it is written between two values."""
        return sql.SQL("OPERATOR({}.{})").format(sql.Identifier(self.in_schema), template(self.name))


class TargetColumn(Frozen):
    """A warehouse column; ``filled`` by a default, ``category`` as in ``pg_type``, ``labels`` of an enum.

    ``equality`` is what its type's indexes compare by, ``numbered`` where the default
    is another one for each row.
    """

    name: str
    type: str
    category: str
    labels: tuple[str, ...]
    required: bool
    filled: bool
    generated: bool
    numbered: bool = False
    equality: Operator = Operator()

    @property
    def is_builtin(self) -> bool:
        """Whether its values compare by an operator of Postgres' own, which needs no schema."""
        return self.equality.in_schema == Operator().in_schema


class Constraint(Frozen):
    """What a table demands of its rows; ``definition`` makes it again where it is ``rebuildable``."""

    name: str
    columns: tuple[str, ...]
    definition: str
    rebuildable: bool


class Reference(Constraint):
    """A foreign key; ``equality`` compares a column that is referred to with one of ours, for each pair."""

    to_schema: str
    to_table: str
    to_columns: tuple[str, ...]
    equality: tuple[Operator, ...]


class Rule(Constraint):
    """A CHECK constraint."""

    expression: str


class Target(Frozen):
    """A warehouse table: the contract for the rows that go into it.

    ``key`` is the business key; ``columns`` leave out what the pipeline adds itself. ``uniques`` are
    its unique and exclusion constraints and indexes beside that. Of a ``bridge`` rows are deleted that
    leave its model's result. Rows that differ in ``untracked`` columns only stay.
    """

    name: str
    fact: bool
    key: tuple[str, ...]
    columns: tuple[TargetColumn, ...]
    references: tuple[Reference, ...]
    rules: tuple[Rule, ...]
    rebuildable: tuple[Constraint, ...]
    uniques: tuple[Constraint, ...] = ()
    deferrable: bool = False
    bridge: bool = False
    untracked: tuple[str, ...] = ()

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """All that the load takes away before it fills an empty table, and adds after."""
        known = (*self.rebuildable, *self.references, *self.rules)
        return tuple(constraint for constraint in known if constraint.rebuildable)

    @property
    def contract(self) -> str:
        """Changes with what the table takes: its key, columns, types and NULLs."""
        meaning = self.model_dump_json(
            include={"key", "columns"}, exclude={"columns": {"__all__": {"equality", "numbered"}}}
        )
        return hashlib.sha256(meaning.encode()).hexdigest()[:16]

    def column(self, name: str) -> TargetColumn | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


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
    with transaction(url, "warehouse") as connection, _permitted():
        connection.execute("SET LOCAL client_min_messages TO warning")
        # Serialized: two first runs at once would both make the same tables.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (_LOCK + " prepare",))
        _make_missing(connection, schema, models, folder / SCHEMA_FILE)
        described = _describe(connection, schema, models)
        if missing := sorted(models.keys() - described.keys()):
            raise WarehouseError(
                f"warehouse: {schema}.{missing[0]} is missing; add it to {folder / SCHEMA_FILE}"
            )
        targets = {name: _target(models[name], described[name]) for name in models}
        for target in targets.values():
            _check_versions_fit(schema, target)
            _add_history(connection, schema, target)
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


def _make_missing(connection: Connection, schema: str, models: Mapping[str, Model], path: Path) -> None:
    """Make the schema etl and the models' tables, where they are not there."""
    # A role that owns the schema need not be allowed to make schemas.
    if connection.execute("SELECT to_regnamespace('etl')").fetchone() == (None,):
        connection.execute("CREATE SCHEMA etl")
    upgrades.upgrade(connection, schema)
    known = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
    if known is None:
        raise WarehouseError(
            f"warehouse: there is no schema {schema}; create it or set TOTESYS_WAREHOUSE_SCHEMA"
        )
    if models.keys() - _describe(connection, schema, models).keys():
        _apply_schema(connection, schema, path)


def _apply_schema(connection: Connection, schema: str, path: Path) -> None:
    """Run the models' own DDL, whose bare names are those of the schema: the one place that calls them."""
    if not path.exists():
        raise WarehouseError(f"warehouse: tables are missing and there is no {path} to make them")
    try:
        connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))
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


def _target(model: Model, row: Mapping[str, object]) -> Target:
    fact = model.kind == "fact"
    added = {RECORDED_AT, DELETED} if fact else set[str]()
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
                f"warehouse: {schema}.{target.name} keeps every version of a row, which its {unique.name},"
                f" {unique.definition}, forbids; drop it, or add {RECORDED_AT} to its columns"
            )


def _add_history(connection: Connection, schema: str, target: Target) -> None:
    """Give a table what history needs; nothing happens where it is there already."""
    index = sql.Identifier(schema, version_index(target))
    indexed = _indexed(connection, index)
    other_key = bool(indexed) and indexed != [*target.key, RECORDED_AT]
    if other_key:
        connection.execute(sql.SQL("DROP INDEX {}").format(index))
    names = [column.name for column in target.columns]
    version = [sql.SQL("(version).{}").format(sql.Identifier(name)) for name in names]
    parts: dict[str, sql.Composable] = {
        "table": sql.Identifier(schema, target.name),
        "columns": identifiers(names),
        "key": identifiers(target.key),
        "current": sql.Identifier(schema, f"{target.name}_current"),
        "history": sql.Identifier(schema, f"{target.name}_history"),
        "as_of": sql.Identifier(schema, f"{target.name}_as_of"),
        "index": sql.Identifier(version_index(target)),
        "name": sql.Literal(target.name),
        "key_json": key_json(target.key, sql.SQL("d")),
        "columns_of_row": sql.SQL(", ").join(version),
    }
    try:
        if other_key or not _has_history(connection, schema, target):
            connection.execute(statement(_HISTORY[target.fact]).format(**parts))
        if target.fact:
            _add_as_of(connection, schema, target, parts)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise WarehouseError(
            f"warehouse: {schema}.{target.name} cannot have a history: {error.diag.message_primary};"
            f" if its columns were changed on purpose, drop its {target.name}_* views, they are made anew"
        ) from None


def _add_as_of(
    connection: Connection, schema: str, target: Target, parts: Mapping[str, sql.Composable]
) -> None:
    """Make the function <fact>_as_of(moment), where it is not there as it is made now."""
    body = statement("fact_as_of.sql").format(**parts).as_string(connection)
    known = connection.execute(
        "SELECT f.prosrc FROM pg_proc AS f INNER JOIN pg_namespace AS n ON f.pronamespace = n.oid"
        " WHERE n.nspname = %s AND f.proname = %s",
        (schema, f"{target.name}_as_of"),
    ).fetchone()
    if known != (body,):
        # A literal, because a quoted body could end in the middle of some column's name.
        function = statement("fact_as_of_function.sql").format(**parts, as_of_body=sql.Literal(body))
        connection.execute(function)


def _has_history(connection: Connection, schema: str, target: Target) -> bool:
    """Whether the views are there and show every column that the table has by now."""
    views = [f"{target.name}_history", *([f"{target.name}_current"] if target.fact else [])]
    rows = connection.execute(
        "SELECT table_name::text, array_agg(column_name::text) FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = ANY(%s) GROUP BY table_name",
        (schema, views),
    ).fetchall()
    shown = {str(view): set(cast(list[str], columns)) for view, columns in rows}
    names = {column.name for column in target.columns}
    return all(names <= shown.get(view, set()) for view in views)


def _indexed(connection: Connection, index: sql.Identifier) -> list[str]:
    """The columns of an index; none where it is not there."""
    rows = connection.execute(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%s) ORDER BY attnum",
        (index.as_string(connection),),
    ).fetchall()
    return [str(name) for (name,) in rows]


def version_index(target: Target) -> str:
    """The name of the index that keeps a fact's versions apart and in order."""
    return f"{target.name}_version"


def key_json(key: Sequence[str], alias: sql.Composable) -> sql.Composed:
    """A row's key as one jsonb object with its values as text, as etl tables hold it."""
    texts = [sql.SQL("{}.{}::text").format(alias, sql.Identifier(name)) for name in key]
    return text_json(key, sql.SQL(", ").join(texts))


def text_json(names: Sequence[str], texts: sql.Composable) -> sql.Composed:
    """A jsonb object of any number of values, given as texts."""
    return sql.SQL("jsonb_object({}::text[], ARRAY[{}]::text[])").format(sql.Literal(list(names)), texts)


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
        str(name): Loaded.model_validate({"fingerprint": fingerprint, "result": result})
        for name, fingerprint, result in rows
    }
