"""The positions in the WAL that a look remembers for the next one."""

from __future__ import annotations

from pipeline.source import wal_summaries
from pipeline.source.snapshots import Snapshot
from pipeline.source.wal_summaries import Mark, Marks

SNAPSHOT = {
    "name": "x", "xmin": 100, "xmax": 100, "taken_at": "2026-01-01T00:00Z", "system": "1", "timeline": 1,
    "database": "d", "database_oid": 1, "wal": 1000, "standby": False, "started_at": "2026-01-01T00:00Z",
    "next_xid": 100, "wal_inserted": 1000,
}  # fmt: skip


def test_the_start_is_before_the_first_change_of_every_transaction_that_was_open() -> None:
    first = wal_summaries.marks(Snapshot.model_validate(SNAPSHOT), None)
    assert first is not None
    assert first.start == Mark(wal=1000, next_xid=100), "no transaction was open"

    def later(last: Marks | None, wal: int, next_xid: int, xmin: int, **more: object) -> Marks | None:
        values = SNAPSHOT | {"wal_inserted": wal, "next_xid": next_xid, "xmin": xmin} | more
        return wal_summaries.marks(Snapshot.model_validate(values), last)

    second = later(first, 2000, 110, 105)
    assert second is not None
    assert second.start == first.own, "one that began after the first look was open"
    third = later(second, 3000, 120, 107)
    assert third is not None
    assert third.start == first.own, "it may have begun before the second look"
    fourth = later(third, 4000, 130, 125)
    assert fourth is not None
    assert fourth.start == third.own
    restarted = later(third, 4000, 130, 125, started_at="2026-01-02T00:00Z")
    assert restarted is not None
    assert restarted.start is None, "earlier positions may be of a history that was undone"
    undone = later(third, 2500, 130, 125)
    assert undone is not None
    assert undone.start is None, "the server was set back with its memory"
    assert later(third, 4000, 130, 130, wal_inserted=None) is None, "a standby, or without summaries"
