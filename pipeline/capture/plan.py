"""Plan a batch: which tables to read, how much of each, and why."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

from pipeline.capture.batch import BatchPlan
from pipeline.capture.reasons import (
    ASKED_FOR,
    OTHER_ROWS,
    changes_since,
    reason_to_read_whole,
    where_it_begins,
)
from pipeline.capture.rights import check_rights, cursors_of
from pipeline.capture.tables import TablePlan, is_small, without_surprise
from pipeline.columns import has_identity
from pipeline.errors import ModelError
from pipeline.lake.erasures import Entry, Erased
from pipeline.lake.manifests import Manifest, TableBatch, Watermark
from pipeline.models import personal, reference
from pipeline.models.library import Model, closure, read_seeds, source_tables
from pipeline.models.output import Loaded
from pipeline.postgres import Connection
from pipeline.source.catalogue import Table, describe, existing
from pipeline.source.changes import Slice, probe
from pipeline.source.hashing import HashKey
from pipeline.source.snapshots import Snapshot


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
        forced = dict.fromkeys(tables, "reconciling" if reconcile else ASKED_FOR)
    beginning = where_it_begins(
        connection, schema, tables, snapshot, previous, watermark, forced=reconcile or full
    )
    plans = {}
    for name, table in tables.items():
        last = previous.tables.get(name) if previous else None
        reason = beginning.whole or forced.get(name) or reason_to_read_whole(table, last, cursors.get(name))
        slice_ = Slice(cursor=cursors.get(name))
        if not reason and last and beginning.since is not None:
            slice_ = changes_since(beginning.since, cursors.get(name), last.reached)
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
        reconcile or beginning.whole in OTHER_ROWS,
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
    return personal.personal_columns(models, names)


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
    if seeds and (like := existing(connection, schema, sorted(seeds))):
        raise ModelError(f"{seeds[like[0]].path}: has the name of a table of the source; rename the seed")
    tables = {
        name: _with_known_key(table) for name, table in describe(connection, schema, sorted(names)).items()
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
        if plan.mode == "changes" and is_small(plan.table, most_bytes)
    ]
    surveys = probe(connection, schema, changes)
    counted = dict(plans)
    for name, survey in surveys.items():
        before = previous.tables[name].source_rows if previous else None
        plan = replace(plans[name], survey=survey)
        if survey.total is not None and before is not None:
            plan = replace(plan, replaced=before - (survey.total - survey.rows))
        counted[name] = without_surprise(plan, is_counted=survey.total is not None and before is not None)
    return counted
