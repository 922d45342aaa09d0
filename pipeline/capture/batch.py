"""A planned batch: what it reads, and the manifest that comes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.capture.deletions import Suspicion
from pipeline.capture.reasons import UNEXPLAINED
from pipeline.capture.tables import PAGES_A_PART, TablePlan, has_more_to_tell, read_whole, slices_of
from pipeline.columns import Column
from pipeline.lake.erasures import Erased
from pipeline.lake.manifests import (
    Landed,
    Manifest,
    Part,
    Reading,
    Run,
    State,
    StateRun,
    TableBatch,
    Watermark,
    batch_id,
    batch_time,
)
from pipeline.models.seeds import Seed
from pipeline.postgres import Connection
from pipeline.source import witnesses
from pipeline.source.changes import probe
from pipeline.source.commits import COMMITTED
from pipeline.source.snapshots import Snapshot
from pipeline.source.witnesses import Candidate, Continuity, Witness
from pipeline.words import counted


@dataclass(frozen=True)
class BatchPlan:
    """A batch before it is read; ``kept_seeds`` are those that the last batch has as they are.

    ``quiet`` are models of which an ordinary run would see no change, known where the batch reconciles.
    """

    snapshot: Snapshot
    watermark: Watermark | None
    previous: Manifest | None
    tables: dict[str, TablePlan]
    changed_models: frozenset[str]
    reconcile: bool
    seeds: Mapping[str, Seed] = field(default_factory=dict)
    kept_seeds: Mapping[str, TableBatch] = field(default_factory=dict)
    quiet: frozenset[str] = frozenset()
    witnesses: tuple[Witness, ...] = ()
    erased: Mapping[str, Erased] = field(default_factory=dict)

    @property
    def nothing_new(self) -> bool:
        """Whether the warehouse is up to date as it is."""
        news = any(table.is_new for table in self.tables.values()) or self.new_seeds
        return self.watermark is not None and not (news or self.changed_models or self.reconcile)

    @property
    def new_seeds(self) -> dict[str, Seed]:
        """The seeds to write into the raw bucket."""
        return {name: seed for name, seed in self.seeds.items() if name not in self.kept_seeds}

    @property
    def batch_id(self) -> str:
        """The batch's name."""
        return batch_id(batch_time(self.snapshot, self.watermark), self.snapshot)

    @property
    def story(self) -> str:
        """One line on what is to be read."""
        whole: dict[str, list[str]] = {}
        changed, uncounted = [], []
        for name, plan in sorted(self.tables.items()):
            if plan.mode == "full":
                whole.setdefault(plan.reason, []).append(name)
            elif plan.rows is None:
                uncounted.append(name)
            elif plan.is_new:
                changed.append(f"{counted(plan.rows, 'row')} of {name}")
        same = len(self.tables) - len(changed) - len(uncounted) - sum(map(len, whole.values()))
        said = changed + [f"all of {', '.join(names)} ({reason})" for reason, names in whole.items()]
        if uncounted:
            said.append(f"not counted: {', '.join(uncounted)}")
        if self.new_seeds:
            said.append(f"of the seeds {', '.join(sorted(self.new_seeds))}")
        if self.anew and self.watermark:
            said.append(self.anew)
        if same:
            said.append(f"nothing new in {counted(same, 'other table' if said else 'table')}")
        return "; ".join(said)

    @property
    def anew(self) -> str:
        """The tables that are computed anew from what is kept of the source, if any."""
        names = ", ".join(sorted(self.changed_models))
        return f"{names} to be computed anew, as the model or its table is new or changed" if names else ""

    @property
    def waiting(self) -> dict[str, int] | None:
        """Rows to read, by table; None where not all were counted."""
        new = {name: plan.rows for name, plan in self.tables.items() if plan.is_new}
        known = {name: rows for name, rows in new.items() if rows is not None}
        return known if known.keys() == new.keys() else None

    @property
    def columns(self) -> dict[str, tuple[Column, ...]]:
        """The columns of the source's tables and of the seeds, by name."""
        seeds = {name: seed.columns for name, seed in self.seeds.items()}
        return seeds | {name: plan.table.columns for name, plan in self.tables.items()}

    @property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """The primary keys of the source's tables, empty where there is none."""
        return {name: plan.table.key for name, plan in self.tables.items()}

    def parts(self, schema: str, pages_a_part: int = PAGES_A_PART) -> list[tuple[Part, Reading]]:
        """Cut what is to be read into tasks, large tables into ranges of pages; the longest come first."""
        cut = [
            part
            for plan in self.tables.values()
            if plan.mode == "full" or plan.rows != 0
            for part in self._parts_of(plan, schema, pages_a_part)
        ]
        return sorted(cut, key=lambda piece: -piece[1].expected_rows)

    def whole(self, name: str, schema: str) -> list[tuple[Part, Reading]]:
        """The parts of a table of which changes do not explain how many rows it has."""
        return self._parts_of(read_whole(self.tables[name], UNEXPLAINED), schema, PAGES_A_PART)

    def _parts_of(self, plan: TablePlan, schema: str, pages_a_part: int) -> list[tuple[Part, Reading]]:
        slices = slices_of(plan, pages_a_part)
        return [
            (
                Part(
                    batch_id=self.batch_id,
                    table=plan.table.name,
                    number=number,
                    of=len(slices),
                    whole=plan.mode == "full",
                ),
                Reading(
                    snapshot=self.snapshot.name,
                    schema_name=schema,
                    slice=slice_,
                    columns=(*plan.table.columns, COMMITTED)
                    if self._has_commit_times(plan)
                    else plan.table.columns,
                    expected_rows=(plan.rows or 0) // len(slices),
                    erased=self.erased.get(plan.table.name),
                ),
            )
            for number, slice_ in enumerate(slices)
        ]

    def _has_commit_times(self, plan: TablePlan) -> bool:
        """Whether the table's rows are read with the time at which they were committed."""
        return self.snapshot.keeps_commit_times and plan.table.tracked

    def suspicions(self, landed: Sequence[Landed]) -> list[Suspicion]:
        """Tables that may have lost rows, with what was read of them."""
        return [
            Suspicion(
                table=self._table(plan, landed, ()),
                before=before,
                replaced=plan.replaced,
                batch_id=self.batch_id,
                snapshot=self.snapshot.name,
            )
            for name, plan in self.tables.items()
            if plan.mode == "changes" and plan.replaced and (before := self.before(name)) is not None
        ]

    def surveyed(self, connection: Connection, schema: str) -> "BatchPlan":
        """The plan with what it takes a scan to know of tables that are read whole, and with witnesses.

        The rows may be read by others meanwhile.
        """
        whole = {
            name: plan for name, plan in self.tables.items() if plan.mode == "full" and has_more_to_tell(plan)
        }
        surveys = probe(connection, schema, [(plan.table, plan.slice) for plan in whole.values()])
        tables = self.tables | {name: replace(whole[name], survey=survey) for name, survey in surveys.items()}
        candidates = [
            Candidate(name, plan.table.columns, plan.survey.newest)
            for name, plan in tables.items()
            if plan.survey
        ]
        return replace(self, tables=tables, witnesses=witnesses.take(connection, schema, candidates))

    def manifest(
        self, landed: Sequence[Landed], gone: Mapping[str, Run], seeds: Mapping[str, Run]
    ) -> Manifest:
        """What the batch is once its parts and seeds have landed, and keys of rows that went are known."""
        return Manifest(
            batch_id=self.batch_id,
            previous=self.watermark.batch_id if self.watermark else None,
            snapshot_at=batch_time(self.snapshot, self.watermark),
            source_xmin=self.snapshot.xmin,
            identity=self.snapshot.identity,
            continuity=self._continuity,
            reconcile=self.reconcile,
            quiet=tuple(sorted(self.quiet)),
            landed=tuple(landed),
            tables={name: self._table(plan, landed, gone.get(name, ())) for name, plan in self.tables.items()}
            | {name: self._seed(seed, seeds.get(name)) for name, seed in self.seeds.items()},
        )

    @property
    def _continuity(self) -> Continuity:
        """What shows later that the source goes on from here: the last witnesses, where none are newer."""
        last = self.previous.continuity if self.previous else None
        since, found = self.snapshot.xmin, self.witnesses
        if not found and last and not any(plan.mode == "full" for plan in self.tables.values()):
            since, found = last.since, last.witnesses
        return Continuity(
            wal=self.snapshot.wal, started_at=self.snapshot.started_at, since=since, witnesses=found
        )

    def before(self, name: str) -> State | None:
        """The state of a table at the last batch; None where it is not known, or of other columns."""
        last = self.previous.tables.get(name) if self.previous else None
        return last.state if last and last.columns == self.tables[name].table.columns else None

    def _seed(self, seed: Seed, files: Run | None) -> TableBatch:
        """A seed as a table."""
        if kept := self.kept_seeds.get(seed.name):
            return kept.model_copy(update={"mode": "unchanged", "reason": "no change", "files": ()})
        return TableBatch(
            table=seed.name,
            mode="full",
            reason="new or changed seed",
            columns=seed.columns,
            key=(),
            heaps="",
            files=files or (),
            state=(StateRun(files=files or ()),),
            source_rows=seed.rows.num_rows,
            seed=seed.digest,
        )

    def _table(self, plan: TablePlan, landed: Sequence[Landed], gone: Run) -> TableBatch:
        """What has landed of a table, beside the state carried from before."""
        name = plan.table.name
        pieces = [piece for piece in landed if piece.part.table == name]
        files = tuple(file for piece in pieces for file in piece.files)
        full = plan.mode == "full" or any(piece.part.whole for piece in pieces)
        reason = UNEXPLAINED if full and plan.mode == "changes" else plan.reason
        state: State | None = (StateRun(files=files),)
        if plan.slice.cursor is not None:
            state = None  # what a cursor does not see may have changed
        elif not full and (state := self.before(name)) is not None and (files or gone):
            state = (*state, StateRun(files=files, gone=gone))
        total = plan.survey.total if plan.survey else None
        return TableBatch(
            table=name,
            mode="full" if full else plan.mode if plan.is_new else "unchanged",
            reason=reason if plan.is_new else "no change",
            columns=plan.table.columns,
            key=plan.table.key,
            heaps=plan.table.heaps,
            definition=plan.table.definition,
            reached=plan.will_reach,
            files=files,
            gone=gone,
            state=state,
            has_commit_times=bool(files) and self._has_commit_times(plan),
            source_rows=sum(file.rows for file in files) if full else total,
        )
