"""Export a snapshot of the source, and adopt it in other connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta

import psycopg

from pipeline import settings
from pipeline.columns import Frozen
from pipeline.errors import PipelineError, SnapshotLost
from pipeline.postgres import Connection, connections_closed, once, select, transaction
from pipeline.source.hashing import HashKey

# The clock of a server that takes over may be so much behind.
CLOCK_TOLERANCE = timedelta(minutes=1)


class Identity(Frozen):
    """Which source the transaction ids of a watermark belong to; a promoted or restored copy differs."""

    system: str
    timeline: int
    database: str
    database_oid: int

    def is_same_database(self, other: Identity) -> bool:
        """Whether both are the database of that name in one system, even if promoted or created again."""
        return (self.system, self.database) == (other.system, other.database)

    def __str__(self) -> str:
        return f"database {self.database} of system {self.system}"


class Snapshot(Identity):
    """The exported snapshot that every table of a batch is read at, and the source that exported it."""

    name: str
    xmin: int
    xmax: int
    taken_at: datetime
    wal: int
    standby: bool
    keeps_commit_times: bool = False
    next_xid: int | None = None
    wal_inserted: int | None = None
    statistics_since: datetime | None = None
    started_at: datetime

    @property
    def identity(self) -> Identity:
        """The source alone."""
        return Identity.model_validate(self.model_dump(include=set(Identity.model_fields)))

    def may_follow(self, other: Identity) -> bool:
        """Whether this is a standby that may replay what the other source had written.

        A standby reports an earlier timeline until its first restart point after its primary was promoted.
        """
        same = self.is_same_database(other) and self.database_oid == other.database_oid
        return self.standby and same and self.timeline <= other.timeline


@contextmanager
def snapshot(url: str, key: HashKey | None = None) -> Iterator[tuple[Connection, Snapshot]]:
    """Export a snapshot of the source and keep it open; ``adopt`` reads it by its name.

    At its end, no connection of the run to the source is left.
    """
    with connections_closed(url), transaction(url, "source", reading=True) as connection:
        (exported,) = select(connection, Snapshot, "source/snapshot.sql")
        if key:
            key.set_on(connection)
        yield connection, exported


def identify(url: str) -> Identity | None:
    """The identity of the source at a URL; None where it does not answer at the first attempt."""
    with suppress(PipelineError, psycopg.Error), once(url, "source") as connection:
        (found,) = select(connection, Snapshot, "source/snapshot.sql")
        return found.identity
    return None


@contextmanager
def adopt(url: str, name: str, key: HashKey | None = None) -> Iterator[Connection]:
    """Open another connection that reads an exported snapshot; waits for locks briefly.

    Raises SnapshotLost where the snapshot's transaction has ended.
    """
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(
                # The session that holds the lock may itself wait for this batch to end.
                transaction(
                    url,
                    "source",
                    reading=True,
                    snapshot=name,
                    lock_timeout=settings.load().table_lock_timeout,
                )
            )
        except (psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
            raise SnapshotLost(f"source: snapshot {name} has ended; start the run again") from None
        if key:
            key.set_on(connection)
        yield connection
