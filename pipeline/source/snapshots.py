"""One moment of the source, exported so that every reader sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from pipeline.columns import Frozen
from pipeline.errors import PipelineError, SnapshotLost
from pipeline.postgres import Connection, once, statement, transaction
from pipeline.source.hashing import HashKey

# Milliseconds that a reader waits for somebody who waits in turn for the batch to be read.
_PATIENCE = 3_000


class Identity(Frozen):
    """Whose transaction ids a watermark counts in; a restored copy is another one."""

    system: str
    timeline: int
    database: str
    database_oid: int

    def is_same_database(self, other: Identity) -> bool:
        """Whether both are one database by name, be it promoted or created again meanwhile."""
        return (self.system, self.database) == (other.system, other.database)

    def __str__(self) -> str:
        return f"database {self.database} of system {self.system}"


class Snapshot(Frozen):
    """One moment of the source that every table of a batch is read at."""

    name: str
    xmin: int
    xmax: int
    taken_at: datetime
    system: str
    timeline: int
    database: str
    database_oid: int
    wal: int
    standby: bool
    keeps_commit_times: bool = False
    started_at: datetime

    @property
    def identity(self) -> Identity:
        """Whose moment it is."""
        return Identity.model_validate(self.model_dump(include=set(Identity.model_fields)))


@contextmanager
def snapshot(url: str, key: HashKey | None = None) -> Iterator[tuple[Connection, Snapshot]]:
    """Hold one moment of the source open; others read it by its name, and hash with the same key."""
    with (
        transaction(url, "source", reading=True) as connection,
        connection.cursor(row_factory=class_row(Snapshot)) as cursor,
    ):
        row = cursor.execute(statement("source/snapshot.sql")).fetchone()
        assert row is not None  # noqa: S101  a query without FROM has one row
        if key:
            key.put(connection)
        yield connection, row


def identify(url: str) -> Identity | None:
    """Which source answers there; None where none does at once."""
    with (
        suppress(PipelineError, psycopg.Error),
        once(url, "source") as connection,
        connection.cursor(row_factory=class_row(Snapshot)) as cursor,
    ):
        row = cursor.execute(statement("source/snapshot.sql")).fetchone()
        return row.identity if row else None
    return None


@contextmanager
def adopt(url: str, name: str, key: HashKey | None = None) -> Iterator[Connection]:
    """A connection of one's own that sees the snapshot of that name, and gives way to who alters tables."""
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(transaction(url, "source", reading=True, snapshot=name))
        except (psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
            raise SnapshotLost(f"source: snapshot {name} has ended; start the run again") from None
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_PATIENCE))
        if key:
            key.put(connection)
        yield connection
