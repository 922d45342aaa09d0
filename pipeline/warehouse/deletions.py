"""Delete rows that left a model's result.

A fact's row gets a last version, a bridge's row is deleted. A dimension's row stays, because facts refer to
it; only its history ends.
"""

import psycopg
import pyarrow.dataset as ds
from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.lake.buckets import Bucket
from pipeline.models.output import Output, columns_of
from pipeline.models.target import REPEATED_KEY
from pipeline.postgres import count_in, each, template
from pipeline.warehouse import bisection, staging
from pipeline.warehouse.copying import copy_in
from pipeline.warehouse.limits import ALWAYS_ALLOWED, Limits
from pipeline.warehouse.table import Table
from pipeline.words import counted

_DELETED_KEYS = sql.Identifier("pg_temp", "deleted_keys")


def stage(table: Table, output: Output, processed: Bucket) -> None:
    """Stage the deleted keys, and resolve rejected rows that have them."""
    if output.deleted or output.replaces:
        table.execute("stage_deleted_keys.sql")
    if output.deleted:
        _copy_keys(table, processed.dataset(output.deleted))
        table.connection.execute(sql.SQL("ANALYZE {}").format(_DELETED_KEYS))
        table.execute("resolve.sql", keys=_DELETED_KEYS, now=sql.Literal(False))


def _copy_keys(table: Table, rows: ds.Dataset) -> None:
    """Copy deleted keys. Those that the table's types cannot hold can only be keys of rejected rows."""
    keys = columns_of(table.target, table.target.key)
    try:
        with table.connection.transaction():
            copy_in(table.connection, _DELETED_KEYS, keys, rows, lambda _: None)
    except psycopg.Error as error:
        if not bisection.is_rejection(error, of_values=True):
            raise
        staging.copy_valid_keys(table, _DELETED_KEYS, keys, rows)


def apply(table: Table, output: Output, accepted: sql.Identifier, limits: Limits) -> tuple[int, int]:
    """Delete the rows that left the result, after the batch's rows are in.

    ``accepted`` is the relation of the batch's rows. Raises WarehouseError if more rows would be deleted than
    the limits allow: a source that was restored empty must not empty the warehouse. Returns how many were
    deleted, and how many of a bridge are gone from the table.
    """
    was_filled = table.target.fact and accepted == table.name
    if was_filled or not table.keeps_history or not (output.deleted or output.replaces):
        return 0, 0
    relation, is_live = _live_rows(table)
    if output.replaces:
        parts = {"stage": accepted, "live": relation, "is_live": is_live}
        table.execute("find_deleted_keys.sql", **parts, same_repeated_key=_same_repeated_key(table))
    deleted, removed = _delete(table, accepted)
    share = limits.deleted_share_of(table.target)
    if deleted > ALWAYS_ALLOWED and share < 1 and deleted > share * _count_before(table):
        raise WarehouseError(
            f"warehouse: table {table.target.name}: {counted(deleted, 'row')} would be deleted, more than"
            f" the share {share:g} of it that is allowed at once; nothing was loaded; if that is intended,"
            ' run once with max_deleted_share 1 (`make run ARGS="--max-deleted-share 1"`), or allow it'
            " permanently by `-- max_deleted_share: 1` at the head of the model"
        )
    return deleted, removed


def _same_repeated_key(table: Table) -> sql.Composable:
    """The condition that a rejected row r is of a repeated key that equals that of t, in any spelling.

    Each part is one equation, so that Postgres can hash the rows; CASE keeps other keys from being cast.
    """
    if not table.target.has_uncertain_key:
        return sql.SQL("false")
    text = sql.SQL(
        "(CASE WHEN r.by_load AND starts_with(r.reason, {reason}) THEN r.key ->> {name} END)::{type}"
    )
    return sql.SQL(" AND ").join(
        column.equality.between(
            text.format(reason=REPEATED_KEY, name=name, type=template(column.type)), each("t.{0}", [name])
        )
        for name in table.target.key
        if (column := table.target.column(name))
    )


def _delete(table: Table, accepted: sql.Identifier) -> tuple[int, int]:
    if table.target.fact:
        return table.execute_by_place("delete_fact_rows.sql", stage=accepted).rowcount, 0
    removed = table.execute("delete_bridge_rows.sql", stage=accepted).rowcount if table.target.bridge else 0
    return table.execute("end_dimension_versions.sql", stage=accepted).rowcount, removed


def _live_rows(table: Table) -> tuple[sql.Identifier, sql.SQL]:
    """The relation that holds the rows that are not deleted, and the condition that selects them."""
    if table.target.fact:
        return table.name, template("t.superseded_at IS NULL AND NOT t.deleted")
    return table.versions, template("t.valid_to IS NULL")


def _count_before(table: Table) -> int:
    """How many rows the table had before the batch, without deleted ones."""
    relation, _ = _live_rows(table)
    begins, ends = map(sql.Identifier, table.target.span)
    is_deleted = sql.SQL("deleted" if table.target.fact else "false")
    parts = {"begins": begins, "ends": ends, "is_deleted": is_deleted}
    return count_in(table.execute("count_before.sql", relation=relation, **parts))
