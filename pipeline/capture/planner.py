"""Plan a batch: which tables to read, how much of each, and why."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from pipeline.capture.as_text import Places, columns_as_text
from pipeline.capture.batch_plan import BatchPlan
from pipeline.capture.reasons import (
    HISTORY_LOST,
    REQUESTED,
    BatchStart,
    batch_start,
    changes_since,
    reason_to_read_in_full,
)
from pipeline.capture.rights import check_rights, cursors_of
from pipeline.capture.seeds import kept_seeds
from pipeline.capture.source_tables import described, former_names, refuse_another_schema
from pipeline.capture.tables import TablePlan, in_full_if_necessary, is_small
from pipeline.capture.unscanned import last_marks, no_change, unscanned
from pipeline.lake.erasures import Entry, Erasure, entries_of
from pipeline.lake.manifest import Manifest, TableBatch, Watermark
from pipeline.models import personal, reference_tables
from pipeline.models.library import Model, closure, read_seeds
from pipeline.models.output import Loaded
from pipeline.postgres import Connection
from pipeline.source.catalogue import Table
from pipeline.source.changes import Slice, probe
from pipeline.source.cursors import Cursor
from pipeline.source.hashing import HashKey
from pipeline.source.snapshots import Snapshot
from pipeline.source.wal_summaries import marks


@dataclass(frozen=True)
class Request:
    """What to plan a batch for.

    ``loaded`` has the fingerprints of the models that computed the warehouse's tables, ``watermark`` and
    ``previous`` are its last batch. Counting changed rows scans a table; tables larger than ``most_bytes``
    are not counted. ``key`` hashes personal columns. ``forgotten`` are the erased rows. ``checkpoint``: the
    source may write a checkpoint if that helps. ``as_text`` are columns to read as text, beside those of the
    last batch.
    """

    models: Mapping[str, Model]
    loaded: Mapping[str, Loaded]
    watermark: Watermark | None
    previous: Manifest | None
    reconcile: bool = False
    full: bool = False
    most_bytes: int | None = None
    key: HashKey | None = None
    forgotten: Collection[Entry] = ()
    checkpoint: bool = False
    as_text: Places = frozenset()

    @property
    def reads_all(self) -> bool:
        """Whether all rows are asked for."""
        return self.reconcile or self.full


def plan_batch(connection: Connection, snapshot: Snapshot, schema: str, request: Request) -> BatchPlan:
    """Probe the source and plan the batch that follows the last one.

    Raises ModelError where a model reads a table that the source does not have, and SettingsError where one
    hashes columns and there is no key.
    """
    models, previous, watermark = request.models, request.previous, request.watermark
    tables = _tables(connection, schema, request)
    refuse_another_schema(connection, schema, tables, snapshot, previous)
    changed = _changed_models(models, request.loaded)
    start = batch_start(connection, schema, tables, snapshot, previous, watermark, forced=request.reads_all)
    plans = _table_plans(connection, schema, request, tables, changed, start)
    unchanged: frozenset[str] = frozenset()
    if request.reconcile and watermark:
        ordinary = replace(request, reconcile=False, full=False, checkpoint=False)
        unchanged = _unchanged(models, plan_batch(connection, snapshot, schema, ordinary))
    last = last_marks(snapshot, previous, watermark)
    unscanned_tables = unscanned(connection, snapshot, plans, previous, last, checkpoint=request.checkpoint)
    return BatchPlan(
        snapshot,
        watermark,
        previous,
        tables=_with_counts(connection, schema, plans, previous, request.most_bytes, unscanned_tables.tables),
        changed_models=changed,
        reconcile=request.reconcile or start.reason in HISTORY_LOST,
        seeds=read_seeds(models),
        kept_seeds={} if request.reads_all or start.reason else kept_seeds(models, previous),
        unchanged=unchanged,
        erasures=_erasures(models, tables, snapshot, request),
        restarted=start.restarted,
        scan_reason=unscanned_tables.reason,
        wal_marks=marks(snapshot, last),
        schema=schema,
    )


def _tables(connection: Connection, schema: str, request: Request) -> dict[str, Table]:
    """The tables that the models read, with their columns as they are read."""
    last = None if request.full else request.previous
    found = columns_as_text(described(connection, schema, request.models), request.as_text, last)
    tables = _with_hashes(request.models, found, request.key)
    check_rights(request.models, tables)
    return tables


def _table_plans(
    connection: Connection,
    schema: str,
    request: Request,
    tables: Mapping[str, Table],
    changed: Collection[str],
    start: BatchStart,
) -> dict[str, TablePlan]:
    """The plans of the tables, before their rows are counted."""
    cursors = cursors_of(connection, schema, request.models, tables)
    forced = _read_by_cursor(request.models, changed)
    if request.reads_all:
        forced = dict.fromkeys(tables, "reconciling" if request.reconcile else REQUESTED)
    last = request.previous.tables if request.previous else {}
    return {
        name: _table_plan(table, last.get(name), cursors.get(name), start, forced.get(name))
        for name, table in tables.items()
    }


def _changed_models(models: Mapping[str, Model], loaded: Mapping[str, Loaded]) -> frozenset[str]:
    """The models that are new or differ from those that computed the warehouse's tables."""
    return frozenset(
        name
        for name, model in models.items()
        if name not in loaded or loaded[name].fingerprint != model.fingerprint
    )


