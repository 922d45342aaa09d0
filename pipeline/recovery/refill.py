"""Refill tables that are not as they were loaded, from the batches in the lake.

A fact is emptied and its batches are replayed in order, so that each version gets its original time. A
dimension is never emptied, because facts refer to it: missing rows are inserted, wrong ones corrected, and
its history stays.
"""

import logging
from collections.abc import Collection, Sequence

import psycopg
from psycopg import sql

from pipeline.lake.manifest import Manifest
from pipeline.models.output import Output, no_output
from pipeline.models.target import versions_name
from pipeline.postgres import Connection, transaction
from pipeline.recovery import former_rows, rejections
from pipeline.recovery.batches import Batches, loaded_batches
from pipeline.recovery.replays import Replay, Replayer
from pipeline.warehouse import bindings
from pipeline.warehouse.ledger import record_model
from pipeline.warehouse.limits import DEFAULT, UNLIMITED, Limits
from pipeline.warehouse.load_table import load_table
from pipeline.warehouse.mismatches import Mismatch
from pipeline.warehouse.referring import load_groups
from pipeline.warehouse.rejected import tables_to_retry
from pipeline.warehouse.table import Table

_logger = logging.getLogger(__name__)


def refill(
    url: str, schema: str, replayer: Replayer, mismatches: Sequence[Mismatch], limits: Limits = DEFAULT
) -> tuple[dict[str, int], list[str]]:
    """Refill tables from the lake; returns rows by table, and the tables that it cannot refill.

    The latter are marked as unknown in etl.model, so that the next batch loads all that the source has.
    """
    batches = loaded_batches(url, schema, replayer.raw)
    replays = {each.table: replayer.replay(each, batches) for each in mismatches}
    lost = [name for name, replay in replays.items() if replay is None]
    possible = [each for each in replays.values() if each]
    return fill(url, schema, replayer, batches, possible, lost, limits), lost


def fill(
    url: str,
    schema: str,
    replayer: Replayer,
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
                _restore(connection, schema, replayer, group[0])
            for manifest in () if group[0].restores else batches.manifests:
                load_again(connection, schema, replayer, manifest, group)
        ordered = [replay for group in groups for replay in group]
        for replay in reversed(ordered):
            if replay.forgets_versions:
                former_rows.delete(connection, schema, replay.target)
        rejections.check_share(connection, schema, targets, before, limits)
        filled = _bind(connection, schema, last, replays)
        forward = [each.target.name for each in ordered if each.target.name not in alone]
        rejections.restate_early(connection, schema, replayer.targets, forward)
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
    replayer: Replayer,
    manifest: Manifest,
    replays: Sequence[Replay],
    unread: Collection[str] = (),
) -> None:
    """Load a batch into these tables, and retry their rejected rows.

    ``unread`` are tables that nobody else reads, so that what refers only to them is filled quickly.
    """
    to_retry = tables_to_retry(connection, schema, [each.target.name for each in replays])
    for replay in replays:
        name, output = replay.target.name, replay.output(manifest)
        if output is None and name in to_retry:
            output = no_output(replay.target)
        if output:
            table = Table(connection, schema, replay.target, output.names, manifest)
            _merge(table, output, replayer, unread, retries=name in to_retry)


def _merge(
    table: Table, output: Output, replayer: Replayer, unread: Collection[str] = (), *, retries: bool = False
) -> None:
    # The limits on rejected and deleted rows applied when the batch was first loaded.
    load_table(table, output, replayer.processed, lambda _: None, UNLIMITED, set(unread), retries=retries)


def _restore(connection: Connection, schema: str, replayer: Replayer, replay: Replay) -> None:
    """Correct a table's rows and insert missing ones."""
    ((manifest, output),) = replay.outputs
    table = Table(connection, schema, replay.target, output.names, manifest, keeps_history=False)
    _merge(table, output, replayer)


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
