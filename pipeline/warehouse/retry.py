"""Try rejected rows again, with the values that they had: what was missing may have come since."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from psycopg import sql

from pipeline.models.target import COMMITTED_AT
from pipeline.warehouse import rejected, staging, upsert
from pipeline.warehouse.refusals import ANY_NUMBER
from pipeline.warehouse.table import Table


def retry(table: Table) -> tuple[int, int]:
    """Merge those of a table's rejected rows that are taken now; returns how many are new, and have changed.

    The batch's own rows are in already, and have resolved what they replace.
    """
    added, changed = 0, 0
    # Of rows that refer to each other, some may be in this batch.
    now = table.refers_to_itself
    accepted = True
    while accepted:
        accepted = False
        for columns in _column_sets(table, now=now):
            new, other, resolved = _retry_rows(table, columns, now=now)
            added, changed, accepted = added + new, changed + other, accepted or resolved > 0
        # Whatever came in may be what the batch's own rejected rows lacked.
        now = True
    return added, changed


def _column_sets(table: Table, *, now: bool) -> list[list[str]]:
    """The columns that rejected rows have, which differ where the model has changed since."""
    rows = table.execute("retried_columns.sql", now=sql.Literal(now)).fetchall()
    return [cast(list[str], columns) for (columns,) in rows]


def _retry_rows(table: Table, row_columns: list[str], *, now: bool) -> tuple[int, int, int]:
    """Merge the rejected rows of these columns; returns how many are new, have changed, and are resolved."""
    columns = tuple(_that_are_there(table, row_columns))
    if not set(table.target.key) <= set(columns):
        return 0, 0, 0
    rows = replace(table, columns=columns)
    staging.stage_retried(rows, row_columns, now=now)
    rejected.reject_broken(rows, is_retry=True)
    added, changed, _ = upsert.merge_staged(rows, ANY_NUMBER, is_retry=True)
    return added, changed, rows.execute("resolve_accepted.sql").rowcount


def _that_are_there(table: Table, names: list[str]) -> Iterator[str]:
    for name in names:
        column = table.target.column(name)
        if (column and not column.generated) or (table.target.fact and name == COMMITTED_AT):
            yield name
