"""Scan the tables, too, that WAL summaries show to be unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from pipeline.capture import planner, unscanned
from pipeline.source import wal_summaries
from pipeline.source.changes import probe


@contextmanager
def both_ways() -> Iterator[list[frozenset[str]]]:
    """For the block, compare what each plan leaves unscanned with a scan; yields these tables, plan by plan.

    Small tables are treated as large ones.
    """
    left_out: list[frozenset[str]] = []

    def compared(
        connection: Any, snapshot: Any, plans: Any, previous: Any, *more: Any, **options: Any
    ) -> Any:
        found = unscanned.unscanned(connection, snapshot, plans, previous, *more, **options)
        scanned = probe(
            connection, "public", [(plans[name].table, plans[name].slice) for name in found.tables]
        )
        assert scanned == {name: unscanned.no_change(previous.tables[name]) for name in found.tables}
        left_out.append(found.tables)
        return found

    with (
        mock.patch.object(planner, "unscanned", compared),
        mock.patch.object(unscanned, "_WORTH_ASKING", 0),
        mock.patch.object(wal_summaries, "_WORTH_A_CHECKPOINT", 0),
    ):
        yield left_out
