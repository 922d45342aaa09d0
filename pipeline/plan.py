"""Plan a batch: which tables to read, how much of each, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline import source
from pipeline.batches import (
    Landed,
    Manifest,
    Part,
    Reading,
    TableBatch,
    Watermark,
    batch_id,
    batch_time,
)
from pipeline.errors import ModelError
from pipeline.models import Model, affected, looked_up, source_tables
from pipeline.postgres import Connection
from pipeline.source import MAX_AGE, Column, Cursor, Slice, Snapshot, Table
from pipeline.words import counted

_PAGES_A_PART = 32_768
_WHOLE = "asked for"


@dataclass(frozen=True)
class TablePlan:
    """How one table is read in a batch, and why; ``rows`` is None where changed ones were not counted."""

    table: Table
    mode: Literal["full", "changes"]
    reason: str
    slice: Slice
    rows: int | None

    @property
    def is_new(self) -> bool:
        """Whether there is anything to read."""
        return self.mode == "full" or self.rows != 0


@dataclass(frozen=True)
class BatchPlan:
    """A batch before it is read; ``looked_up`` are the tables whose state is carried."""

    snapshot: Snapshot
    watermark: Watermark | None
    previous: Manifest | None
    tables: dict[str, TablePlan]
    looked_up: frozenset[str]
    changed_models: frozenset[str]
    reconcile: bool

    @property
    def nothing_new(self) -> bool:
        """Whether the warehouse is up to date as it is."""
        news = self.changed_models or self.reconcile or any(table.is_new for table in self.tables.values())
        return self.watermark is not None and not news

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
            elif plan.rows:
                changed.append(f"{counted(plan.rows, 'row')} of {name}")
        same = len(self.tables) - len(changed) - len(uncounted) - sum(map(len, whole.values()))
        said = changed + [f"all of {', '.join(names)} ({reason})" for reason, names in whole.items()]
        if uncounted:
            said.append(f"not counted: {', '.join(uncounted)}")
        if same:
            said.append(f"nothing new in {counted(same, 'other table' if said else 'table')}")
        return "; ".join(said)

    @property
    def waiting(self) -> dict[str, int] | None:
        """Rows to read, by table; None where not all were counted."""
        new = {name: plan.rows for name, plan in self.tables.items() if plan.is_new}
        known = {name: rows for name, rows in new.items() if rows is not None}
        return known if known.keys() == new.keys() else None

    @property
    def columns(self) -> dict[str, tuple[Column, ...]]:
        """The source's columns, by table."""
        return {name: plan.table.columns for name, plan in self.tables.items()}

    def parts(self, schema: str, pages_a_part: int = _PAGES_A_PART) -> list[tuple[Part, Reading]]:
        """Cut what is to be read into tasks, large tables into ranges of pages; the longest come first."""
        cut = []
        for plan in (table for table in self.tables.values() if table.is_new):
            slices = _cut(plan, pages_a_part)
            for number, slice_ in enumerate(slices):
                reading = Reading(
                    snapshot=self.snapshot.name,
                    schema_name=schema,
                    slice=slice_,
                    columns=plan.table.columns,
                    expected_rows=(plan.rows or 0) // len(slices),
                )
                part = Part(batch_id=self.batch_id, table=plan.table.name, number=number, of=len(slices))
                cut.append((part, reading))
        return sorted(cut, key=lambda piece: -piece[1].expected_rows)

    def manifest(self, landed: Sequence[Landed]) -> Manifest:
        """What the batch is once all its parts have landed."""
        return Manifest(
            batch_id=self.batch_id,
            previous=self.watermark.batch_id if self.watermark else None,
            snapshot_at=batch_time(self.snapshot, self.watermark),
            source_xmin=self.snapshot.xmin,
            identity=self.snapshot.identity,
            reconcile=self.reconcile,
            landed=tuple(landed),
            tables={name: self._table(plan, landed) for name, plan in self.tables.items()},
        )

    def _table(self, plan: TablePlan, landed: Sequence[Landed]) -> TableBatch:
        """What has landed of a table, beside the state carried from before."""
        name = plan.table.name
        files = tuple(file for piece in landed if piece.part.table == name for file in piece.files)
        last = self.previous.tables.get(name) if self.previous else None
        carried = name in self.looked_up
        # Rows of other types or columns cannot be compared with; all of them go on then.
        before = last.state if last and carried and last.columns == plan.table.columns else None
        kept = () if plan.mode == "full" or before is None else before
        return TableBatch(
            table=name,
            mode=plan.mode if plan.is_new else "unchanged",
            reason=plan.reason if plan.is_new else "no change",
            columns=plan.table.columns,
            key=plan.table.key,
            heaps=plan.table.heaps,
            files=files,
            state=((*kept, files) if files else kept) if carried else None,
            before=before,
        )


