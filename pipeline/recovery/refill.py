"""Refill tables that are not as they were loaded, from the batches in the lake.

A fact is emptied and its batches are replayed in order, so that each version gets its original time. A
dimension is never emptied, because facts refer to it: missing rows are inserted, wrong ones corrected, and
its history stays.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from pipeline.errors import ModelError, ObjectMissing, UnusableBatch
from pipeline.lake.adapt import UnreadTables, with_later_columns
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest, StateDelta, TableBatch
from pipeline.lake.state import write_merged
from pipeline.models.library import Model, closure, tables_read
from pipeline.models.output import Loaded, Output, no_output
from pipeline.models.reference_tables import NAMES
from pipeline.models.target import Target, versions_name
from pipeline.models.transform import transform
from pipeline.models.work import Work, needed
from pipeline.postgres import Connection, transaction
from pipeline.recovery import former_rows, rejections
from pipeline.recovery.batches import Batches, loaded_batches
from pipeline.warehouse import bindings
from pipeline.warehouse.ledger import record_model
from pipeline.warehouse.limits import DEFAULT, UNLIMITED, Limits
from pipeline.warehouse.load_table import load_table
from pipeline.warehouse.mismatches import Mismatch
from pipeline.warehouse.referring import load_groups
from pipeline.warehouse.rejected import tables_to_retry
from pipeline.warehouse.table import Table

_logger = logging.getLogger(__name__)

_UNUSABLE = (ModelError, ObjectMissing)  # for a batch that cannot be computed again


@dataclass(frozen=True)
class Replay:
    """How a table is refilled: its model's outputs for a number of batches.

    With ``empties`` its rows and rejected rows are deleted first. With ``restores`` the only output has all
    rows, and the history stays.
    """

    target: Target
    outputs: tuple[tuple[Manifest, Output], ...]
    loaded: Loaded
    empties: bool = False
    restores: bool = False

    @property
    def forgets_versions(self) -> bool:
        """Whether all versions of a dimension are loaded again, beside its rows."""
        return self.empties and not (self.restores or self.target.fact or self.target.bridge)

    def output(self, manifest: Manifest) -> Output | None:
        """The model's output for a batch, if it has one."""
        return next((output for batch, output in self.outputs if batch.batch_id == manifest.batch_id), None)


