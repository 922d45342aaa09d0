"""Why a table is read whole: where a batch begins, and what a count of transactions cannot tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.columns import Column
from pipeline.errors import SourceError
from pipeline.lake.manifests import Manifest, TableBatch, Watermark
from pipeline.postgres import Connection
from pipeline.source import witnesses
from pipeline.source.catalogue import Table
from pipeline.source.changes import MAX_AGE, Slice
from pipeline.source.cursors import Cursor, Reached
from pipeline.source.snapshots import Snapshot

ASKED_FOR = "asked for"
UNEXPLAINED = "its rows do not add up"
_ANOTHER = "another source than the last batch's"
_PUT_BACK = "the source was put back to an earlier state"
_UNSURE = "its server was restarted, and rows read last are not there any more"
# Reasons for which rows that were read before may never have been there.
OTHER_ROWS = (_ANOTHER, _PUT_BACK, _UNSURE)


@dataclass(frozen=True)
class _Beginning:
    """Where a batch begins: at the transaction ``since``, or with everything, for a reason."""

    whole: str | None = None
    since: int | None = None


def where_it_begins(
    connection: Connection,
    schema: str,
    tables: Mapping[str, Table],
    snapshot: Snapshot,
    previous: Manifest | None,
    watermark: Watermark | None,
    *,
    forced: bool,
) -> _Beginning:
    """Where the batch begins. Raises SourceError where a standby is behind the last batch."""
    if watermark is None:
        return _Beginning("first batch")
    if previous is None:
        return _Beginning("the last batch's manifest is lost")
    if previous.identity != snapshot.identity:
        return _Beginning(_ANOTHER)
    last = previous.continuity
    since = watermark.source_xmin
    if snapshot.xmax < since or (last and snapshot.wal < last.wal):
        if snapshot.standby and not forced:
            raise SourceError(
                "source: this standby is behind the last batch; run again when it has caught up,"
                " or with --full if its primary was put back to an earlier state"
            )
        return _Beginning(_PUT_BACK)
    restarted = last is not None and last.started_at != snapshot.started_at
    if last and restarted:
        since = min(since, last.since)  # witnesses say nothing of what came after them
    if snapshot.xmax - since >= MAX_AGE:
        return _Beginning("the watermark's transaction ids have wrapped around")
    if last and restarted:
        known = {name: table.columns for name, table in tables.items() if table.tracked}
        if not witnesses.any_holds(connection, schema, last.witnesses, known):
            return _Beginning(_UNSURE)
    return _Beginning(since=since)


def reason_to_read_whole(table: Table, last: TableBatch | None, cursor: Cursor | None) -> str | None:
    """Why a table has to be read whole, as far as the table itself is the reason."""
    if last is None:
        return "not read before"
    reason = _another_shape(table, last) or _untracked(table, last, cursor)
    if not reason and cursor is None and (last.state is None or last.source_rows is None):
        return "its state is kept from now on"
    return reason


def _another_shape(table: Table, last: TableBatch) -> str | None:
    """Why rows that nobody wrote may show other values than at the last batch."""
    if last.definition is None:
        return "its definition was not kept so far"
    if difference := table.definition.difference(last.definition):
        return difference
    if _hashes(last.columns) != _hashes(table.columns):
        return "its columns are hashed otherwise than before"
    if last.columns != table.columns:
        return "the columns that may be read have changed"
    return "its primary key has changed" if last.key != table.key else None


def _hashes(columns: Sequence[Column]) -> dict[str, str]:
    """Which columns are hashed, and by which key."""
    return {column.name: column.hashed_by for column in columns if column.hashed_by}


def _untracked(table: Table, last: TableBatch, cursor: Cursor | None) -> str | None:
    """Why rows that were written since the last batch cannot be told from others."""
    if cursor:
        now, then = table.column(cursor.column), last.reached
        same = now and then and (then.column, then.type) == (now.name, now.type)
        return None if same else "not read by this cursor before"
    if table.tracked:
        return None
    if table.has_xmin:
        return "its role may not read xmin, ctid and tableoid, and no cursor column"
    return "no xmin and no cursor column"


def changes_since(since: int, cursor: Cursor | None, reached: Reached | None) -> Slice:
    """The rows that changed since the last batch."""
    if cursor:
        return Slice(cursor=cursor, reached=reached.value if reached else None)
    return Slice(since=since)
