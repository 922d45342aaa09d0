"""Merge staged rows into a table that keeps its constraints: versions of facts, rows of dimensions."""

from typing import cast

import psycopg

from pipeline import refusals, rejected
from pipeline.table import Table


def merge_staged(table: Table, most: int, *, is_retry: bool = False) -> tuple[int, int, int]:
    """Merge all staged rows that Postgres takes, and reject the others.

    Returns how many rows are new, how many have changed and how many are rejected. Raises TooManyRefused
    where they are more than ``most``.
    """
    try:
        with table.connection.transaction():
            added, changed = _at_once(table)
            return added, changed, 0
    except psycopg.Error as error:
        if not refusals.is_refusal(error):
            raise
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
    row = table.execute(_statement(table)).fetchone()
    if table.target.deferrable:
        table.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    added, changed = cast(list[int], row[0]) if row else (0, 0)
    return added, changed
