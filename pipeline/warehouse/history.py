"""What the engine adds to a warehouse's tables, so that every version of their rows can be queried.

A fact's versions stand in its own table, a dimension's in ``<dimension>_version`` beside it.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import cast

import psycopg
from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.models.target import (
    ADDED_TO_FACTS,
    RECORDED_AT,
    SUPERSEDED_AT,
    Target,
    TargetColumn,
    key_json,
    version_index,
    versions_name,
)
from pipeline.postgres import Connection, each, exists, identifiers, statement, template
from pipeline.warehouse import upgrades
from pipeline.words import counted

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _There:
    """What is there already: columns of tables and views and of indexes by name, and bodies of functions.

    ``unique`` are unique indexes by table and name. Functions count that are parallel safe, as all of ours
    are.
    """

    columns: Mapping[str, Sequence[str]]
    indexed: Mapping[str, Sequence[str]]
    unique: Collection[tuple[str, str]]
    functions: Mapping[str, str]
    as_of_views: dict[str, list[str]]
    is_open_to_readers: bool


def ensure(
    connection: Connection,
    schema: str,
    targets: Collection[Target],
    kept: Mapping[str, Sequence[TargetColumn]],
) -> None:
    """Give tables what their history needs; nothing happens where it is there already.

    ``kept`` are the columns of the tables of versions that are there. Raises WarehouseError.
    """
    there = _survey(connection, schema)
    has_views = _may_make_views(connection, as_of_schema(schema))
    for target in targets:
        with _refusing(schema, target):
            if target.fact:
                _ensure_of_fact(connection, schema, target, there)
            else:
                versions = {column.name: column for column in kept.get(versions_name(target.name), ())}
                _ensure_of_dimension(connection, schema, target, versions, there)
            _make_as_of(connection, schema, target, there)
            if has_views:
                _make_as_of_view(connection, schema, target, there)
    _drop_moved(connection)


@contextmanager
def _refusing(schema: str, target: Target) -> Iterator[None]:
    """Say in one line why a table cannot have a history, and what to do."""
    table, key = f"warehouse: {schema}.{target.name}", ", ".join(target.key)
    try:
        yield
    except psycopg.OperationalError:
        raise
    except psycopg.errors.UniqueViolation:
        both = "" if target.fact else f" and {versions_name(target.name)} with the views that read them"
        raise WarehouseError(
            f"{table} holds more than one version of a key ({key}) at one moment; correct the model's"
            f" `-- key:`, or drop the table{both}, which is then filled anew"
        ) from None
    except psycopg.errors.UndefinedObject as error:  # an operator class
        raise WarehouseError(
            f"{table} cannot have the key {key}: {error.diag.message_primary}; name other columns in the"
            " model's `-- key:`, or declare the column as text"
        ) from None
    except psycopg.Error as error:
        raise WarehouseError(
            f"{table} cannot have a history: {error.diag.message_primary}; if its columns were changed on"
            f" purpose, drop its {target.name}_* views and {as_of_schema(schema)}.{target.name}, they are"
            " made anew"
        ) from None


def _survey(connection: Connection, schema: str) -> _There:
    functions = connection.execute(
        "SELECT f.proname::text, f.prosrc FROM pg_proc AS f INNER JOIN pg_namespace AS n"
        " ON f.pronamespace = n.oid WHERE n.nspname = %s AND f.proparallel = 's'",
        (schema,),
    ).fetchall()
    unique = connection.execute(
        "SELECT t.relname::text, x.relname::text FROM pg_index AS i"
        " INNER JOIN pg_class AS t ON i.indrelid = t.oid INNER JOIN pg_class AS x ON i.indexrelid = x.oid"
        " INNER JOIN pg_namespace AS n ON t.relnamespace = n.oid WHERE n.nspname = %s AND i.indisunique",
        (schema,),
    ).fetchall()
    return _There(
        columns=_columns_of(connection, schema, "rpv"),
        indexed=_columns_of(connection, schema, "iI"),
        unique=[(str(table), str(index)) for table, index in unique],
        functions={str(name): str(body) for name, body in functions},
        as_of_views=_columns_of(connection, as_of_schema(schema), "v"),
        is_open_to_readers=upgrades.is_open_to_readers(connection),
    )


def _columns_of(connection: Connection, schema: str, kinds: str) -> dict[str, list[str]]:
    """The columns of the schema's relations of these kinds (``relkind``), in their order."""
    rows = connection.execute(
        "SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum)"
        " FROM pg_class AS c INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
        " INNER JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE n.nspname = %s AND c.relkind = ANY(%s) GROUP BY c.relname",
        (schema, list(kinds)),
    ).fetchall()
    return {str(view): cast(list[str], columns) for view, columns in rows}


