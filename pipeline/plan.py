"""Plan a batch: which tables to read, how much of each, and why."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline import personal, reference, source, witnesses
from pipeline.batches import (
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
from pipeline.commits import COMMITTED
from pipeline.cursors import Cursor, Reached
from pipeline.deletions import Suspicion
from pipeline.errors import ModelError, SourceError
from pipeline.ledger import Entry, Erased
from pipeline.models import Model, closure, read_seeds, source_tables
from pipeline.personal import HashKey
from pipeline.postgres import Connection
from pipeline.readable import check_rights, cursors_of
from pipeline.seeds import Seed
from pipeline.source import MAX_AGE, Column, Slice, Snapshot, Survey, Table
from pipeline.types import has_identity
from pipeline.warehouse import Loaded
from pipeline.witnesses import Candidate, Continuity, Witness
from pipeline.words import counted

PAGES_A_PART = 32_768
_WHOLE = "asked for"
_UNEXPLAINED = "its rows do not add up"
_ANOTHER = "another source than the last batch's"
_PUT_BACK = "the source was put back to an earlier state"
_UNSURE = "its server was restarted, and rows read last are not there any more"
# Reasons for which rows that were read before may never have been there.
_OTHER_ROWS = (_ANOTHER, _PUT_BACK, _UNSURE)


@dataclass(frozen=True)
class TablePlan:
    """How one table is read in a batch, and why.

    ``survey`` is what is known of its slice before it is read, ``reached`` how far the last batch came.
    ``replaced`` is how many rows of the last batch were written anew or deleted since: those that it
    had, less those that are as they were.
    """

    table: Table
    mode: Literal["full", "changes"]
    reason: str
    slice: Slice
    survey: Survey | None = None
    reached: Reached | None = None
    replaced: int = 0

    @property
    def rows(self) -> int | None:
        """Rows to read, counted or, of a whole table, estimated; None where changed ones were not counted."""
        if self.survey:
            return self.survey.rows
        return self.table.estimated_rows if self.mode == "full" else None

    @property
    def will_reach(self) -> Reached | None:
        """The highest value of the table's cursor once the slice is read."""
        cursor = self.slice.cursor
        column = self.table.column(cursor.column) if cursor else None
        if column is None:
            return None
        value = self.survey.reached if self.survey else None
        if value is None and self.mode == "changes" and self.reached:
            return self.reached  # nothing is left of what was there
        return Reached(column=column.name, type=column.type, value=value)

    @property
    def is_new(self) -> bool:
        """Whether there is anything to read."""
        return self.mode == "full" or self.rows != 0 or self.replaced > 0


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
        return self._parts_of(_as_whole(self.tables[name], _UNEXPLAINED), schema, PAGES_A_PART)

    def _parts_of(self, plan: TablePlan, schema: str, pages_a_part: int) -> list[tuple[Part, Reading]]:
        slices = _cut(plan, pages_a_part)
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
        whole = {name: plan for name, plan in self.tables.items() if plan.mode == "full" and _tells(plan)}
        surveys = source.survey(connection, schema, [(plan.table, plan.slice) for plan in whole.values()])
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
        reason = _UNEXPLAINED if full and plan.mode == "changes" else plan.reason
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


