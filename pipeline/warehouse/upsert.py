"""Merge staged rows into a table that keeps its constraints: versions of facts, rows of dimensions."""

from contextlib import suppress

import psycopg
from psycopg import sql

from pipeline.warehouse import refusals, rejected, swaps
from pipeline.warehouse.refusals import TooManyRefused
from pipeline.warehouse.table import Table

_IN_COMMON = (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation)


def merge_staged(table: Table, most: int, *, is_retry: bool = False) -> tuple[int, int, int]:
    """Merge all staged rows that Postgres takes, and reject the others.

    Returns how many rows are new, how many have changed and how many are rejected. Raises TooManyRefused
    where they are more than ``most``.
    """
    added, changed, lost = _merge(table, most, is_retry=is_retry)
    if table.target.fact or not table.keeps_history:
        return added, changed, lost
    # A row that comes back as it was has not changed, and yet gets a version.
    same_key = table.target.same_key("t", "s")
    staged = sql.SQL("{} AS s INNER JOIN {} AS t ON {}").format(table.stage, table.name, same_key)
    recorded = table.execute("record_versions.sql", touched=staged).rowcount
    return added, max(changed, recorded - added), lost


def _merge(table: Table, most: int, *, is_retry: bool) -> tuple[int, int, int]:
    try:
        with table.connection.transaction():
            return (*_at_once(table), 0)
    except psycopg.Error as error:
        if not refusals.is_refusal(error):
            raise
        refused = error
    if isinstance(refused, _IN_COMMON) and not (table.target.fact or is_retry):
        # One row at most is simply to blame; several may have swapped what only one may have.
        with suppress(TooManyRefused), table.connection.transaction():
            return _one_by_one(table, 1, is_retry=is_retry)
        if merged := swaps.merge_without_uniques(table, _statement(table)):
            return merged
    return _one_by_one(table, most, is_retry=is_retry)


def _one_by_one(table: Table, most: int, *, is_retry: bool) -> tuple[int, int, int]:
    text = table.text(_statement(table), chosen=refusals.CHOSEN)
    added, changed = refusals.find(table.connection, text, table.stage, most)
    return added, changed, rejected.reject_refused(table, is_retry=is_retry)


def _statement(table: Table) -> str:
    if table.target.fact:
        return "add_versions.sql"
    return "merge_dimension.sql" if table.values else "add_keys.sql"


def _at_once(table: Table) -> tuple[int, int]:
    """All of them in one statement; what can be checked at its end is not checked row by row."""
    if table.target.deferrable:
        table.connection.execute("SET CONSTRAINTS ALL DEFERRED")
    counts = refusals.counts(table.execute(_statement(table)).fetchone())
    if table.target.deferrable:
        table.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return counts