def make(
    connection: Connection,
    snapshot: Snapshot,
    schema: str,
    models: Mapping[str, Model],
    loaded: Mapping[str, str],
    watermark: Watermark | None,
    previous: Manifest | None,
    *,
    reconcile: bool,
    full: bool,
    most_bytes: int | None = None,
) -> BatchPlan:
    """Look at the source and plan the batch that follows ``previous``.

    ``loaded`` are the fingerprints of the models that the warehouse was computed with. Changed
    rows are counted, which reads the whole table, in tables of up to ``most_bytes``.
    Raises ModelError where a model reads a table that the source does not have.
    """
    tables = _described(connection, schema, models)
    changed = frozenset(name for name, model in models.items() if loaded.get(name) != model.fingerprint)
    forced = dict.fromkeys(tables, "reconciling" if reconcile else _WHOLE) if reconcile or full else {}
    forced = affected(models, changed) | forced
    carried = frozenset(looked_up(models))
    cursors = {name: cursor for model in models.values() for name, cursor in model.cursors.items()}
    plans = {}
    for name, table in tables.items():
        last = previous.tables.get(name) if previous else None
        reason = (
            _whole_batch_reason(snapshot, previous, watermark)
            or forced.get(name)
            or _table_reason(table, last, name in carried, name in cursors)
        )
        slice_ = Slice() if reason or not watermark else _since(watermark, cursors.get(name))
        plans[name] = TablePlan(
            table, "full" if reason else "changes", reason or "changed rows", slice_, table.estimated_rows
        )
    return BatchPlan(
        snapshot,
        watermark,
        previous,
        _counted(connection, schema, plans, most_bytes),
        carried,
        changed,
        reconcile,
    )


def _described(connection: Connection, schema: str, models: Mapping[str, Model]) -> dict[str, Table]:
    names = source_tables(models)
    tables = source.tables(connection, schema, sorted(names))
    for model in models.values():
        for name in sorted(model.reads & (names - tables.keys())):
            raise ModelError(
                f"{model.path}: reads table {name}, which schema {schema} of the source does not have"
            )
    return tables


def _counted(
    connection: Connection, schema: str, plans: dict[str, TablePlan], most_bytes: int | None
) -> dict[str, TablePlan]:
    """The plans with the number of changed rows in them, which one query tells."""
    changing = {name: plan for name, plan in plans.items() if plan.mode == "changes"}
    slices = {name: plan.slice for name, plan in changing.items() if _is_small(plan.table, most_bytes)}
    counts = source.count(connection, schema, slices)
    return plans | {name: replace(plan, rows=counts.get(name)) for name, plan in changing.items()}


def _is_small(table: Table, most_bytes: int | None) -> bool:
    return most_bytes is None or (table.bytes is not None and table.bytes <= most_bytes)


def _whole_batch_reason(
    snapshot: Snapshot, previous: Manifest | None, watermark: Watermark | None
) -> str | None:
    if watermark is None:
        return "first batch"
    if previous is None:
        return "the last batch's manifest is lost"
    if previous.identity != snapshot.identity:
        return "another source than the last batch's"
    if not 0 <= snapshot.xmax - watermark.source_xmin < MAX_AGE:
        return "the watermark's transaction ids have wrapped around"
    return None


def _table_reason(table: Table, last: TableBatch | None, carried: bool, has_cursor: bool) -> str | None:
    if last is None:
        return "not read before"
    if last.heaps != table.heaps:
        return "another table stands under this name"
    if last.columns != table.columns:
        return "its columns have changed"
    if carried and last.state is None:
        return "looked up from now on"
    if carried and not table.key:
        return "looked up, but without a primary key"
    if not table.has_xmin and not has_cursor:
        return "no xmin and no cursor column"
    return None


def _since(watermark: Watermark, cursor: Cursor | None) -> Slice:
    if cursor:
        return Slice(cursor=cursor, since_time=watermark.snapshot_at)
    return Slice(since=watermark.source_xmin)


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