def make(
    connection: Connection,
    snapshot: Snapshot,
    schema: str,
    models: Mapping[str, Model],
    loaded: Mapping[str, Loaded],
    watermark: Watermark | None,
    previous: Manifest | None,
    *,
    reconcile: bool,
    full: bool,
    most_bytes: int | None = None,
    key: HashKey | None = None,
    forgotten: Collection[Entry] = (),
) -> BatchPlan:
    """Look at the source and plan the batch that follows ``previous``.

    ``loaded`` are the fingerprints of the models that the warehouse was computed with. Changed
    rows are counted, which reads the whole table, in tables of up to ``most_bytes``.
    Raises ModelError where a model reads a table that the source does not have, and SettingsError where
    one has columns hashed, and there is no ``key``.
    """
    tables = _hashed(models, _described(connection, schema, models), key)
    check_rights(models, tables)
    cursors = cursors_of(connection, schema, models, tables)
    changed = frozenset(
        name
        for name, model in models.items()
        if name not in loaded or loaded[name].fingerprint != model.fingerprint
    )
    forced = _read_by_cursor(models, changed)
    if reconcile or full:
        forced = dict.fromkeys(tables, "reconciling" if reconcile else _WHOLE)
    beginning = _beginning(
        connection, schema, tables, snapshot, previous, watermark, forced=reconcile or full
    )
    plans = {}
    for name, table in tables.items():
        last = previous.tables.get(name) if previous else None
        reason = beginning.whole or forced.get(name) or _table_reason(table, last, cursors.get(name))
        slice_ = Slice(cursor=cursors.get(name))
        if not reason and last and beginning.since is not None:
            slice_ = _since(beginning.since, cursors.get(name), last.reached)
        mode: Literal["full", "changes"] = "full" if reason else "changes"
        reached = last.reached if last else None
        plans[name] = TablePlan(table, mode, reason or "changed rows", slice_, reached=reached)
    quiet: frozenset[str] = frozenset()
    if reconcile and watermark:
        quiet = _quiet(
            models,
            make(
                connection, snapshot, schema, models, loaded, watermark, previous,
                reconcile=False, full=False, most_bytes=most_bytes, key=key,
            ),
        )  # fmt: skip
    return BatchPlan(
        snapshot,
        watermark,
        previous,
        _counted(connection, schema, plans, previous, most_bytes),
        changed,
        reconcile or beginning.whole in _OTHER_ROWS,
        read_seeds(models),
        {} if reconcile or full or beginning.whole else _kept_seeds(models, previous),
        quiet,
        erased=_erased(models, tables, forgotten),
    )


def _erased(
    models: Mapping[str, Model], tables: Mapping[str, Table], forgotten: Collection[Entry]
) -> dict[str, Erased]:
    """What is hidden of tables' rows that were forgotten, and may be in the source still."""
    declared = _personal(models, tables)
    found = {}
    for name in {entry.table for entry in forgotten} & tables.keys():
        table = tables[name]
        hidden = declared.get(name, {}).keys() - set(table.key)
        found[name] = Erased(
            key=tuple(column for column in table.columns if column.name in table.key),
            columns=tuple(column for column in table.columns if column.name in hidden),
            entries=tuple(entry for entry in forgotten if entry.table == name),
        )
    return {name: erased for name, erased in found.items() if erased.key}


def _personal(models: Mapping[str, Model], tables: Mapping[str, Table]) -> dict[str, dict[str, bool]]:
    names = {
        name: [column.name for column in (*table.columns, *table.unreadable)]
        for name, table in tables.items()
    }
    return personal.columns(models, names)


def _quiet(models: Mapping[str, Model], ordinary: BatchPlan) -> frozenset[str]:
    """The models whose tables an ordinary run would not change."""
    same = {name for name, plan in ordinary.tables.items() if not plan.is_new and plan.slice.cursor is None}
    known = same | models.keys() | ordinary.kept_seeds.keys() | reference.NAMES
    known |= reference.QUALIFIED - {reference.BATCH}
    return frozenset(
        name
        for name in models.keys() - ordinary.changed_models
        if all(below.reads <= known and not below.unstable for below in closure(models, name).values())
    )


def _kept_seeds(models: Mapping[str, Model], previous: Manifest | None) -> dict[str, TableBatch]:
    """The seeds that the last batch has as they are."""
    last = previous.tables if previous else {}
    return {
        name: last[name]
        for name, seed in read_seeds(models).items()
        if name in last and last[name].seed == seed.digest
    }


def _read_by_cursor(models: Mapping[str, Model], changed: Collection[str]) -> dict[str, str]:
    """Relations to read whole, with the reason: a changed model reads them, and no state of them is kept."""
    cursors = {name for model in models.values() for name in model.cursors}
    return {
        name: f"{model} or its model is new or changed"
        for model in changed
        for below in closure(models, model).values()
        for name in below.reads & cursors
    }


def _described(connection: Connection, schema: str, models: Mapping[str, Model]) -> dict[str, Table]:
    names = source_tables(models)
    seeds = read_seeds(models)
    if seeds and (like := source.relations(connection, schema, sorted(seeds))):
        raise ModelError(f"{seeds[like[0]].path}: has the name of a table of the source; rename the seed")
    tables = {
        name: _with_known_key(table)
        for name, table in source.tables(connection, schema, sorted(names)).items()
    }
    for model in models.values():
        for name in sorted(model.reads & (names - tables.keys() - reference.NAMES)):
            raise ModelError(
                f"{model.path}: reads table {name}, which schema {schema} of the source does not have"
            )
    return tables