def _ensure_of_fact(connection: Connection, schema: str, target: Target, there: _There) -> None:
    names = {column.name for column in target.columns}
    views = [f"{target.name}_current", f"{target.name}_history"]
    has_views = all(names <= set(there.columns.get(view, ())) for view in views)
    indexed = there.indexed.get(version_index(target), ())
    has_other_key = bool(indexed) and list(indexed) != [*target.key, RECORDED_AT]
    # A table that an earlier release made says of no version when it ended.
    ends_versions = has_other_key or SUPERSEDED_AT not in there.columns[target.name]
    if has_views and not has_other_key and set(ADDED_TO_FACTS) <= set(there.columns[target.name]):
        return
    if has_other_key:
        index = sql.Identifier(schema, version_index(target))
        connection.execute(sql.SQL("DROP INDEX {}").format(index))
    names_in = _names(schema, target)
    connection.execute(statement("warehouse/fact_history.sql").format(**names_in))
    if ends_versions:
        _end_versions(connection, target, names_in)


def _end_versions(connection: Connection, target: Target, names_in: Mapping[str, sql.Composable]) -> None:
    started = monotonic()
    ended = connection.execute(statement("warehouse/end_versions.sql").format(**names_in)).rowcount
    if ended:
        seconds = monotonic() - started
        _logger.info("%s: noted when %s ended, in %.0f s", target.name, counted(ended, "version"), seconds)


def _ensure_of_dimension(
    connection: Connection, schema: str, target: Target, kept: Mapping[str, TargetColumn], there: _There
) -> None:
    names_in = _names(schema, target)
    if not kept:
        connection.execute(statement("warehouse/dimension_versions.sql").format(**names_in))
    view = f"{target.name}_history"
    shown = list(there.columns.get(view, ()))
    if retyped := [column for column in target.columns if _has_other_type(column, kept)]:
        as_of = sql.Identifier(as_of_schema(schema), target.name)
        for ours in (sql.Identifier(schema, view), as_of):
            connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(ours))
        there.as_of_views.pop(target.name, None)
        shown = []
    for column in retyped:
        _alter(connection, schema, target, "ALTER COLUMN {0} TYPE {1} USING {0}::{1}", column)
    added = [column for column in target.columns if column.name not in kept]
    for column in added:
        _alter(connection, schema, target, "ADD COLUMN {0} {1}", column)
    if not kept:
        _begin(connection, target, names_in)
    elif added:
        assignments = each("{0} = s.{0}", [column.name for column in added])
        connection.execute(
            statement("warehouse/add_to_versions.sql").format(**names_in, assignments=assignments)
        )
    if kept:
        _index_versions(connection, schema, target, there)
    wanted = ["valid_from", "valid_to", "deleted", *(column.name for column in target.columns)]
    if missing := [name for name in wanted if name not in shown]:
        # Whoever reads the view keeps it: it can be replaced as long as its columns keep their places.
        names = sql.SQL(",\n    ").join(map(sql.Identifier, [*shown, *missing]))
        connection.execute(statement("warehouse/dimension_history.sql").format(**names_in, shown=names))


def _has_other_type(column: TargetColumn, kept: Mapping[str, TargetColumn]) -> bool:
    known = kept.get(column.name)
    return known is not None and (known.type, known.collation) != (column.type, column.collation)


def _alter(connection: Connection, schema: str, target: Target, action: str, column: TargetColumn) -> None:
    type_ = f"{column.type} COLLATE {column.collation}" if column.collation else column.type
    altered = template(action).format(sql.Identifier(column.name), template(type_))
    versions = sql.Identifier(schema, versions_name(target.name))
    connection.execute(sql.SQL("ALTER TABLE {} {}").format(versions, altered))


def _index_versions(connection: Connection, schema: str, target: Target, there: _There) -> None:
    """Make the index of a dimension's versions anew where the model has another key."""
    old = [index for table, index in there.unique if table == versions_name(target.name)]
    if [there.indexed[index] for index in old] == [[*target.key, "valid_from"]]:
        return
    for index in old:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(schema, index)))
    _make_version_index(connection, _names(schema, target))


def _make_version_index(connection: Connection, names_in: Mapping[str, sql.Composable]) -> None:
    query = sql.SQL("CREATE UNIQUE INDEX ON {versions} ({key}, valid_from)")
    connection.execute(query.format(versions=names_in["versions"], key=names_in["key"]))


def _begin(connection: Connection, target: Target, names_in: Mapping[str, sql.Composable]) -> None:
    """Give each row its first version, after those that earlier releases kept as JSON."""
    _make_version_index(connection, names_in)
    if exists(connection, "etl.superseded"):
        _move(connection, target, names_in)
    connection.execute(statement("warehouse/start_versions.sql").format(**names_in))