@dataclass(frozen=True)
class Lake:
    """The models, their tables, and both buckets."""

    models: Mapping[str, Model]
    targets: Mapping[str, Target]
    raw: Bucket
    processed: Bucket

    def replay(self, mismatch: Mismatch, batches: Batches) -> Replay | None:
        """How to refill a table; None if the lake lacks what that needs."""
        target = self.targets[mismatch.table]
        try:
            known = batches.manifests if mismatch.is_erased else batches.is_complete
            if known and (target.fact or mismatch.lacks_history):
                return self._forward(target, batches.manifests, empties=True)
            if not target.fact and not mismatch.may_be_ahead:
                return self._present(target, batches)
        except _UNUSABLE as error:
            _logger.warning("warehouse: %s cannot be filled with its history: %s", target.name, error)
        if mismatch.may_be_ahead and not mismatch.is_empty:
            return None  # its rows may exist nowhere else
        if not target.fact:
            with suppress(*_UNUSABLE):
                return self._present(target, batches)
            return None
        return self._last_batches(target, batches) if mismatch.is_empty else None

    def _last_batches(self, target: Target, batches: Batches) -> Replay | None:
        """The last batches, as many as can be computed again."""
        for start in range(len(batches.manifests)):
            try:
                return self._forward(target, batches.manifests[start:], empties=True)
            except _UNUSABLE:
                continue
        return None

    def _forward(self, target: Target, manifests: Sequence[Manifest], *, empties: bool) -> Replay:
        outputs, unread = [], self.unread_tables(target.name)
        loaded: Loaded | None = None
        for manifest in map(unread.added_to, manifests):
            output = self.output(target.name, manifest, loaded)
            if output:
                outputs.append((manifest, output))
                loaded = Loaded(fingerprint=output.fingerprint, result=output.result)
        return Replay(target, tuple(outputs), loaded or Loaded(fingerprint=""), empties=empties)

    def _present(self, target: Target, batches: Batches) -> Replay | None:
        """The model's present result, with former rows as they last were if its table keeps these."""
        if not batches.manifests:
            return None
        *earlier, last = batches.manifests
        empties = target.bridge and not self.models[target.name].keeps_rows
        present = self._forward(target, [last], empties=empties)
        ((_, output),) = present.outputs
        if not empties:
            with suppress(*_UNUSABLE):  # without earlier batches, former rows stay as they are
                before = self._forward(target, earlier, empties=False).outputs
                output = self._with_earlier(target, output, [each for _, each in before], last.batch_id)
        return replace(present, outputs=((last, output),), restores=True)

    def _with_earlier(
        self, target: Target, present: Output, before: Sequence[Output], batch_id: str
    ) -> Output:
        """The present result, and the newest earlier rows of keys that are no longer in it."""
        table = TableBatch(
            table=target.name, mode="changes", reason="", columns=present.columns, key=target.key, heaps=""
        )
        runs = tuple(StateDelta(files=output.files) for output in (*before, present))
        return present.model_copy(update={"files": write_merged(table, runs, batch_id, self.processed)})

    def unread_tables(self, name: str) -> UnreadTables:
        """Adds to batches the tables that a model reads and that they lack."""
        return UnreadTables(self.raw, tables_read(closure(self.models, name)) - NAMES)

    def output(self, name: str, manifest: Manifest, loaded: Loaded | None) -> Output | None:
        """A model's output for a batch; None if the batch does not change its result.

        Columns and tables that only later batches have are NULL or empty, as in a rebuild.
        """
        try:
            return self._computed(name, manifest, loaded)
        except ModelError:
            tables = tables_read(closure(self.models, name))
            return self._computed(name, with_later_columns(self.raw, manifest, tables), loaded)

    def _computed(self, name: str, manifest: Manifest, loaded: Loaded | None) -> Output | None:
        """The output for a batch that has all tables and columns that the model reads."""
        below = closure(self.models, name)
        if missing := tables_read(below) - manifest.tables.keys() - NAMES:
            raise UnusableBatch(f"batch {manifest.batch_id} was read before {name} read {', '.join(missing)}")
        if not needed(below, manifest, loaded):
            return None
        work = Work(below, self.targets, manifest, loaded, self.raw, self.processed)
        if loaded is None and any(table.state is None and table.mode != "full" for table in work.tables):
            raise UnusableBatch(f"batch {manifest.batch_id} has no state of all that {name} reads")
        return transform(work)


def refill(
    url: str, schema: str, lake: Lake, mismatches: Sequence[Mismatch], limits: Limits = DEFAULT
) -> tuple[dict[str, int], list[str]]:
    """Refill tables from the lake; returns rows by table, and the tables that it cannot refill.

    The latter are marked as unknown in etl.model, so that the next batch loads all that the source has.
    """
    batches = loaded_batches(url, schema, lake.raw)
    replays = {each.table: lake.replay(each, batches) for each in mismatches}
    lost = [name for name, replay in replays.items() if replay is None]
    possible = [each for each in replays.values() if each]
    return fill(url, schema, lake, batches, possible, lost, limits), lost


def fill(
    url: str,
    schema: str,
    lake: Lake,
    batches: Batches,
    replays: Sequence[Replay],
    lost: Sequence[str],
    limits: Limits,
) -> dict[str, int]:
    """Refill tables in one transaction, and mark the ``lost`` ones as unknown; returns rows by table.

    Raises ConcurrentRunError if another run has loaded a batch in the meantime, and WarehouseError if a table
    would lose more rows than the limits allow.
    """
    with transaction(url, "warehouse") as connection:
        last = batches.lock_for_load(connection, schema)
        _mark_lost(connection, schema, lost)
        before = rejections.unresolved(connection, schema)
        for target in (each.target for each in replays if each.forgets_versions):
            former_rows.note(connection, schema, target, batches.manifests[0].snapshot_at)
        for replay in replays:
            if replay.empties:
                _empty(connection, schema, replay)
        by_name = {replay.target.name: replay for replay in replays}
        alone = {name for name, replay in by_name.items() if replay.restores}
        targets = [replay.target for replay in replays]
        groups = [[by_name[name] for name in each] for each in load_groups(targets, alone)]
        for group in groups:
            if group[0].restores:
                _restore(connection, schema, lake, group[0])
            for manifest in () if group[0].restores else batches.manifests:
                load_again(connection, schema, lake, manifest, group)
        ordered = [replay for group in groups for replay in group]
        for replay in reversed(ordered):
            if replay.forgets_versions:
                former_rows.delete(connection, schema, replay.target)
        rejections.check_share(connection, schema, targets, before, limits)
        filled = _bind(connection, schema, last, replays)
        forward = [each.target.name for each in ordered if each.target.name not in alone]
        rejections.restate_early(connection, schema, lake.targets, forward)
        return filled


