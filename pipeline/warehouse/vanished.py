"""Rows that left a model's result.

A fact's get a last version, a bridge's are deleted. A dimension's stay in their table, because facts refer
to them, while their history ends.
"""

from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.lake.buckets import Bucket
from pipeline.models.output import Output, columns_of
from pipeline.postgres import template
from pipeline.warehouse.copying import copy_in
from pipeline.warehouse.table import Table
from pipeline.words import counted

_GONE = sql.Identifier("pg_temp", "gone_keys")
# So many rows may be deleted whatever their share is.
_A_FEW = 1_000


def stage(table: Table, output: Output, processed: Bucket) -> None:
    """Take the keys that left the result; rejected rows that have them are retried no more."""
    if output.gone or output.replaces:
        table.execute("stage_gone.sql")
    if output.gone:
        keys = columns_of(table.target, table.target.key)
        copy_in(table.connection, _GONE, keys, processed.dataset(output.gone), lambda _: None)
        table.connection.execute(sql.SQL("ANALYZE {}").format(_GONE))
        table.execute("resolve_gone_keys.sql")


def end(table: Table, output: Output, rows: sql.Identifier, max_share: float) -> int:
    """End what left the result, now that the batch's rows are in; returns how many.

    ``rows`` is where those are. Raises WarehouseError where that is more than ``max_share`` of a table: a
    source that was restored empty must not empty the warehouse.
    """
    was_empty = table.target.fact and rows == table.name
    if was_empty or not table.keeps_history or not (output.gone or output.replaces):
        return 0
    relation, is_live = _live(table)
    if output.replaces:
        table.execute("find_gone.sql", stage=rows, live=relation, is_live=is_live)
    if table.target.fact:
        ended = table.execute("mark_gone.sql", stage=rows).rowcount
    else:
        if table.target.bridge:
            table.execute("delete_gone.sql", stage=rows)
        ended = table.execute("end_gone_versions.sql", stage=rows).rowcount
    if ended > _A_FEW and max_share < 1 and ended > max_share * (ended + _left(table)):
        raise WarehouseError(
            f"warehouse: table {table.target.name}: {counted(ended, 'row')} would be deleted, more than"
            f" the share {max_share:g} of it that is allowed at once; nothing was loaded; if that is meant,"
            ' run once with max_deleted_share 1 (`make run ARGS="--max-deleted-share 1"`), or allow it for'
            " good by `-- max_deleted_share: 1` at the head of the model"
        )
    return ended


def _live(table: Table) -> tuple[sql.Identifier, sql.SQL]:
    """Where the rows stand that have not left the result, and which of those there they are."""
    if table.target.fact:
        return table.name, template("t.superseded_at IS NULL AND NOT t.deleted")
    return table.versions, template("t.valid_to IS NULL")


def _left(table: Table) -> int:
    """How many rows are left."""
    relation, is_live = _live(table)
    query = sql.SQL("SELECT count(*) FROM {} AS t WHERE {}").format(relation, is_live)
    row = table.connection.execute(query).fetchone()
    return int(str(row[0])) if row else 0