def _hashed(
    models: Mapping[str, Model], tables: Mapping[str, Table], key: HashKey | None
) -> dict[str, Table]:
    """The tables with hashes in place of the values that models want hashed."""
    declared, key_id = _personal(models, tables), personal.key_id(models, key)
    return {
        name: table.model_copy(
            update={
                "columns": tuple(personal.with_hashes(table.columns, declared.get(name, {}), key_id)),
            }
        )
        for name, table in tables.items()
    }


def _with_known_key(table: Table) -> Table:
    """The table without its key where it cannot be told which keys are equal."""
    types = {column.name: column for column in table.columns}
    known = all(has_identity(types[name]) for name in table.key)
    return table if known else table.model_copy(update={"key": ()})


def _counted(
    connection: Connection,
    schema: str,
    plans: dict[str, TablePlan],
    previous: Manifest | None,
    most_bytes: int | None,
) -> dict[str, TablePlan]:
    """The plans with what one query tells of changed and of replaced rows.

    A row that is as it was then was there at the last batch. So what that batch had more was written
    anew or deleted.
    """
    changes = [
        (plan.table, plan.slice)
        for plan in plans.values()
        if plan.mode == "changes" and _is_small(plan.table, most_bytes)
    ]
    surveys = source.survey(connection, schema, changes)
    counted = dict(plans)
    for name, survey in surveys.items():
        before = previous.tables[name].source_rows if previous else None
        plan = replace(plans[name], survey=survey)
        if survey.total is not None and before is not None:
            plan = replace(plan, replaced=before - (survey.total - survey.rows))
        counted[name] = _without_surprise(plan, is_counted=survey.total is not None and before is not None)
    return counted


def _without_surprise(plan: TablePlan, *, is_counted: bool) -> TablePlan:
    """The plan, or one that reads the table whole, where changed rows would not do.

    Of a table without a key they do where none was replaced: all that it had is as it was.
    """
    if plan.replaced < 0:
        return _as_whole(plan, "it has old rows that the last batch did not have")
    if plan.is_new and not plan.table.key and plan.slice.cursor is None and (plan.replaced or not is_counted):
        return _as_whole(plan, "rows of it were changed or deleted, and it has no primary key")
    return plan


def _as_whole(plan: TablePlan, reason: str) -> TablePlan:
    return replace(plan, mode="full", reason=reason, slice=Slice(), survey=None, replaced=0)


def _is_small(table: Table, most_bytes: int | None) -> bool:
    return most_bytes is None or (table.bytes is not None and table.bytes <= most_bytes)


def _tells(plan: TablePlan) -> bool:
    """Whether a scan of the table tells anything that later batches need."""
    return plan.slice.cursor is not None or plan.table.tracked


@dataclass(frozen=True)
class _Beginning:
    """Where a batch begins: at the transaction ``since``, or with everything, for a reason."""

    whole: str | None = None
    since: int | None = None


def _beginning(
    connection: Connection,
    schema: str,
    tables: Mapping[str, Table],
    snapshot: Snapshot,
    previous: Manifest | None,
    watermark: Watermark | None,
    *,
    forced: bool,
) -> _Beginning:
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


def _table_reason(table: Table, last: TableBatch | None, cursor: Cursor | None) -> str | None:
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


def _since(since: int, cursor: Cursor | None, reached: Reached | None) -> Slice:
    if cursor:
        return Slice(cursor=cursor, reached=reached.value if reached else None)
    return Slice(since=since)


def _cut(plan: TablePlan, pages_a_part: int) -> list[Slice]:
    """Slices that cover the plan's; the last one is open where rows of other tables may follow.

    Changed rows come in one slice and one by one: they are few, and a scan of all pages finds them sooner.
    """
    table = plan.table
    if plan.mode == "changes" or not table.has_pages:
        return [plan.slice]
    starts = list(range(0, table.pages, pages_a_part)) or [0]
    ends = [*starts[1:], table.pages if table.packs else None]
    return [
        plan.slice.model_copy(update={"first_page": first, "end_page": end, "packed": table.packs})
        for first, end in zip(starts, ends, strict=True)
    ]
