"""What the engine adds to a warehouse's tables, so that every version of their rows can be queried.

A fact keeps its versions in its own table, a dimension in ``<dimension>_version`` beside it.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic

import psycopg
from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.messages import naming_functions
from pipeline.models.target import (
    ADDED_TO_FACTS,
    RECORDED_AT,
    SUPERSEDED_AT,
    Target,
    TargetColumn,
    begun_index,
    ended_index,
    version_index,
    versions_name,
)
from pipeline.postgres import Connection, count_in, each, statement, template
from pipeline.warehouse import as_of, own_objects, version_indexes
from pipeline.warehouse.altering import retype
from pipeline.warehouse.history_objects import Existing, names_of, read_existing
from pipeline.warehouse.schemas import view_schemas
from pipeline.words import counted

_logger = logging.getLogger(__name__)


def ensure(
    connection: Connection,
    schema: str,
    targets: Collection[Target],
    version_tables: Mapping[str, Sequence[TargetColumn]],
    homes: Collection[str],
) -> list[str]:
    """Create the history of each table as far as it is missing.

    ``version_tables`` are the columns of the existing tables of versions, by name, and ``homes`` the schemas
    to have views as of a moment. Returns the statements that grant others what they had on what is made
    again. Raises WarehouseError.
    """
    existing, grants = read_existing(connection, schema, view_schemas(schema)), list[str]()
    _refuse_rules(schema, targets, existing)
    for target in targets:
        with _one_line_errors(schema, target), naming_functions():
            if target.fact:
                _ensure_fact(connection, schema, target, existing)
            else:
                versions = version_tables.get(versions_name(target.name), ())
                grants += _ensure_dimension(connection, schema, target, versions, existing)
            as_of.ensure_function(connection, schema, target, existing)
            for home in homes:
                grants += as_of.ensure_view(connection, home, schema, target, existing)
    if existing.has_superseded:
        _drop_migrated(connection)
    return grants


def _refuse_rules(schema: str, targets: Collection[Target], existing: Existing) -> None:
    """Raise a WarehouseError for a rule on a table, which would change what a load writes, or stop it."""
    names = {name for target in targets for name in (target.name, versions_name(target.name))}
    for table, rule in existing.rules:
        if table in names:
            raise WarehouseError(
                f"warehouse: {schema}.{table} has the rule {rule}, which changes what a load writes;"
                f" DROP RULE {rule} ON {schema}.{table}, and make a trigger instead"
            )


@contextmanager
def _one_line_errors(schema: str, target: Target) -> Iterator[None]:
    """Raise a WarehouseError of one line that says why a table cannot have a history, and what to do."""
    table, key = f"warehouse: {schema}.{target.name}", ", ".join(target.key)
    try:
        yield
    except psycopg.errors.ProgramLimitExceeded as error:
        raise WarehouseError(
            f"{table} cannot have the key {key}: {error.diag.message_primary}; name other columns in the"
            " model's `-- key:`"
        ) from None
    except psycopg.OperationalError:
        raise
    except psycopg.errors.UniqueViolation:
        versions = "" if target.fact else f" and {versions_name(target.name)} with the views that read them"
        raise WarehouseError(
            f"{table} holds more than one version of a key ({key}) at one moment; correct the model's"
            f" `-- key:`, or drop the table{versions}, which the next run fills again"
        ) from None
    except psycopg.errors.UndefinedObject as error:  # an operator class
        raise WarehouseError(
            f"{table} cannot have the key {key}: {error.diag.message_primary}; name other columns in the"
            " model's `-- key:`, or declare the column as text"
        ) from None
    except psycopg.errors.FeatureNotSupported as error:
        raise WarehouseError(
            f"{table} cannot have a history: {error.diag.message_primary}; partition it by columns of its key"
            f" ({key}) or by recorded_at"
        ) from None
    except psycopg.Error as error:
        views = " and ".join(f"{home}.{target.name}" for home in view_schemas(schema))
        raise WarehouseError(
            f"{table} cannot have a history: {error.diag.message_primary}; if its columns were changed on"
            f" purpose, drop its {target.name}_* views and {views}, which the next run creates again"
        ) from None


def _ensure_fact(connection: Connection, schema: str, target: Target, existing: Existing) -> None:
    columns = {column.name for column in target.columns}
    views = [f"{target.name}_current", f"{target.name}_history"]
    has_views = all(
        columns <= set(existing.columns.get(view, ())) and (schema, view, target.name) in existing.read
        for view in views
    )
    indexes = version_index(target), begun_index(target), ended_index(target)
    _drop_unusable(connection, schema, target.name, indexes, existing)
    indexed = existing.indexed.get(version_index(target), ())
    has_other_key = bool(indexed) and list(indexed) != [*target.key, RECORDED_AT]
    table_columns = set(existing.columns[target.name])
    is_indexed = set(indexes) <= existing.indexed.keys()
    if has_views and is_indexed and not has_other_key and set(ADDED_TO_FACTS) <= table_columns:
        return
    if has_other_key:
        index = sql.Identifier(schema, version_index(target))
        connection.execute(sql.SQL("DROP INDEX {}").format(index))
    names = names_of(schema, target)
    connection.execute(statement("warehouse/fact_history.sql").format(**names))
    # An earlier release created tables without superseded_at.
    if has_other_key or SUPERSEDED_AT not in table_columns:
        _backfill_superseded_at(connection, target, names)


def _drop_unusable(
    connection: Connection, schema: str, table: str, indexes: Sequence[str], existing: Existing
) -> None:
    """Drop the indexes that a table which was renamed has kept, and unfinished ones, so that it gets them."""
    for index in map(existing.indexes.get, indexes):
        if index and (index.table != table or not index.is_valid):
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(schema, index.name)))
            del existing.indexed[index.name]


def _backfill_superseded_at(
    connection: Connection, target: Target, names: Mapping[str, sql.Composable]
) -> None:
    started = monotonic()
    if rows := count_in(connection.execute(sql.SQL("SELECT count(*) FROM {}").format(names["table"]))):
        _logger.info("%s: recording when versions ended, of %s", target.name, counted(rows, "row"))
    query = statement("warehouse/backfill_superseded_at.sql").format(**names)
    ended = connection.execute(query).rowcount
    if ended:
        seconds = monotonic() - started
        _logger.info("%s: recorded when %s ended, in %.0f s", target.name, counted(ended, "version"), seconds)


def _ensure_dimension(
    connection: Connection,
    schema: str,
    target: Target,
    version_columns: Sequence[TargetColumn],
    existing: Existing,
) -> list[str]:
    names = names_of(schema, target)
    versions = {column.name: column for column in version_columns}
    if not versions:
        connection.execute(statement("warehouse/dimension_versions.sql").format(**names))
    version_indexes.drop_stale(connection, schema, target, existing)
    grants = _retype_columns(connection, schema, target, versions, existing)
    added = [column for column in target.columns if column.name not in versions]
    for column in added:
        _alter(connection, schema, target, "ADD COLUMN {0} {1}", column)
    if not versions:
        _insert_first_versions(connection, target, names, has_superseded=existing.has_superseded)
    else:
        if added:
            assignments = each("{0} = s.{0}", [column.name for column in added])
            query = statement("warehouse/fill_version_columns.sql")
            connection.execute(query.format(**names, assignments=assignments))
        version_indexes.ensure_unique(connection, schema, target, existing)
    _drop_unusable(connection, schema, versions_name(target.name), [ended_index(target)], existing)
    if ended_index(target) not in existing.indexed:
        connection.execute(statement("warehouse/dimension_ended.sql").format(**names))
    version_indexes.ensure(connection, schema, target, existing)
    _ensure_history_view(connection, schema, target, names, existing)
    return grants


def _retype_columns(
    connection: Connection,
    schema: str,
    target: Target,
    versions: Mapping[str, TargetColumn],
    existing: Existing,
) -> list[str]:
    """Give the columns of versions their dimension's present types; the views on them are dropped first.

    Returns the statements that grant others what they had on these.
    """
    retyped = [column for column in target.columns if _has_other_type(column, versions)]
    if not retyped:
        return []
    views = [(schema, f"{target.name}_history"), *((home, target.name) for home in existing.views)]
    grants = own_objects.drop(connection, schema, views=views)
    for home in existing.views:
        existing.views[home].pop(target.name, None)
    existing.columns.pop(f"{target.name}_history", None)
    for column in retyped:
        _alter(connection, schema, target, "ALTER COLUMN {0} TYPE {1}", column, "{0}::{1}")
    return grants


def _has_other_type(column: TargetColumn, versions: Mapping[str, TargetColumn]) -> bool:
    version = versions.get(column.name)
    return version is not None and (version.type, version.collation) != (column.type, column.collation)


def _alter(
    connection: Connection, schema: str, target: Target, action: str, column: TargetColumn, cast: str = ""
) -> None:
    """Alter the table of versions; the action and the cast have the column's name as {0}, its type as {1}."""
    type_ = f"{column.type} COLLATE {column.collation}" if column.collation else column.type
    altered, explicit = (
        template(each).format(sql.Identifier(column.name), template(type_)) for each in (action, cast)
    )
    versions = sql.Identifier(schema, versions_name(target.name))
    retype(connection, sql.SQL("ALTER TABLE {} {}").format(versions, altered), explicit if cast else None)


