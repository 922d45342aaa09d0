"""Retry rejected rows with their stored values: what they referred to may have arrived since."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

from psycopg import sql

from pipeline.models.target import COMMITTED_AT
from pipeline.warehouse import rejected, staging
from pipeline.warehouse.counts import Merged
from pipeline.warehouse.limits import NO_LIMIT
from pipeline.warehouse.merge import merge
from pipeline.warehouse.table import Table


def retry(table: Table) -> Merged:
    """Merge the rejected rows that the table accepts now; returns how many are new or have changed.

    The batch's own rows have been merged before, and have resolved the rejected rows that they replace.
    """
    added = changed = versions = 0
    # If rows refer to each other, rows that this batch rejected may refer to retried ones.
    with_batch = table.refers_to_itself
    progresses = True
    while progresses:
        progresses = False
        for row_columns in _column_sets(table, with_batch=with_batch):
            merged, resolved = _retry_rows(table, row_columns, with_batch=with_batch)
            added, changed = added + merged.added, changed + merged.changed
            versions += merged.versions
            progresses = progresses or resolved > 0
        # An accepted row may be what a row that this batch rejected refers to.
        with_batch = True
    return Merged(added, changed, versions=versions)


def _column_sets(table: Table, *, with_batch: bool) -> list[list[str]]:
    """The distinct sets of columns that rejected rows have; they differ if the model has changed."""
    rows = table.execute("retry_column_sets.sql", now=sql.Literal(with_batch)).fetchall()
    return [cast(list[str], columns) for (columns,) in rows]


def _retry_rows(table: Table, row_columns: list[str], *, with_batch: bool) -> tuple[Merged, int]:
    """Merge the rejected rows of these columns; returns the counts and how many rows are resolved."""
    columns = tuple(_existing_columns(table, row_columns))
    if not set(table.target.key) <= set(columns):
        return Merged(), 0
    rows = replace(table, columns=columns)
    staging.stage_retried(rows, row_columns, with_batch=with_batch)
    rejected.reject_violations(rows, is_retry=True)
    merged = merge(rows, NO_LIMIT, is_retry=True)
    return merged, rejected.resolve_accepted(rows, rows.stage)


def _existing_columns(table: Table, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        column = table.target.column(name)
        if (column and not column.generated) or (table.target.fact and name == COMMITTED_AT):
            yield name
