"""Load a batch: dimensions, then facts, then the watermark, all in one transaction."""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import cast

from psycopg.types.json import Jsonb

from pipeline.errors import ConcurrentRunError, TooManyRejected, WarehouseError
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest
from pipeline.models.output import Loaded, Output, nothing
from pipeline.models.target import Target
from pipeline.postgres import Connection, statement, transaction
from pipeline.source.snapshots import Snapshot
from pipeline.warehouse import bindings
from pipeline.warehouse.merge import Counts, merge
from pipeline.warehouse.table import Table
from pipeline.words import counted

Progress = Callable[[str, int], None]
# Held by a load of a schema, beside the lock that keeps runs apart: that one may be lost meanwhile.
_LOCK = "totesys-etl load"


def load(
    url: str,
    schema: str,
    manifest: Manifest,
    targets: Mapping[str, Target],
    outputs: Iterable[Output],
    processed: Bucket,
    max_rejected: int | None,
    max_rejected_share: float,
    progress: Progress,
    usual_deleted_share: float = 0.5,
    max_deleted_share: float | None = None,
) -> list[Counts]:
    """Bring a batch and the watermark that covers it into the warehouse, or nothing.

    ``progress`` is told a table's name and its rows copied so far. Where the batch is in the
    warehouse already, because the answer to an earlier COMMIT was lost, its counts are returned. Raises
    ConcurrentRunError where another run has loaded a batch after the same one,
    WarehouseError where a table would lose all its rows or more than ``max_rejected_share`` of
    them, or more than it may of what it has by deletion: ``max_deleted_share`` where that is given, else
    what its model says, else ``usual_deleted_share``; TooManyRejected where more rows than
    ``max_rejected`` would be rejected.
    """
    by_name = {output.model: output for output in outputs if output.fingerprint}
    with transaction(url, "warehouse") as connection:
        loaded = _begin(connection, schema, manifest)
        if loaded is not None:
            return loaded
        _close_strangers(connection, schema, targets)
        waits = waiting(connection, schema)
        for name in waits - by_name.keys():
            by_name[name] = nothing(targets[name])
        counts, filled = [], set[str]()
        for name in order(targets[name] for name in by_name):
            output = by_name[name]
            columns = tuple(column.name for column in output.columns)
            table = Table(connection, schema, targets[name], columns, manifest)
            news = partial(progress, name)
            shares = (max_deleted_share, targets[name].max_deleted_share, usual_deleted_share)
            most_deleted = next(share for share in shares if share is not None)
            counts.append(
                merge(
                    table, output, processed, news, max_rejected_share, filled, most_deleted,
                    is_waiting=name in waits,
                )
            )  # fmt: skip
        counts = [_with_missed(count, targets, manifest) for count in counts]
        rejected = sum(count.rejected for count in counts)
        if max_rejected is not None and rejected > max_rejected:
            raise TooManyRejected(
                f"warehouse: {counted(rejected, 'row')} would be rejected, more than the"
                f" {max_rejected:,} allowed; nothing was loaded"
            )
        _commit(connection, schema, manifest, by_name.values(), counts)
        grown = {
            count.table: bindings.growth(
                targets[count.table], added=count.added, changed=count.changed, deleted=count.deleted
            )
            for count in counts
        }
        bindings.bind(connection, schema, manifest.batch_id, targets, grown)
    return counts


def record_up_to_date(url: str, schema: str, batch_id: str, snapshot: Snapshot) -> None:
    """Note that the source held nothing newer than this batch at the snapshot's time."""
    with transaction(url, "warehouse") as connection:
        done = connection.execute(
            "UPDATE etl.watermark SET up_to_date_at = GREATEST(up_to_date_at, %s), source_xmin = %s"
            " WHERE schema_name = %s AND batch_id = %s AND source_xmin <= %s",
            (snapshot.taken_at, snapshot.xmin, schema, batch_id, snapshot.xmin),
        ).rowcount
    if not done:
        raise ConcurrentRunError("warehouse: another run has moved the watermark meanwhile")


def order(targets: Iterable[Target]) -> list[str]:
    """Tables after those they refer to, dimensions before facts where nothing else says."""
    targets = sorted(targets, key=lambda target: (target.fact, target.name))
    names = {target.name for target in targets}
    graph = {
        target.name: {reference.to_table for reference in target.references} & names - {target.name}
        for target in targets
    }
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise WarehouseError(f"warehouse: tables refer to each other in a circle: {error.args[1]}") from None