def _ensure_history_view(
    connection: Connection,
    schema: str,
    target: Target,
    names: Mapping[str, sql.Composable],
    existing: Existing,
) -> None:
    """Create the view of all versions, or append the columns that it lacks; it reads the present table.

    The others keep their places, so that the view can be replaced while other objects depend on it.
    """
    view = f"{target.name}_history"
    shown = existing.columns.get(view, ())
    columns = ["valid_from", "valid_to", "deleted", *(column.name for column in target.columns)]
    missing = [name for name in columns if name not in shown]
    if missing or (schema, view, versions_name(target.name)) not in existing.read:
        listed = sql.SQL(",\n    ").join(map(sql.Identifier, [*shown, *missing]))
        connection.execute(statement("warehouse/dimension_history.sql").format(**names, shown=listed))


def _insert_first_versions(
    connection: Connection, target: Target, names: Mapping[str, sql.Composable], *, has_superseded: bool
) -> None:
    """Insert a first version of each row, after the versions that earlier releases kept as JSON."""
    version_indexes.create_unique(connection, names)
    if has_superseded:
        _migrate_versions(connection, target, names)
    connection.execute(statement("warehouse/first_versions.sql").format(**names))


def _migrate_versions(connection: Connection, target: Target, names: Mapping[str, sql.Composable]) -> None:
    """Move the versions of earlier releases; they stay, with a warning, if they do not fit the columns."""
    try:
        with connection.transaction():
            _logger.info("%s: moving the versions that an earlier release stored as JSON", target.name)
            connection.execute(statement("warehouse/migrate_versions.sql").format(**names))
            connection.execute("DELETE FROM etl.superseded WHERE table_name = %s", (target.name,))
    except psycopg.DataError as error:
        _logger.warning(
            "%s: its earlier versions stay in etl.superseded, as they do not fit its columns: %s",
            target.name,
            error.diag.message_primary,
        )


def _drop_migrated(connection: Connection) -> None:
    """Drop etl.superseded of earlier releases once it is empty."""
    row = connection.execute("SELECT EXISTS (SELECT FROM etl.superseded)").fetchone()
    if row == (False,):
        connection.execute("DROP TABLE etl.superseded")