def _mark_lost(connection: Connection, schema: str, names: Sequence[str]) -> None:
    """Mark tables as unknown.

    Unlike a new model's tables they are not restated: their rows may exist nowhere else.
    """
    connection.execute(
        "UPDATE etl.model SET fingerprint = '', to_restate = false, result = NULL, row_count = NULL,"
        " version_count = NULL, imported_from = NULL WHERE schema_name = %s AND table_name = ANY(%s)",
        (schema, list(names)),
    )


def load_again(
    connection: Connection,
    schema: str,
    lake: Lake,
    manifest: Manifest,
    replays: Sequence[Replay],
    unread: Collection[str] = (),
) -> None:
    """Load a batch into these tables, and retry their rejected rows.

    ``unread`` are tables that nobody else reads, so that what refers only to them is filled quickly.
    """
    to_retry = tables_to_retry(connection, schema)
    for replay in replays:
        name, output = replay.target.name, replay.output(manifest)
        if output is None and name in to_retry:
            output = no_output(replay.target)
        if output:
            table = Table(connection, schema, replay.target, _columns(output), manifest)
            _merge(table, output, lake, unread, retries=name in to_retry)


def _merge(
    table: Table, output: Output, lake: Lake, unread: Collection[str] = (), *, retries: bool = False
) -> None:
    # The limits on rejected and deleted rows applied when the batch was first loaded.
    load_table(table, output, lake.processed, lambda _: None, UNLIMITED, set(unread), retries=retries)


def _restore(connection: Connection, schema: str, lake: Lake, replay: Replay) -> None:
    """Correct a table's rows and insert missing ones."""
    ((manifest, output),) = replay.outputs
    table = Table(connection, schema, replay.target, _columns(output), manifest, keeps_history=False)
    _merge(table, output, lake)


def _empty(connection: Connection, schema: str, replay: Replay) -> None:
    """Delete the rows of a fact or bridge, and the versions of a table whose batches are all replayed."""
    target = replay.target
    tables = [target.name] if target.fact or target.bridge else []
    if not replay.restores:
        forgotten = connection.execute(
            "UPDATE etl.model SET imported_from = NULL"
            " WHERE schema_name = %s AND table_name = %s AND imported_from IS NOT NULL",
            (schema, target.name),
        )
        if forgotten.rowcount:
            _logger.warning("%s: refilling it removes its imported versions; import them again", target.name)
        tables += [] if target.fact else [versions_name(target.name)]
        connection.execute(
            "DELETE FROM etl.rejected WHERE schema_name = %s AND table_name = %s", (schema, target.name)
        )
    for name in (sql.Identifier(schema, table) for table in tables):
        try:
            with connection.transaction():
                connection.execute(sql.SQL("TRUNCATE {}").format(name))
        except psycopg.errors.FeatureNotSupported:
            connection.execute(sql.SQL("DELETE FROM {}").format(name))  # a foreign key refers to it


def _bind(connection: Connection, schema: str, last: str, replays: Sequence[Replay]) -> dict[str, int]:
    """Record in etl.model what the tables hold now and which models computed it."""
    for replay in replays:
        previous = last if replay.restores else None  # history that was computed before stays
        record_model(connection, schema, last, replay.target, replay.loaded, previous)
    targets = {replay.target.name: replay.target for replay in replays}
    bindings.bind(connection, schema, last, targets, dict.fromkeys(targets))
    return bindings.count_rows(connection, schema, targets)


def _columns(output: Output) -> tuple[str, ...]:
    return tuple(column.name for column in output.columns)
