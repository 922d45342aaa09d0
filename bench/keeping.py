"""Checks of what a program keeps of a source that changes: each compares its warehouse with the source."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import psycopg
from psycopg import sql

from bench.data import Source, statement
from bench.errors import BenchError
from bench.figures import DELETIONS, EARLIER, EDITS, ONE_MOMENT, REFERENCES

_PAUSE = 0.005


class Relations(NamedTuple):
    """Where a warehouse has what is compared; ``versions`` of the sales orders are all that it has."""

    schema: str
    present: str
    versions: str
    designs: str
    staff: str


# What dlt makes of the models; it and programs that copy tables keep no versions.
STAR = Relations("star", "fact_sales_order", "fact_sales_order", "dim_design", "dim_staff")
COPY = Relations("copied", "sales_order", "sales_order", "design", "staff")
OURS = Relations("public", "fact_sales_order_current", "fact_sales_order", "dim_design", "dim_staff")


class Loader(Protocol):
    """A program that loads a source into its own warehouse."""

    @property
    def warehouse(self) -> str:
        """The URL of its warehouse."""

    def run(self) -> dict[str, float]:
        """Run once."""


@dataclass(frozen=True)
class Changes:
    """Sales orders of the source before they change: one visibly, one silently, and one that is deleted."""

    edited: tuple[int, int]
    silent: tuple[int, int]
    deleted: tuple[int, int]


def change(source: Source) -> Changes:
    """Change the last three sales orders of the source, which nothing refers to."""
    with psycopg.connect(source.url) as connection:
        rows = connection.execute(statement("last_orders.sql")).fetchall()
        changes = Changes(*((int(key), int(units)) for key, units in rows))
        keys = {"edited": changes.edited[0], "silent": changes.silent[0], "deleted": changes.deleted[0]}
        for file in ("edit.sql", "edit_silently.sql", "delete_one.sql"):
            connection.execute(statement(file), keys)
    return changes


def check(source: Source, changes: Changes, loader: Loader, there: Relations) -> dict[str, float]:
    """Run the program while others write to the source; 1 for what it keeps, 0 for what it misses."""
    with _writing(source):
        loader.run()
    with psycopg.connect(loader.warehouse) as connection:

        def units(relation: str, order: tuple[int, int]) -> list[int]:
            query = statement("units.sql").format(relation=sql.Identifier(there.schema, relation))
            return [int(number) for (number,) in connection.execute(query, {"order": order[0]})]

        if units(there.present, changes.edited) != [changes.edited[1] + 1]:
            raise BenchError(f"the changed sales order {changes.edited[0]} has not arrived")
        kept = {
            EARLIER: changes.edited[1] in units(there.versions, changes.edited),
            DELETIONS: not units(there.present, changes.deleted),
            EDITS: units(there.present, changes.silent) == [changes.silent[1] + 1],
            REFERENCES: _one(connection, "references.sql", there),
            ONE_MOMENT: _one(connection, "one_moment.sql", there),
        }
    return {what: float(bool(is_kept)) for what, is_kept in kept.items()}


def _one(connection: psycopg.Connection, file: str, there: Relations) -> bool:
    designs, staff = (sql.Identifier(there.schema, name) for name in (there.designs, there.staff))
    query = statement(file).format(designs=designs, staff=staff)
    row = connection.execute(query, {"schema": there.schema}).fetchone()
    return bool(row and row[0])


@contextmanager
def _writing(source: Source) -> Iterator[None]:
    """While the block runs, transactions write one number to two tables, again and again."""
    ended = threading.Event()

    def write(connection: psycopg.Connection) -> None:
        for number in itertools.count(2):
            _write(connection, number)
            if ended.wait(_PAUSE):
                return

    with psycopg.connect(source.url, autocommit=True) as connection, ThreadPoolExecutor(1) as pool:
        _write(connection, 1)
        writer = pool.submit(write, connection)
        try:
            yield
        finally:
            ended.set()
        writer.result()


def _write(connection: psycopg.Connection, number: int) -> None:
    with connection.transaction():
        for file in ("number_designs.sql", "number_staff.sql"):
            connection.execute(statement(file), {"number": number})
