"""Load one table's rows of a batch, inside the load's transaction.

An empty table is filled directly. For any other table, and if Postgres rejects a row of a fill, the rows are
staged in a temporary table; those that break the contract are rejected, and the others are merged.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.lake.buckets import Bucket
from pipeline.messages import message
from pipeline.models.output import Output
from pipeline.postgres import each
from pipeline.warehouse import deletions, references, rejected, staging
from pipeline.warehouse.bisection import RejectionLimitExceeded
from pipeline.warehouse.copying import copy_in
from pipeline.warehouse.counts import Counts, Growth, Merged
from pipeline.warehouse.fill import fill
from pipeline.warehouse.limits import Limits
from pipeline.warehouse.merge import merge
from pipeline.warehouse.retry import retry
from pipeline.warehouse.table import Table
from pipeline.words import counted


def load_table(
    table: Table,
    output: Output,
    processed: Bucket,
    progress: Callable[[int], None],
    limits: Limits,
    were_empty: set[str],
    *,
    retries: bool,
) -> tuple[Counts, Growth]:
    """Load a model's output into its table; with ``retries`` also rows that earlier batches rejected.

    ``progress`` is called with the number of rows copied so far. ``were_empty`` are the tables that were
    empty when this load began; this one is added to them if it was. Raises WarehouseError if the limits are
    exceeded.
    """
    read = output.rows + output.rejected_rows
    row_limit = limits.rejected_rows(read, complete=output.complete)
    with _naming_table(table, read):
        rejected_rows = rejected.record_transform_rejections(table, output, processed)
        deletions.stage(table, output, processed)
        added = changed = deleted = removed = versions = 0
        if output.rows or output.complete or output.deleted or output.rejects_all:
            merged, accepted = _fill_or_merge(table, output, processed, progress, row_limit, were_empty)
            added, changed, versions = merged.added, merged.changed, merged.versions
            rejected_rows += merged.rejected
            if not table.keeps_history:
                _align_untracked(table)
            deleted, removed = deletions.apply(table, output, accepted, limits)
            rejected.resolve(table, output, accepted)
        all_rejected = output.complete and rejected_rows == read > 1
        if rejected_rows > row_limit or (all_rejected and limits.rejected_share < 1):
            raise RejectionLimitExceeded(f"{rejected_rows:,}", rejected.most_common_reason(table))
        if retries and not output.complete:
            retried = retry(table)
            added, changed = added + retried.added, changed + retried.changed
            versions += retried.versions
            rejected_rows = rejected.count(table) if rejected_rows else 0
            table.execute("mark_rejected_again.sql")
    name = table.target.name
    counts = Counts(
        table=name, read=read, added=added, changed=changed, deleted=deleted, rejected=rejected_rows
    )
    # A fact has a row for each version.
    rows = added + changed + deleted if table.target.fact else added - removed
    return counts, Growth(rows, versions)


def _fill_or_merge(
    table: Table,
    output: Output,
    processed: Bucket,
    progress: Callable[[int], None],
    row_limit: int,
    were_empty: set[str],
) -> tuple[Merged, sql.Identifier]:
    """Bring the batch's rows in; returns the counts, and the relation that holds the accepted rows."""

    def copy_files() -> int:
        rows = processed.dataset(output.files)
        return copy_in(table.connection, table.name, output.columns, rows, progress)

    def copy_stage() -> int:
        return table.execute("fill_from_stage.sql").rowcount

    is_empty = output.rows > 0 and table.is_empty()
    proves = references.lock(table, output.rows)
    can_fill = is_empty and _refers_only_to(table, were_empty)
    if is_empty:
        were_empty.add(table.target.name)
    if can_fill and (filled := fill(table, output.rows, copy_files, proves=proves)) is not None:
        return filled, table.name
    rejected_rows = staging.stage(table, output, processed, progress, row_limit)
    rejected_rows += rejected.reject_violations(table)
    if can_fill and (filled := fill(table, output.rows, copy_stage, proves=proves)) is not None:
        return filled._replace(rejected=rejected_rows), table.name
    merged = merge(table, row_limit, proven=proves)
    return merged._replace(rejected=rejected_rows + merged.rejected), table.stage


def _align_untracked(table: Table) -> None:
    """Give a dimension's rows the untracked values of their versions, which may be out of date."""
    if names := table.target.untracked:
        old, new, both = each("t.{0}", names), each("v.{0}", names), each("{0} = v.{0}", names)
        table.execute("align_untracked.sql", assignments=both, old=old, new=new)


def _refers_only_to(table: Table, were_empty: set[str]) -> bool:
    """Whether the table refers only to itself and to these tables.

    To drop a reference locks the table that it points to, which others may be reading unless it was empty. So
    may this one, if it was emptied beside full ones.
    """
    return all(
        table.is_target_of(each) or (each.to_schema == table.schema and each.to_table in were_empty)
        for each in table.target.references
    )


@contextmanager
def _naming_table(table: Table, read: int) -> Iterator[None]:
    """Turn an error of Postgres into one line that names the table, and no value."""
    where = f"warehouse: table {table.target.name}"
    try:
        yield
    except RejectionLimitExceeded as error:
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
