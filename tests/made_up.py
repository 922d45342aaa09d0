"""Batches over made-up rows, as reading a source would leave them in the raw bucket, and made-up tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from pipeline.columns import Column, schema_of
from pipeline.lake.buckets import Bucket, File
from pipeline.lake.manifest import Manifest, State, StateDelta, TableBatch, needs_merging
from pipeline.lake.state import compacted
from pipeline.models.target import Target, TargetColumn
from pipeline.source.snapshots import Identity
from tests.support import Row

SOME_TIME = datetime(2024, 1, 1, tzinfo=UTC)


SOME_SOURCE = Identity(system="1", timeline=1, database="made_up", database_oid=1)


def made_target(name: str, key: tuple[str, ...], /, **types: str) -> Target:
    """A warehouse table without a database; a type that ends in ! may not be NULL."""
    columns = tuple(
        TargetColumn(
            name=column,
            type=type_.rstrip("!"),
            category="S",
            labels=(),
            required=type_.endswith("!"),
            filled=False,
            generated=False,
        )
        for column, type_ in types.items()
    )
    return Target(
        name=name,
        fact=name.startswith("fact_"),
        bridge=name.startswith("bridge_"),
        key=key,
        columns=columns,
        references=(),
        rules=(),
        rebuildable=(),
    )


@dataclass
class MadeUp:
    """Batches of given rows, written as reading a source would write them.

    ``tables`` are columns with their Postgres types, and the key, by table. All tables
    are carried, as if every one were looked up.
    """

    raw: Bucket
    tables: Mapping[str, tuple[Mapping[str, str], tuple[str, ...]]]
    state: dict[str, State | None] = field(default_factory=dict)
    last: str | None = None
    number: int = 0

    def batch(
        self,
        rows: Mapping[str, Sequence[Row]],
        *,
        deleted: Mapping[str, Sequence[Row]] | None = None,
        full: bool = False,
        reconcile: bool = False,
    ) -> Manifest:
        """The next batch: by table its changed rows and the keys of deleted rows, or all rows."""
        self.number += 1
        moment = SOME_TIME + timedelta(minutes=self.number)
        batch_id = f"{moment:%Y%m%dT%H%M%S}-{self.number:04d}"
        full = full or reconcile or self.last is None
        lost = {} if full or deleted is None else deleted
        tables = {
            name: self._table(name, batch_id, rows.get(name, ()), lost.get(name, ()), full=full)
            for name in self.tables
        }
        manifest = Manifest(
            batch_id=batch_id,
            previous=self.last,
            snapshot_at=moment,
            source_xmin=1000 + self.number,
            identity=SOME_SOURCE,
            reconcile=reconcile,
            chunks=(),
            tables=tables,
        )
        self.state = {name: table.state for name, table in tables.items()}
        self.last = batch_id
        return manifest

    def _table(
        self, name: str, batch_id: str, rows: Sequence[Row], deleted: Sequence[Row], *, full: bool
    ) -> TableBatch:
        types, key = self.tables[name]
        columns = tuple(Column(name=column, type=type_) for column, type_ in types.items())
        files = self._files(name, batch_id, columns, rows)
        keys = self._files(name, batch_id, [each for each in columns if each.name in key], deleted)
        before = self.state.get(name)
        kept = () if full or before is None else before
        table = TableBatch(
            table=name,
            mode="full" if full else "changes" if files or keys else "unchanged",
            reason="made up",
            columns=columns,
            key=key,
            heaps="1",
            files=files,
            deleted=keys,
            state=(*kept, StateDelta(files=files, deleted=keys)) if files or keys else kept,
        )
        return compacted(table, batch_id, self.raw) if needs_merging(table) else table

    def _files(
        self, name: str, batch_id: str, columns: Sequence[Column], rows: Sequence[Row]
    ) -> tuple[File, ...]:
        schema = schema_of(columns)
        arrow = pa.Table.from_pylist([dict.fromkeys(schema.names) | row for row in rows], schema)
        return self.raw.write_rows(f"{name}/batch={batch_id}", schema, arrow.to_batches())
