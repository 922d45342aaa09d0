"""Merge staged rows into a table that keeps its constraints.

A fact gets a new version of each row that differs. A dimension's row is updated, and its new version goes to
the table of versions.
"""

from contextlib import suppress

import psycopg
from psycopg import sql

from pipeline.warehouse import bisection, references, rejected, swaps
from pipeline.warehouse.bisection import RejectionLimitExceeded
from pipeline.warehouse.counts import Merged
from pipeline.warehouse.table import Table

_CONFLICTS = (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation)


def merge(table: Table, row_limit: int, *, is_retry: bool = False, proven: bool = False) -> Merged:
    """Merge all staged rows that Postgres accepts, and reject the others.

    With ``proven`` their references are locked and proven. Raises RejectionLimitExceeded if it rejects more
    than ``row_limit`` rows.
    """
    merged = _merge_rows(table, row_limit, is_retry=is_retry, proven=proven)
    if table.target.fact or not table.keeps_history:
        return merged
    same_key = table.target.same_key("t", "s")
    staged = sql.SQL("{} AS s INNER JOIN {} AS t ON {}").format(table.stage, table.name, same_key)
    versions = table.execute_by_place("record_versions.sql", touched=staged).rowcount
    # A deleted row that comes back unchanged is no update, but gets a new version.
    return merged._replace(changed=max(merged.changed, versions - merged.added), versions=versions)


def _merge_rows(table: Table, row_limit: int, *, is_retry: bool, proven: bool) -> Merged:
    """Merge the rows in one statement; if Postgres rejects some, without unique indexes or by bisection."""
    try:
        with table.connection.transaction():
            return _merge_all(table, proven=proven)
    except psycopg.Error as error:
        if not bisection.is_rejection(error):
            raise
        is_conflict = isinstance(error, _CONFLICTS)
    if is_conflict and not (table.target.fact or is_retry):
        # One conflicting row is rejected. Several may have swapped their unique values.
        with suppress(RejectionLimitExceeded), table.connection.transaction():
            return _merge_by_bisection(table, 1, is_retry=is_retry)
        if merged := swaps.merge_without_unique_indexes(table, _statement(table)):
            return merged
    return _merge_by_bisection(table, row_limit, is_retry=is_retry)


def _merge_all(table: Table, *, proven: bool) -> Merged:
    with table.constraints_at_end(), references.unchecked(table.connection, proven=proven):
        added, changed = bisection.counts(table.execute_by_place(_statement(table)).fetchone())
    return Merged(added, changed)


def _merge_by_bisection(table: Table, row_limit: int, *, is_retry: bool) -> Merged:
    text = table.text(_statement(table), chosen=bisection.CHOSEN)
    added, changed = bisection.run(table.connection, text, table.stage, row_limit)
    return Merged(added, changed, rejected.reject_found(table, is_retry=is_retry))


def _statement(table: Table) -> str:
    if table.target.fact:
        return "merge_fact.sql"
    return "merge_dimension.sql" if table.values else "merge_dimension_keys.sql"
