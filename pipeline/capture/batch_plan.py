"""A planned batch: the chunks that it reads, and the manifest made from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline import RELEASE
from pipeline.capture.continuity import continuity, with_unproven
from pipeline.capture.deletions import DeletionCheck
from pipeline.capture.reasons import UNEXPLAINED
from pipeline.capture.seeds import seed_batch
from pipeline.capture.source_tables import former_names
from pipeline.capture.tables import TablePlan, needs_probe, read_in_full, slices_of
from pipeline.columns import Column
from pipeline.errors import SourceError
from pipeline.lake.erasures import Erasure
from pipeline.lake.manifest import (
    Chunk,
    Files,
    Manifest,
    ReadChunk,
    ReadSpec,
    State,
    StateDelta,
    TableBatch,
    Watermark,
    batch_id,
    batch_time,
)
from pipeline.models.seeds import Seed
from pipeline.postgres import Connection
from pipeline.source.changes import probe
from pipeline.source.commits import COMMITTED
from pipeline.source.snapshots import Snapshot
from pipeline.source.wal_summaries import Marks
from pipeline.source.witnesses import Continuity
from pipeline.words import counted

# A table of Postgres has fewer.
_MOST_PAGES = 2**32


@dataclass(frozen=True)
class BatchPlan:
    """A batch before it is read.

    ``kept_seeds`` are unchanged since the last batch. ``unchanged`` are models in which an ordinary run would
    find no change; it is filled for a batch that reconciles. ``erasures`` are the values to erase, by table.
    ``scan_reason`` says why unchanged tables are scanned, too; None if WAL summaries show which these are.
    ``wal_marks`` are where the WAL that the next batch has to examine begins. ``restarted``: rows that the
    last batch read count as changed, because the source's server was restarted. ``schema`` is the main one.
    """

    snapshot: Snapshot
    watermark: Watermark | None
    previous: Manifest | None
    tables: dict[str, TablePlan]
    changed_models: frozenset[str]
    reconcile: bool
    seeds: Mapping[str, Seed] = field(default_factory=dict)
    kept_seeds: Mapping[str, TableBatch] = field(default_factory=dict)
    unchanged: frozenset[str] = frozenset()
    continuity: Continuity | None = None
    restarted: bool = False
    erasures: Mapping[str, Erasure] = field(default_factory=dict)
    scan_reason: str | None = None
    wal_marks: Marks | None = None
    schema: str | None = None

    @property
    def nothing_new(self) -> bool:
        """Whether the warehouse is up to date without this batch."""
        changes = (
            any(table.is_new for table in self.tables.values()) or self.new_seeds or self._no_longer_read
        )
        return self.watermark is not None and not (changes or self.changed_models or self.reconcile)

    @property
    def _no_longer_read(self) -> set[str]:
        """The tables of the last batch that no model reads: a later batch has to read them in full."""
        last = self.previous.tables if self.previous else {}
        return {name for name, table in last.items() if table.seed is None} - self.tables.keys()

    @property
    def new_seeds(self) -> dict[str, Seed]:
        """The seeds to write into the raw bucket."""
        return {name: seed for name, seed in self.seeds.items() if name not in self.kept_seeds}

    @property
    def batch_id(self) -> str:
        """The batch's id."""
        return batch_id(batch_time(self.snapshot, self.watermark), self.snapshot)

    @property
    def summary(self) -> str:
        """One line on what the batch reads."""
        full: dict[str, list[str]] = {}
        changed, uncounted = [], []
        for name, plan in sorted(self.tables.items()):
            if plan.mode == "full":
                full.setdefault(plan.reason, []).append(name)
            elif plan.rows is None:
                uncounted.append(name)
            elif plan.is_new:
                changed.append(f"{counted(plan.rows, 'row')} of {name}")
        same = len(self.tables) - len(changed) - len(uncounted) - sum(map(len, full.values()))
        clauses = changed + [f"all of {', '.join(names)} ({reason})" for reason, names in full.items()]
        if uncounted:
            clauses.append(f"not counted: {', '.join(uncounted)}")
        if self.restarted and changed:
            clauses.append("rows of the last batch are read again, as the source's server was restarted")
        if self.new_seeds:
            clauses.append(f"new seeds: {', '.join(sorted(self.new_seeds))}")
        if self.recomputed and self.watermark:
            clauses.append(self.recomputed)
        if same:
            clauses.append(f"nothing new in {counted(same, 'other table' if clauses else 'table')}")
        return "; ".join(clauses)

    @property
    def recomputed(self) -> str:
        """A clause on the tables that are recomputed from the lake; empty where there are none."""
        names = ", ".join(sorted(self.changed_models))
        return f"recomputing {names}, because the model or its table is new or changed" if names else ""

    @property
    def rows_to_read(self) -> dict[str, int] | None:
        """Rows to read, by table; None where not all were counted."""
        new = {name: plan.rows for name, plan in self.tables.items() if plan.is_new}
        counted_rows = {name: rows for name, rows in new.items() if rows is not None}
        return counted_rows if counted_rows.keys() == new.keys() else None

    @property
    def columns(self) -> dict[str, tuple[Column, ...]]:
        """The columns of the source's tables and of the seeds, by name."""
        seeds = {name: seed.columns for name, seed in self.seeds.items()}
        return seeds | {name: plan.table.columns for name, plan in self.tables.items()}

    @property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """The primary keys of the source's tables, empty where there is none."""
        return {name: plan.table.key for name, plan in self.tables.items()}

    def chunks(self, schema: str, pages_per_chunk: int) -> list[tuple[Chunk, ReadSpec]]:
        """The chunks to read, largest first; large tables are cut into ranges of pages."""
        chunks = [
            chunk
            for plan in self.tables.values()
            if plan.mode == "full" or plan.rows != 0
            for chunk in self._chunks_of(plan, schema, pages_per_chunk)
        ]
        return sorted(chunks, key=lambda chunk: -chunk[1].expected_rows)

    def chunks_of_full_read(
        self, name: str, schema: str, pages_per_chunk: int
    ) -> list[tuple[Chunk, ReadSpec]]:
        """The chunks of a table that is read in full because its changes do not explain its row count."""
        return self._chunks_of(read_in_full(self.tables[name], UNEXPLAINED), schema, pages_per_chunk)

    def _chunks_of(self, plan: TablePlan, schema: str, pages_per_chunk: int) -> list[tuple[Chunk, ReadSpec]]:
        slices = slices_of(plan, pages_per_chunk)
        return [
            (
                Chunk(
                    batch_id=self.batch_id,
                    table=plan.table.name,
                    number=number,
                    of=len(slices),
                    full=plan.mode == "full",
                ),
                ReadSpec(
                    snapshot=self.snapshot.name,
                    schema_name=schema,
                    slice=slice_,
                    columns=(*plan.table.columns, COMMITTED)
                    if self._has_commit_times(plan)
                    else plan.table.columns,
                    expected_rows=(plan.rows or 0) // len(slices),
                    erasure=self.erasures.get(plan.table.name),
                ),
            )
            for number, slice_ in enumerate(slices)
        ]

    def _has_commit_times(self, plan: TablePlan) -> bool:
        """Whether the commit time of the table's rows is read, which takes a name among its columns."""
        names = {column.name.lower() for column in plan.table.columns}
        return self.snapshot.keeps_commit_times and plan.table.tracked and COMMITTED.name not in names

    def deletion_checks(self, read: Sequence[ReadChunk]) -> list[DeletionCheck]:
        """The tables that may have lost rows, with the chunks read of them."""
        return [
            DeletionCheck(
                table=self._table_batch(plan, read, ()),
                slices=tuple(slices_of(read_in_full(plan, UNEXPLAINED), _MOST_PAGES)),
                before=before,
                replaced=plan.replaced,
                batch_id=self.batch_id,
                snapshot=self.snapshot.name,
            )
            for name, plan in self.tables.items()
            if plan.mode == "changes" and plan.replaced and (before := self.before(name)) is not None
        ]

    def with_probes(self, connection: Connection, schema: str) -> "BatchPlan":
        """The plan with probes of the tables that are read in full, and with what proves its continuity.

        It scans these tables, while other connections may read them.
        """
        full = {name: plan for name, plan in self.tables.items() if plan.mode == "full" and needs_probe(plan)}
        probes = probe(connection, schema, [(plan.table, plan.slice) for plan in full.values()])
        tables = self.tables | {name: replace(full[name], probe=each) for name, each in probes.items()}
        proof = continuity(connection, schema, self.snapshot, self.previous, tables)
        return replace(self, tables=tables, continuity=proof)

    def manifest(
        self, read: Sequence[ReadChunk], deleted: Mapping[str, Files], seeds: Mapping[str, Files]
    ) -> Manifest:
        """The manifest of the batch, from its chunks, the keys of deleted rows and the seeds, by table."""
        tables = {
            name: self._table_batch(plan, read, deleted.get(name, ())) for name, plan in self.tables.items()
        }
        seed_tables = {
            name: seed_batch(seed, self.kept_seeds.get(name), seeds.get(name))
            for name, seed in self.seeds.items()
        }
        last = self.previous.continuity if self.previous else None
        moment, clock = batch_time(self.snapshot, self.watermark), self.snapshot.taken_at
        return Manifest(
            release=RELEASE,
            batch_id=self.batch_id,
            previous=self.watermark.batch_id if self.watermark else None,
            snapshot_at=moment,
            read_at=None if clock == moment else clock,
            source_xmin=self.snapshot.xmin,
            identity=self.snapshot.identity,
            continuity=with_unproven(self.continuity, last, tables.values()) if self.continuity else None,
            wal_marks=self.wal_marks,
            reconcile=self.reconcile,
            source_schema=self.schema,
            unchanged=tuple(sorted(self.unchanged)),
            chunks=tuple(read),
            tables=tables | seed_tables,
        )

    def before(self, name: str) -> State | None:
        """The state of a table at the last batch; None where it is unknown or has other columns."""
        last = self.previous.tables.get(name) if self.previous else None
        return last.state if last and last.columns == self.tables[name].table.columns else None

    def _table_batch(self, plan: TablePlan, read: Sequence[ReadChunk], deleted: Files) -> TableBatch:
        """The entry of a table in the manifest: its chunks, and its state continued from the last batch."""
        name = plan.table.name
        chunks = [each for each in read if each.chunk.table == name]
        files = tuple(file for chunk in chunks for file in chunk.files)
        full = plan.mode == "full" or any(each.chunk.full for each in chunks)
        reason = UNEXPLAINED if full and plan.mode == "changes" else plan.reason
        state: State | None = (StateDelta(files=files),)
        if plan.slice.cursor is not None:
            state = None  # rows below the cursor may have changed
        elif not full and (state := self.before(name)) is not None and (files or deleted):
            state = (*state, StateDelta(files=files, deleted=deleted))
        total, rows = plan.probe.total if plan.probe else None, sum(file.rows for file in files)
        if full and total not in {None, rows}:
            raise SourceError(
                f"source: table {name}: {counted(rows, 'row')} were read in full, and {total:,} counted"
                " at the same moment; nothing was loaded; check the table for damage (pg_amcheck),"
                " and run again"
            )
        return TableBatch(
            table=name,
            mode="full" if full else plan.mode if plan.is_new else "unchanged",
            reason=reason if plan.is_new else "no change",
            columns=plan.table.columns,
            key=plan.table.key,
            heaps=plan.table.heaps,
            filenodes=plan.table.filenodes,
            definition=plan.table.definition,
            former_names=former_names(plan.table, self.snapshot, self.previous),
            reached=plan.will_reach,
            files=files,
            deleted=deleted,
            state=state,
            has_commit_times=bool(files) and self._has_commit_times(plan),
            source_rows=rows if full else total,
        )