def _table_plan(
    table: Table, last: TableBatch | None, cursor: Cursor | None, start: BatchStart, forced: str | None
) -> TablePlan:
    """The plan of a table, before its rows are counted; ``forced`` is a reason to read it in full."""
    reason = start.reason_of(table) or forced or reason_to_read_in_full(table, last, cursor)
    reached = last.reached if last else None
    if reason or start.since is None:
        return TablePlan(table, "full", reason or "", Slice(cursor=cursor), reached=reached)
    changes = changes_since(start.since, cursor, reached)
    return TablePlan(table, "changes", "changed rows", changes, reached=reached)


def _erasures(
    models: Mapping[str, Model], tables: Mapping[str, Table], snapshot: Snapshot, request: Request
) -> dict[str, Erasure]:
    """The values to erase from forgotten rows that the source may still have, by table.

    Those of a table that was renamed or moved have its former name.
    """
    declared = _personal(models, tables)
    erasures = {}
    for name, table in tables.items():
        names = (name, *former_names(table, snapshot, request.previous))
        entries = tuple(entry for each in names for entry in entries_of(request.forgotten, each))
        key = tuple(column for column in table.columns if column.name in table.key)
        if entries and key:
            personal_columns = declared.get(name, {}).keys() - set(table.key)
            columns = tuple(column for column in table.columns if column.name in personal_columns)
            erasures[name] = Erasure(key=key, columns=columns, entries=entries)
    return erasures


def _personal(models: Mapping[str, Model], tables: Mapping[str, Table]) -> dict[str, dict[str, bool]]:
    names = {
        name: [column.name for column in (*table.columns, *table.unreadable)]
        for name, table in tables.items()
    }
    return personal.personal_columns(models, names)


def _unchanged(models: Mapping[str, Model], ordinary: BatchPlan) -> frozenset[str]:
    """The models whose tables an ordinary run would not change."""
    unchanged = {
        name for name, plan in ordinary.tables.items() if not plan.is_new and plan.slice.cursor is None
    }
    unchanged |= models.keys() | ordinary.kept_seeds.keys() | reference_tables.NAMES
    unchanged |= reference_tables.QUALIFIED - {reference_tables.BATCH}
    return frozenset(
        name
        for name in models.keys() - ordinary.changed_models
        if all(below.reads <= unchanged and not below.unstable for below in closure(models, name).values())
    )


def _read_by_cursor(models: Mapping[str, Model], changed: Collection[str]) -> dict[str, str]:
    """The relations with a cursor that changed models read, with the reason to read them in full."""
    cursors = {name for model in models.values() for name in model.cursors}
    return {
        name: f"{model} or its model is new or changed"
        for model in changed
        for below in closure(models, model).values()
        for name in below.reads & cursors
    }


def _with_hashes(
    models: Mapping[str, Model], tables: Mapping[str, Table], key: HashKey | None
) -> dict[str, Table]:
    """The tables with hashes in place of the columns that models declare as hashed."""
    declared, key_id = _personal(models, tables), personal.key_id(models, key)
    return {
        name: table.model_copy(
            update={"columns": tuple(personal.with_hashes(table.columns, declared.get(name, {}), key_id))}
        )
        for name, table in tables.items()
    }


def _with_counts(
    connection: Connection,
    schema: str,
    plans: dict[str, TablePlan],
    previous: Manifest | None,
    most_bytes: int | None,
    unchanged: Collection[str],
) -> dict[str, TablePlan]:
    """The plans with counts of changed and of replaced rows, from one probe of the tables not ``unchanged``.

    Every unchanged row existed at the last batch. So the rows that this batch had beyond the unchanged ones
    were updated or deleted.
    """
    changes = [
        (plan.table, plan.slice)
        for plan in plans.values()
        if plan.mode == "changes" and is_small(plan.table, most_bytes) and plan.table.name not in unchanged
    ]
    last = previous.tables if previous else {}
    probes = probe(connection, schema, changes) | {name: no_change(last[name]) for name in unchanged}
    counted = dict(plans)
    for name, counts in probes.items():
        before = last[name].source_rows if name in last else None
        plan = replace(plans[name], probe=counts)
        if counts.total is not None and before is not None:
            plan = replace(plan, replaced=before - (counts.total - counts.rows))
        counted[name] = in_full_if_necessary(plan, is_counted=counts.total is not None and before is not None)
    return counted