def _move(connection: Connection, target: Target, names_in: Mapping[str, sql.Composable]) -> None:
    """Move what earlier releases kept; it stays there, and a line says so, where its types refuse it."""
    try:
        with connection.transaction():
            connection.execute(statement("warehouse/move_versions.sql").format(**names_in))
            connection.execute("DELETE FROM etl.superseded WHERE table_name = %s", (target.name,))
    except psycopg.DataError as error:
        _logger.warning(
            "%s: its earlier versions stay in etl.superseded, as they do not fit its columns: %s",
            target.name,
            error.diag.message_primary,
        )


def _drop_moved(connection: Connection) -> None:
    """Drop the table of versions that earlier releases kept, once all of them have been moved."""
    if exists(connection, "etl.superseded"):
        row = connection.execute("SELECT EXISTS (SELECT FROM etl.superseded)").fetchone()
        if row == (False,):
            connection.execute("DROP TABLE etl.superseded")


def _make_as_of(connection: Connection, schema: str, target: Target, there: _There) -> None:
    """Make the function <table>_as_of(moment), where it is not there as it is made now."""
    moment: sql.Composable = sql.SQL("(SELECT etl.known($1, {}))").format(sql.Literal(schema))
    if not there.is_open_to_readers:
        moment = sql.SQL("$1")
    body = _as_of(schema, target, moment).as_string(connection)
    if there.functions.get(f"{target.name}_as_of") != body:
        # A literal, because a quoted body could end in the middle of some column's name.
        names_in = _names(schema, target)
        row_type = names_in["current"] if target.fact else names_in["table"]
        parts = {"body": sql.Literal(body), "row_type": row_type}
        connection.execute(statement("warehouse/as_of_function.sql").format(**names_in, **parts))


def _as_of(schema: str, target: Target, moment: sql.Composable) -> sql.Composed:
    """A query of the table's rows at a moment, which is an SQL expression."""
    file = "fact_as_of.sql" if target.fact else "dimension_as_of.sql"
    return statement(f"warehouse/{file}").format(**_names(schema, target), moment=moment)


def as_of_schema(schema: str) -> str:
    """The schema of the views that show the moment a reader has chosen."""
    return "as_of" if schema == "public" else f"{schema}_as_of"


def _make_as_of_view(connection: Connection, schema: str, target: Target, there: _There) -> None:
    """Make the view of the table at the moment that etl.look_at has set."""
    if {column.name for column in target.columns} <= set(there.as_of_views.get(target.name, ())):
        return
    moment = sql.SQL("(SELECT etl.known(etl.looked_at(), {}))").format(sql.Literal(schema))
    view = sql.Identifier(as_of_schema(schema), target.name)
    make = sql.SQL("CREATE OR REPLACE VIEW {} AS {}").format(view, _as_of(schema, target, moment))
    try:
        with connection.transaction():
            connection.execute(make)
    except psycopg.errors.InvalidTableDefinition:  # a column has another name
        connection.execute(sql.SQL("DROP VIEW {}").format(view))
        connection.execute(make)


def _may_make_views(connection: Connection, schema: str) -> bool:
    """Make the schema of these views where it is missing; False where the role may not.

    Names that begin with pg_, as those of temporary schemas do, are Postgres' own.
    """
    if schema.startswith("pg_"):
        return False
    row = connection.execute(
        "SELECT has_schema_privilege(oid, 'create') FROM pg_namespace WHERE nspname = %s", (schema,)
    ).fetchone()
    if row is None:
        row = connection.execute("SELECT has_database_privilege(current_database(), 'create')").fetchone()
        if row == (True,):
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    if row != (True,):
        _logger.warning(
            "Schema %s is not made, as the warehouse's role lacks the right; docs/warehouse-role.sql has it",
            schema,
        )
    return row == (True,)


def _names(schema: str, target: Target) -> dict[str, sql.Composable]:
    """What the statements of this module name."""
    columns = [column.name for column in target.columns]
    return {
        "table": sql.Identifier(schema, target.name),
        "versions": sql.Identifier(schema, versions_name(target.name)),
        "current": sql.Identifier(schema, f"{target.name}_current"),
        "history": sql.Identifier(schema, f"{target.name}_history"),
        "as_of": sql.Identifier(schema, f"{target.name}_as_of"),
        "index": sql.Identifier(version_index(target)),
        "name": sql.Literal(target.name),
        "key": identifiers(target.key),
        "key_json": key_json(target.key, sql.SQL("t")),
        "same_key": target.same_key("t", "s"),
        "columns": identifiers(columns),
        "columns_of_version": each("(version).{0}", columns),
        "columns_of_present": each("present.{0}", columns),
    }
