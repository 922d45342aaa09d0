"""Bring one table's rows of a batch into the warehouse, inside the load's transaction.

Into an empty table the rows go straight. Otherwise, and where Postgres refuses some of them, they are
staged with their types, those that break a reference or a rule are rejected, and the others are
merged; whichever of them Postgres refuses is found and rejected, too. Rows that were rejected before
are tried again at the end.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from pipeline.columns import Frozen
from pipeline.errors import WarehouseError
from pipeline.lake.buckets import Bucket
from pipeline.messages import message
from pipeline.models.output import Output
from pipeline.warehouse import rejected, staging, upsert, vanished
from pipeline.warehouse.copying import copy_in
from pipeline.warehouse.fill import fill
from pipeline.warehouse.refusals import ANY_NUMBER, TooManyRefused
from pipeline.warehouse.retry import retry
from pipeline.warehouse.table import Table
from pipeline.words import counted

# A table may lose so many rows whatever its share of them is.
_A_FEW = 1_000


class Counts(Frozen):
    """What a load did to one warehouse table; ``changed`` counts versions or updates.

    ``missed`` are those rows of it that ordinary runs should have brought.
    """

    table: str
    read: int = 0
    added: int = 0
    changed: int = 0
    deleted: int = 0
    rejected: int = 0
    missed: int = 0

    @property
    def story(self) -> str:
        """What happened, in words."""
        said = ("added", "changed", "deleted", "rejected")
        parts = [f"{number:,} {word}" for word in said if (number := getattr(self, word))]
        return ", ".join(parts) or "nothing new"


def merge(
    table: Table,
    output: Output,
    processed: Bucket,
    progress: Callable[[int], None],
    max_share: float,
    filled: set[str],
    max_deleted_share: float,
    *,
    is_waiting: bool,
) -> Counts:
    """Bring in all rows that the warehouse takes, reject the others, and try rejected ones again.

    ``progress`` is told how many rows have been copied so far; ``is_waiting`` says that rows of the table
    were rejected before. ``filled`` are tables that were empty before this load; this one may join them.
    Raises WarehouseError where the table would lose all its rows, more than ``max_share`` of those read, or
    more than ``max_deleted_share`` of its own by deletion.
    """
    read = output.rows + output.rejected_rows
    most = max(_A_FEW, int(max_share * read)) if max_share < 1 else ANY_NUMBER
    with _in_one_line(table, read):
        lost = rejected.reject_unfit(table, output, processed)
        added = changed = deleted = 0
        vanished.stage(table, output, processed)
        if output.rows or output.complete or output.gone or output.rejects_all:
            added, changed, refused, rows = _bring(table, output, processed, progress, most, filled)
            lost += refused
            deleted = vanished.end(table, output, rows, max_deleted_share)
            _resolve(table, output, rows)
        if lost > most or (max_share < 1 and output.complete and lost == read > 1):
            raise TooManyRefused(f"{lost:,}", rejected.usual_reason(table))
        if is_waiting and not output.complete:
            more, others = retry(table)
            added, changed = added + more, changed + others
            lost = rejected.count(table) if lost else 0
            table.execute("rejected_again.sql")
    return Counts(
        table=table.target.name, read=read, added=added, changed=changed, deleted=deleted, rejected=lost
    )


def _bring(
    table: Table,
    output: Output,
    processed: Bucket,
    progress: Callable[[int], None],
    most: int,
    filled: set[str],
) -> tuple[int, int, int, sql.Identifier]:
    """Bring the batch's rows in.

    Returns how many are new, have changed and are rejected, and where the accepted ones are.
    """

    def copy() -> int:
        rows = processed.dataset(output.files)
        return copy_in(table.connection, table.name, output.columns, rows, progress)

    is_empty = output.rows > 0 and table.is_empty()
    fills = is_empty and _refers_to(table, filled)
    if is_empty:
        filled.add(table.target.name)
    if fills and (added := fill(table, output.rows, copy)) is not None:
        return added, 0, 0, table.name
    lost = staging.stage(table, output, processed, progress, most)
    lost += rejected.reject_broken(table)
    if fills:
        added_to_empty = fill(table, output.rows, lambda: table.execute("fill_from_stage.sql").rowcount)
        if added_to_empty is not None:
            return added_to_empty, 0, lost, table.name
    added, changed, refused = upsert.merge_staged(table, most)
    return added, changed, lost + refused, table.stage


def _refers_to(table: Table, filled: set[str]) -> bool:
    """Whether it refers to itself and these tables only.

    To take a reference away locks the table that it points to, which others read unless it was empty.
    """
    return all(
        table.is_named_by(each) or (each.to_schema == table.schema and each.to_table in filled)
        for each in table.target.references
    )


def _resolve(table: Table, output: Output, rows: sql.Identifier) -> None:
    """Close what was rejected before and has come in now, or has left the source."""
    table.execute("resolve_accepted.sql", stage=rows)
    if output.complete or output.rejects_all:
        table.execute("resolve_gone.sql", complete=sql.Literal(output.complete))


@contextmanager
def _in_one_line(table: Table, read: int) -> Iterator[None]:
    """Name the table, and no value, in whatever stops the load."""
    where = f"warehouse: table {table.target.name}"
    try:
        yield
    except TooManyRefused as error:
        raise WarehouseError(
            f"{where}: {error.number} of {counted(read, 'row')} would be rejected ({error.reason});"
            " correct the model, the table or the source, or allow it by TOTESYS_MAX_REJECTED_SHARE=1;"
            " nothing was loaded"
        ) from None
    except (
        psycopg.DataError,
        psycopg.IntegrityError,
        psycopg.ProgrammingError,
        psycopg.errors.ProgramLimitExceeded,
    ) as error:
        raise WarehouseError(f"{where}: {message(error)}") from None