def _with_missed(count: Counts, targets: Mapping[str, Target], manifest: Manifest) -> Counts:
    """The counts with what ordinary runs had missed: all, where these would have changed nothing.

    Nor may they have changed what the table refers to, because rejected rows wait for that.
    """
    names, new = set[str](), {count.table}
    while new:
        names |= new
        new = {
            reference.to_table
            for name in new
            for reference in targets[name].references
            if reference.to_table in targets
        } - names
    missed = count.added + count.changed + count.deleted if names <= set(manifest.quiet) else 0
    return count.model_copy(update={"missed": missed})


def claim(connection: Connection, schema: str) -> str | None:
    """Keep other loads of a schema away, and return the batch that it is at.

    From here to the end of the transaction no other one can begin, whatever became of the lock that
    keeps runs apart.
    """
    connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s), hashtext(%s))", (_LOCK, schema))
    row = connection.execute(
        "SELECT batch_id FROM etl.watermark WHERE schema_name = %s", (schema,)
    ).fetchone()
    return str(row[0]) if row else None


def _begin(connection: Connection, schema: str, manifest: Manifest) -> list[Counts] | None:
    """Claim the schema, if it still is at the batch that this one follows.

    Where it is at this very batch, return what the batch did.
    """
    now = claim(connection, schema)
    if now == manifest.batch_id:
        return _counts(connection, schema, manifest.batch_id)
    if now != manifest.previous:
        raise ConcurrentRunError(
            f"warehouse: batch {manifest.batch_id} follows {manifest.previous}, but the warehouse"
            f" is at {now}; another run was faster"
        )
    return None


def _counts(connection: Connection, schema: str, batch_id: str) -> list[Counts]:
    """What a batch did that is in the warehouse."""
    rows = connection.execute(
        "SELECT key, value FROM etl.batch, jsonb_each(rows) WHERE schema_name = %s AND batch_id = %s",
        (schema, batch_id),
    ).fetchall()
    return [Counts.model_validate({"table": table, **cast(dict[str, int], done)}) for table, done in rows]


def _close_strangers(connection: Connection, schema: str, targets: Collection[str]) -> None:
    """Close what was rejected of tables that no model yields any more."""
    connection.execute(
        "UPDATE etl.rejected SET resolved = true WHERE schema_name = %s AND NOT resolved"
        " AND table_name <> ALL(%s)",
        (schema, list(targets)),
    )


def waiting(connection: Connection, schema: str) -> set[str]:
    """Tables of which rows were rejected that may be taken now."""
    rows = connection.execute(
        "SELECT DISTINCT table_name FROM etl.rejected WHERE schema_name = %s AND waits AND NOT resolved",
        (schema,),
    ).fetchall()
    return {str(name) for (name,) in rows}


def _commit(
    connection: Connection,
    schema: str,
    manifest: Manifest,
    outputs: Iterable[Output],
    counts: list[Counts],
) -> None:
    """Write the batch down, and which models its tables are now computed with."""
    write_down(connection, schema, manifest, counts)
    for output in outputs:
        if output.fingerprint:
            loaded = Loaded(fingerprint=output.fingerprint, result=output.result)
            commit_model(connection, schema, manifest.batch_id, output.model, loaded)


def write_down(connection: Connection, schema: str, manifest: Manifest, counts: Iterable[Counts]) -> None:
    """Write down that a batch is in the warehouse, as the last one."""
    values = {
        "schema": schema,
        "batch": manifest.batch_id,
        "previous": manifest.previous,
        "at": manifest.snapshot_at,
        "manifest": manifest.path,
        "reconcile": manifest.reconcile,
        "source_xmin": manifest.source_xmin,
        "rows": Jsonb({count.table: count.model_dump(exclude={"table"}) for count in counts}),
    }
    connection.execute(statement("warehouse/commit_batch.sql"), values)
    connection.execute(statement("warehouse/commit_watermark.sql"), values)


def commit_model(connection: Connection, schema: str, batch_id: str, table: str, loaded: Loaded) -> None:
    """Write down what a table is now computed with."""
    result = loaded.result
    values = {
        "schema": schema,
        "batch": batch_id,
        "table_name": table,
        "fingerprint": loaded.fingerprint,
        "result": None if result is None else Jsonb([run.model_dump() for run in result]),
    }
    connection.execute(statement("warehouse/commit_model.sql"), values)
