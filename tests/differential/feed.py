"""The rows of the view that batches have read by its cursor, as docs/how-it-works.md describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from psycopg import sql

from tests.differential.drawn import Connection, Row


@dataclass(frozen=True)
class Feed:
    """The newest ``rows`` that batches have read, by id, and the highest version that the last one read."""

    rows: Mapping[object, Row] = field(default_factory=dict)
    reached: int | None = None

    def after(self, source: Connection, overlap: int, *, whole: bool) -> Feed:
        """The same after a batch that reads the view now, whole or from ``overlap`` below ``reached`` on."""
        query = "SELECT id, version, person, note FROM public.feed"
        start = None if whole or self.reached is None else self.reached - overlap
        rows = source.execute(f"{query} WHERE %s::int IS NULL OR version >= %s OR version IS NULL".encode(),
                              (start, start)).fetchall()  # fmt: skip
        versions = [int(str(row[1])) for row in rows if row[1] is not None]
        read = {row[0]: row for row in rows}
        return Feed(read if whole else {**self.rows, **read}, max(versions, default=self.reached))

    def write(self, source: Connection) -> None:
        """Write the rows to the table that the models for Postgres read."""
        source.execute("TRUNCATE read_of_feed")
        for row in self.rows.values():
            source.execute(sql.SQL("INSERT INTO read_of_feed VALUES ({})").format(sql.SQL(", ").join(row)))
