"""Tables without a changed block, which need no scan, by the source's WAL summaries.

Postgres 17 and later can keep summaries of the blocks that its WAL changes (``summarize_wal = on``). A change
that one snapshot shows and an earlier one does not is in the WAL between two positions: ``Marks.start`` of
the earlier batch, and the insert position that was read with the later snapshot. If summaries cover all that
WAL, and none names a file of a table, the table has exactly the rows that it had. A summary reaches from one
checkpoint to the next, so the first one may name blocks that changed before the start. Their tables are
scanned.
"""

from collections.abc import Mapping
from datetime import datetime
from time import monotonic, sleep
from typing import NamedTuple

import psycopg

from pipeline.columns import Frozen
from pipeline.postgres import Connection, select
from pipeline.source.snapshots import Snapshot

NO_SUMMARIES = "the source does not summarize its WAL (summarize_wal, Postgres 17 and later)"
STANDBY = "the source is a standby"
NO_START = "it is not known where in the WAL the changes since the last batch begin"
RESTARTED = "its server was restarted since the last batch"
NOT_COVERED = (
    "the WAL summaries end before the snapshot, and the role may not write a checkpoint (pg_checkpoint)"
)
LATE = "the source did not summarize its WAL within {} s of a checkpoint"
NOT_WORTH_IT = "the WAL summaries end before the snapshot, and scanning costs less than a checkpoint"
GAP = "WAL summaries of the time since the last batch are missing or cannot be read"
# The summarizer needs some milliseconds after a checkpoint.
_SUMMARIZER_SECONDS = 5
# Scanning so much costs more than a checkpoint that came too early.
_WORTH_A_CHECKPOINT = 256 * 1024 * 1024
# A summary may be removed or damaged, a right be revoked.
_UNREADABLE = (
    psycopg.errors.UndefinedFile,
    psycopg.errors.IoError,
    psycopg.errors.DataCorrupted,
    psycopg.errors.InsufficientPrivilege,
)


class Mark(Frozen):
    """A position in the WAL, and the next transaction id, read after it.

    Transactions from that id on have written only behind the position.
    """

    wal: int
    next_xid: int


class Marks(Frozen):
    """Where the WAL that a batch's successor has to examine begins.

    ``own`` was read with the batch's snapshot. ``start`` is before every change that the snapshot does not
    show; it is None where unknown. Positions are valid until the server is restarted (``started_at``) or
    recovers from a crash, which resets its statistics (``statistics_since``).
    """

    own: Mark
    start: Mark | None
    started_at: datetime
    statistics_since: datetime | None

    def continues(self, last: "Marks") -> bool:
        """Whether the server ran without interruption between ``last`` and these."""
        runs = {(each.started_at, each.statistics_since) for each in (last, self)}
        return len(runs) == 1 and self.own.wal >= last.own.wal


class Files(NamedTuple):
    """The files of a table: their numbers, and their size."""

    filenodes: frozenset[int]
    bytes: int


class Unchanged(NamedTuple):
    """The tables without a changed block; ``reason`` says why a run cannot know, and is None if it can."""

    tables: frozenset[str]
    reason: str | None = None


class _Found(Frozen):
    """A row of wal_summaries.sql."""

    gapless: bool
    complete: bool
    may_checkpoint: bool
    changed: frozenset[int]


def marks(snapshot: Snapshot, last: Marks | None) -> Marks | None:
    """The marks of a batch that follows a batch of the same source with the marks ``last``.

    A transaction that the snapshot does not show has an id of at least ``xmin``. None without summaries, and
    for a standby.
    """
    if snapshot.wal_inserted is None or snapshot.next_xid is None:
        return None
    own = Mark(wal=snapshot.wal_inserted, next_xid=snapshot.next_xid)
    found = Marks(
        own=own, start=None, started_at=snapshot.started_at, statistics_since=snapshot.statistics_since
    )
    known: list[Mark | None] = [own]
    if last and found.continues(last):
        known += [last.own, last.start]
    start = next((mark for mark in known if mark and mark.next_xid <= snapshot.xmin), None)
    return found.model_copy(update={"start": start})


def unchanged(
    connection: Connection,
    snapshot: Snapshot,
    last: Marks | None,
    tables: Mapping[str, Files],
    *,
    checkpoint: bool,
) -> Unchanged:
    """The tables that have no changed block since the batch with the marks ``last``.

    With ``checkpoint``, write one if that can show that large tables are unchanged, and the role may do so:
    Postgres writes summaries up to its last checkpoint.
    """
    now = marks(snapshot, last)
    if now is None:
        return Unchanged(frozenset(), STANDBY if snapshot.standby else NO_SUMMARIES)
    if last and not now.continues(last):
        return Unchanged(frozenset(), RESTARTED)
    if last is None or last.start is None:
        return Unchanged(frozenset(), NO_START)
    try:
        with connection.transaction():
            found = _examine(connection, snapshot, last.start, tables)
            is_useful = _is_checkpoint_useful(found, tables)
            if is_useful and not checkpoint:
                return Unchanged(frozenset())
            if is_useful:
                found = _after_checkpoint(connection, snapshot, last.start, tables)
    except _UNREADABLE:
        return Unchanged(frozenset(), GAP)
    if found.complete:
        return Unchanged(frozenset(_without_changes(found, tables)))
    if not found.gapless:
        return Unchanged(frozenset(), GAP)
    if is_useful:
        return Unchanged(frozenset(), LATE.format(_SUMMARIZER_SECONDS))
    return Unchanged(frozenset(), NOT_WORTH_IT if found.may_checkpoint else NOT_COVERED)


def _examine(connection: Connection, snapshot: Snapshot, start: Mark, tables: Mapping[str, Files]) -> _Found:
    values = {
        "start": start.wal,
        "until": snapshot.wal_inserted,
        "timeline": snapshot.timeline,
        "xmax": snapshot.xmax,
        "filenodes": sorted({number for files in tables.values() for number in files.filenodes}),
    }
    (found,) = select(connection, _Found, "source/wal_summaries.sql", **values)
    return found


def _without_changes(found: _Found, tables: Mapping[str, Files]) -> dict[str, Files]:
    """The tables of whose files no changed block is known."""
    if 0 in found.changed:
        return {}
    return {name: files for name, files in tables.items() if not files.filenodes & found.changed}


def _is_checkpoint_useful(found: _Found, tables: Mapping[str, Files]) -> bool:
    if found.complete or not found.gapless or not found.may_checkpoint:
        return False
    return sum(files.bytes for files in _without_changes(found, tables).values()) >= _WORTH_A_CHECKPOINT


def _after_checkpoint(
    connection: Connection, snapshot: Snapshot, start: Mark, tables: Mapping[str, Files]
) -> _Found:
    """Write a checkpoint, and wait until its WAL is summarized."""
    connection.execute("CHECKPOINT")
    deadline = monotonic() + _SUMMARIZER_SECONDS
    while not (found := _examine(connection, snapshot, start, tables)).complete and monotonic() < deadline:
        sleep(0.02)
    return found
