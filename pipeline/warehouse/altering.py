"""Alter the warehouse's tables, in the transaction of the caller: all changes, or none."""

import logging
from collections.abc import Iterable
from contextlib import suppress

import psycopg
from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.messages import comes_from_a_function, message
from pipeline.postgres import Connection
from pipeline.redaction import in_one_line
from pipeline.warehouse import dependents, dropped_columns, own_objects, removed, renames, schema_file
from pipeline.warehouse.alterations import Alterations
from pipeline.warehouse.evolve import Change

_logger = logging.getLogger(__name__)

# Why a constraint of a new column cannot be added. The last: the unique one that it needs was left out.
_LEFT_OUT = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.ExclusionViolation,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.InvalidForeignKey,
)


def apply(connection: Connection, found: Alterations) -> list[str]:
    """Apply the changes, and create the tables that schema.sql adds; returns GRANTs to repeat later.

    Raises WarehouseError for a change that nobody has allowed or that fails.
    """
    for line in found.unmatched:
        _logger.warning("%s", line)
    found.refuse()
    happen = [change for change in found.changes if change.happens]
    _warn(change for change in found.changes if not change.happens)
    dependents.drop_references(connection, found.schema, [found.under_former_names(each) for each in happen])
    for old, new in found.new_tables.items():
        renames.rename_table(connection, found.schema, old, new)
    for table, names in found.new_columns.items():
        renames.rename_columns(connection, found.schema, table, names)
    grants = _drop_tables(connection, found.schema, happen)
    # New columns can refer to new tables.
    is_created = found.executes_file and bool(happen) and _can_create(connection, found)
    replaced = {change.table for change in happen if change.replaces_views}
    grants += own_objects.drop(connection, found.schema, replaced)
    for change in happen:
        _execute(connection, change, change.statements)
        _logger.info("%s: %s", change.table, change.summary)
    for change in happen:
        _execute(connection, change, change.references)
    # A change may have dropped an index that is declared otherwise now.
    if is_created:
        _can_create(connection, found)
    elif found.executes_file:
        _create(connection, found)
    _forget_texts(connection, found.schema, happen)
    dropped_columns.mark_restored(
        connection, found.schema, [change.table for change in happen if change.restores]
    )
    constrained = [change.table for change in happen if change.kind == "constrained"]
    dropped_columns.restate(connection, found.schema, constrained)
    dropped = {change.table for change in happen if change.kind == "dropped"}
    newly_frozen = [name for name, at in found.frozen.items() if at is None and name not in dropped]
    removed.mark(connection, found.schema, found.models, newly_frozen)
    return grants


def _can_create(connection: Connection, found: Alterations) -> bool:
    """Execute schema.sql, with no effect where it fails; returns whether it succeeded."""
    with suppress(WarehouseError), connection.transaction():
        _create(connection, found)
        return True
    return False


def _create(connection: Connection, found: Alterations) -> None:
    schema_file.run(connection, [found.schema], found.path, found.text or None)


def _warn(changes: Iterable[Change]) -> None:
    for change in changes:
        _logger.warning(
            '%s: schema.sql differs, and %s; if it is meant, allow it by ALLOW="%s"',
            change.name, change.risk, change.consent,
        )  # fmt: skip


def _drop_tables(connection: Connection, schema: str, changes: Iterable[Change]) -> list[str]:
    """Drop the tables that are made again, and those without a model; returns the GRANTs of the former."""
    grants: list[str] = []
    for change in changes:
        if change.remakes:
            grants += removed.drop(connection, schema, change.table)
        elif change.kind == "dropped":
            removed.drop(connection, schema, change.table)
            removed.forget(connection, schema, change.table)
    return grants


def _forget_texts(connection: Connection, schema: str, changes: Iterable[Change]) -> None:
    """Forget the models of tables with another key or kind, so that no later run asks for consent again."""
    names = [change.table for change in changes if change.kind in {"rekeyed", "remade"}]
    if names:
        connection.execute(
            "UPDATE etl.model SET model_sql = NULL WHERE schema_name = %s AND table_name = ANY(%s)",
            (schema, names),
        )


def _execute(connection: Connection, change: Change, statements: Iterable[sql.Composed]) -> None:
    if change.kind in {"renamed", "dropped"}:
        return  # done already
    for each in statements:
        try:
            retype(connection, each, change.cast)
        except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege):
            raise
        except _LEFT_OUT as error:
            if change.kind != "added":
                raise _failed(connection, change, each, error) from None
            lacks_unique = isinstance(error, psycopg.errors.InvalidForeignKey)
            _logger.warning(
                "%s: was left out, as %s (%s): %s",
                change.name, "it lacks what it refers to" if lacks_unique else "rows violate it",
                message(error), each.as_string(connection),
            )  # fmt: skip
        except psycopg.Error as error:
            raise _failed(connection, change, each, error) from None


def retype(connection: Connection, alter: sql.Composed, cast: sql.Composable | None) -> None:
    """Run an ALTER COLUMN TYPE, or another statement if there is no cast.

    An explicit cast would cut texts, so it is used only where Postgres has no cast by assignment.
    """
    try:
        with connection.transaction():
            connection.execute(alter)
    except psycopg.errors.DatatypeMismatch:
        if cast is None:
            raise
        connection.execute(sql.SQL("{} USING {}").format(alter, cast))


def _failed(
    connection: Connection, change: Change, statement: sql.Composed, error: psycopg.Error
) -> WarehouseError:
    return WarehouseError(
        f"warehouse: {change.name}: {message(error)}{_dependent(error)}; nothing was changed, as this failed:"
        f" {statement.as_string(connection)}"
    )


def _dependent(error: psycopg.Error) -> str:
    """The objects that depend on what cannot be changed, as Postgres names them."""
    named = (psycopg.errors.DependentObjectsStillExist, psycopg.errors.FeatureNotSupported)
    if not isinstance(error, named) or comes_from_a_function(error) or not error.diag.message_detail:
        return ""
    return f": {in_one_line(error.diag.message_detail).rstrip('.')}"
