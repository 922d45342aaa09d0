"""Rows that left a model's result: facts end, a bridge's rows are deleted, and dimensions' rows stay."""

from psycopg import sql

from pipeline.buckets import Bucket
from pipeline.copying import copy_in
from pipeline.errors import WarehouseError
from pipeline.table import Table
from pipeline.transform import Output, columns_of
from pipeline.words import counted

_GONE = sql.Identifier("pg_temp", "gone_keys")
# So many rows may be deleted whatever their share is.
_A_FEW = 1_000


def stage(table: Table, output: Output, processed: Bucket) -> None:
    """Take the keys that left the result; rejected rows that have them are retried no more."""
    if output.gone:
        table.execute("stage_gone.sql")
        keys = columns_of(table.target, table.target.key)
        copy_in(table.connection, _GONE, keys, processed.dataset(output.gone), lambda _: None)
        table.execute("resolve_gone_keys.sql")


def end(table: Table, output: Output, max_share: float) -> int:
    """End what left the result, now that the batch's rows are in; returns how many.

    Raises WarehouseError where that is more than ``max_share`` of a table: a source that was restored
    empty must not empty the warehouse.
    """
    if not (table.target.fact or table.target.bridge):
        return 0
    replaced, gone = ("delete_replaced.sql", "delete_gone.sql")
    if table.target.fact:
        replaced, gone = ("mark_deleted.sql", "mark_gone.sql")
    ended = table.execute(replaced).rowcount if output.replaces else 0
    ended += table.execute(gone).rowcount if output.gone else 0
    if ended > _A_FEW and max_share < 1 and ended > max_share * (ended + _left(table)):
        raise WarehouseError(
            f"warehouse: table {table.target.name}: {counted(ended, 'row')} would be deleted, more than"
            f" the share {max_share:g} of it that is allowed at once; nothing was loaded; if the source has"
            " really deleted them, run once with TOTESYS_MAX_DELETED_SHARE=1"
        )
    return ended


def _left(table: Table) -> int:
    """How many rows the table shows now."""
    shown = f"{table.target.name}_current" if table.target.fact else table.target.name
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table.schema, shown))
    row = table.connection.execute(query).fetchone()
    return int(str(row[0])) if row else 0
