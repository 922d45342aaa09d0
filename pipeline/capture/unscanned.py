"""Find the tables that a plan need not scan."""

from collections.abc import Mapping

from pipeline.capture.tables import TablePlan
from pipeline.lake.manifest import Manifest, TableBatch, Watermark
from pipeline.postgres import Connection
from pipeline.source import wal_summaries
from pipeline.source.changes import Probe
from pipeline.source.snapshots import Snapshot
from pipeline.source.wal_summaries import Files, Marks, Unchanged

SMALL = "they are small"
# Scanning less than this takes no longer than asking.
_WORTH_ASKING = 64 * 1024 * 1024


def last_marks(snapshot: Snapshot, previous: Manifest | None, watermark: Watermark | None) -> Marks | None:
    """The marks of the last batch, or of a later run that found nothing new; None for another source."""
    if previous is None or previous.identity != snapshot.identity:
        return None
    return (watermark.wal_marks if watermark else None) or previous.wal_marks


def unscanned(
    connection: Connection,
    snapshot: Snapshot,
    plans: Mapping[str, TablePlan],
    previous: Manifest | None,
    last: Marks | None,
    *,
    checkpoint: bool,
) -> Unchanged:
    """The planned tables that have no changed block since the last batch."""
    to_scan = [plan for plan in plans.values() if plan.mode == "changes" and plan.slice.cursor is None]
    if previous is None or sum(plan.table.bytes or 0 for plan in to_scan) < _WORTH_ASKING:
        return Unchanged(frozenset(), SMALL)
    tables = {
        table.name: Files(frozenset(map(int, table.filenodes.split(","))), table.bytes or 0)
        for table in (plan.table for plan in to_scan)
        if table.filenodes and table.filenodes == previous.tables[table.name].filenodes
    }
    return wal_summaries.unchanged(connection, snapshot, last, tables, checkpoint=checkpoint)


def no_change(last: TableBatch) -> Probe:
    """What a probe of a table without changes finds."""
    return Probe(rows=0, total=last.source_rows)
