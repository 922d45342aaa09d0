"""Decide why a table is read in full: because of the source, of the table, or of its last batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.columns import Column
from pipeline.errors import SourceError
from pipeline.lake.manifest import Manifest, TableBatch, Watermark
from pipeline.postgres import Connection
from pipeline.source import witnesses
from pipeline.source.catalogue import Table
from pipeline.source.changes import MAX_AGE, Slice
from pipeline.source.cursors import Cursor, Reached
from pipeline.source.snapshots import Snapshot

REQUESTED = "requested"
UNEXPLAINED = "its rows do not add up"
_ANOTHER_SOURCE = "another source than the last batch's"
_RESTORED = "the source was restored to an earlier state"
_UNPROVEN = "its server was restarted, and rows that were deleted before may be back"
_NO_CURSOR = "its server was restarted, and a cursor does not find changes that were undone"
_NO_WITNESS = "its server was restarted, and the rows read last no longer exist"
# Reasons that question whether rows read before ever existed in this source.
HISTORY_LOST = (_ANOTHER_SOURCE, _RESTORED, _NO_WITNESS)


@dataclass(frozen=True)
class BatchStart:
    """Where a batch starts: at the transaction ``since``, or with all rows for a ``reason``.

    After a restart of the source, the tables ``unproven`` may have rows again that were gone.
    """

    reason: str | None = None
    since: int | None = None
    restarted: bool = False
    unproven: frozenset[str] = frozenset()

    def reason_of(self, table: Table) -> str | None:
        """Why a table is read in full because of where the batch starts."""
        if self.restarted and table.name in self.unproven:
            return _UNPROVEN
        return _NO_CURSOR if self.restarted and not table.tracked else self.reason


def batch_start(
    connection: Connection,
    schema: str,
    tables: Mapping[str, Table],
    snapshot: Snapshot,
    previous: Manifest | None,
    watermark: Watermark | None,
    *,
    forced: bool,
) -> BatchStart:
    """Where the batch starts. Raises SourceError where a standby is behind the last batch."""
    if watermark is None:
        return BatchStart("first batch")
    if previous is None:
        return BatchStart("the last batch's manifest is lost")
    last = previous.continuity
    since = watermark.source_xmin
    is_behind = snapshot.xmax < since or (last is not None and snapshot.wal < last.wal)
    if is_behind and not forced and snapshot.may_follow(previous.identity):
        raise SourceError(
            "source: this standby is behind the last batch; run again when it has caught up,"
            " or with --full if its primary was restored to an earlier state"
        )
    if previous.identity != snapshot.identity:
        return BatchStart(_ANOTHER_SOURCE)
    if is_behind:
        return BatchStart(_RESTORED)
    restarted = last is not None and (last.started_at, last.statistics_since) != (
        snapshot.started_at,
        snapshot.statistics_since,
    )
    if last and restarted:
        # Rows that the last batch read, or that were gone again when it did, are in doubt.
        since = min(since, last.since, *([last.commits.lowest] if last.commits else []))
    if snapshot.xmax - since >= MAX_AGE:
        return BatchStart("the watermark's transaction ids have wrapped around")
    if last and restarted:
        readable = {name: table.columns for name, table in tables.items() if table.tracked}
        has_commit_times = snapshot.keeps_commit_times
        if not witnesses.prove(connection, schema, last, readable, has_commit_times=has_commit_times):
            return BatchStart(_NO_WITNESS)
        return BatchStart(since=since, restarted=True, unproven=frozenset(last.unproven))
    return BatchStart(since=since)


def reason_to_read_in_full(table: Table, last: TableBatch | None, cursor: Cursor | None) -> str | None:
    """Why the table itself, or its last batch, requires to read it in full; None where changes suffice."""
    if last is None:
        return "not read before"
    reason = _changed_definition(table, last) or _untracked(table, last, cursor)
    if not reason and cursor is None and (last.state is None or last.source_rows is None):
        return "its state was not stored before"
    return reason


def _changed_definition(table: Table, last: TableBatch) -> str | None:
    """Why the values of rows may differ from the last batch although nobody wrote them."""
    if last.definition is None:
        return "its definition was not stored before"
    if difference := table.definition.difference(last.definition):
        return difference
    if _hashes(last.columns) != _hashes(table.columns):
        return "its columns are hashed differently than before"
    if last.columns != table.columns:
        return "the columns that may be read have changed"
    return "its primary key has changed" if last.key != table.key else None


def _hashes(columns: Sequence[Column]) -> dict[str, str]:
    """The id of the key of each hashed column."""
    return {column.name: column.hashed_by for column in columns if column.hashed_by}


def _untracked(table: Table, last: TableBatch, cursor: Cursor | None) -> str | None:
    """Why neither ``xmin`` nor a cursor finds the rows written since the last batch."""
    if cursor:
        column, reached = table.column(cursor.column), last.reached
        same = column and reached and (reached.column, reached.type) == (column.name, column.type)
        return None if same else "not read by this cursor before"
    if table.tracked:
        return None
    if not table.has_xmin:
        return "no xmin and no cursor column"
    if table.names_objects:
        return "it has names of objects, which change without a write, and no cursor column"
    return "its role may not read xmin, ctid and tableoid, and no cursor column"


def changes_since(since: int, cursor: Cursor | None, reached: Reached | None) -> Slice:
    """The rows that changed since the last batch."""
    if cursor:
        return Slice(cursor=cursor, reached=reached.value if reached else None)
    return Slice(since=since)
