"""Load a batch in one transaction: its tables, each after those that it refers to, and then the watermark."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from pipeline.beginning import at_once
from pipeline.errors import ConcurrentRunError
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest
from pipeline.models.output import Loaded, Output, no_output
from pipeline.models.target import Target
from pipeline.postgres import Connection, transaction
from pipeline.warehouse import bindings, ledger, rejected
from pipeline.warehouse.checks import NO_CHECKS, Checks, Warned, run
from pipeline.warehouse.counts import Counts, Growth
from pipeline.warehouse.limits import Limits
from pipeline.warehouse.load_table import load_table
from pipeline.warehouse.referring import load_order
from pipeline.warehouse.table import Table

Progress = Callable[[str, int], None]


def load(
    url: str,
    schema: str,
    manifest: Manifest,
    targets: Mapping[str, Target],
    outputs: Iterable[Output],
    processed: Bucket,
    limits: Limits,
    progress: Progress,
    checks: Checks = NO_CHECKS,
) -> list[Counts]:
    """Load a batch and move the watermark to it, or change nothing.

    ``checks`` are run on what was loaded. ``progress`` is called with a table's name and the number of rows
    copied so far. If the warehouse is at this batch already, because the answer to an earlier COMMIT was
    lost, the counts of that load are returned.

    Raises ConcurrentRunError if another run has loaded a batch meanwhile, WarehouseError or TooManyRejected
    if the batch exceeds the limits, and CheckFailed.
    """
    with transaction(url, "warehouse") as connection:
        current = ledger.lock_for_load(connection, schema)
        if current == manifest.batch_id:
            return ledger.recorded_counts(connection, schema, manifest.batch_id)
        if current != manifest.previous:
            raise ConcurrentRunError(
                f"warehouse: batch {manifest.batch_id} follows {manifest.previous}, but the warehouse"
                f" is at {current}; another run loaded a batch first"
            )
        by_table = {output.model: output for output in outputs if output.fingerprint}
        counts, grown = _load_tables(
            connection, schema, manifest, targets, by_table, processed, limits, progress
        )
        limits.check_rejected(sum(count.rejected for count in counts))
        loaded = [count.table for count in counts if count.added or count.changed]
        warned = run(connection, schema, targets, checks, manifest.snapshot_at, loaded)
        _record(connection, schema, manifest, targets, by_table.values(), counts, grown, warned)
    return counts


def _load_tables(
    connection: Connection,
    schema: str,
    manifest: Manifest,
    targets: Mapping[str, Target],
    outputs: Mapping[str, Output],
    processed: Bucket,
    limits: Limits,
    progress: Progress,
) -> tuple[list[Counts], dict[str, Growth]]:
    """Load the tables that have an output or rejected rows to retry, each after those that it refers to."""
    to_retry = rejected.tables_to_retry(connection, schema, targets)
    idle = {name: no_output(targets[name]) for name in to_retry - outputs.keys()}
    by_table = {**outputs, **idle}
    counts, grown, were_empty = [], dict[str, Growth](), set[str]()
    for name in load_order(targets[name] for name in by_table):
        output = by_table[name]
        table = Table(connection, schema, targets[name], output.names, manifest)
        copied, retries = partial(progress, name), name in to_retry
        count, grown[name] = load_table(table, output, processed, copied, limits, were_empty, retries=retries)
        counts.append(_with_missed(count, targets, manifest))
    return counts, grown


def _with_missed(count: Counts, targets: Mapping[str, Target], manifest: Manifest) -> Counts:
    """Count a table's changes as missed if an ordinary run would not have read them.

    That holds if nothing had changed in the table's sources, nor in those of the tables that it refers to:
    rejected rows are retried when these change.
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
    missed = count.added + count.changed + count.deleted if names <= set(manifest.unchanged) else 0
    return count.model_copy(update={"missed": missed})


def _record(
    connection: Connection,
    schema: str,
    manifest: Manifest,
    targets: Mapping[str, Target],
    outputs: Iterable[Output],
    counts: list[Counts],
    grown: Mapping[str, Growth],
    warned: Iterable[Warned],
) -> None:
    """Record the batch, the models that its tables were computed with, and how many rows these have."""
    ledger.record_batch(connection, schema, manifest, counts, [each.model_dump() for each in warned])
    with at_once(connection):
        for output in outputs:
            loaded = Loaded(fingerprint=output.fingerprint, result=output.result)
            target = targets[output.model]
            ledger.record_model(connection, schema, manifest.batch_id, target, loaded, manifest.previous)
    bindings.bind(connection, schema, manifest.batch_id, targets, grown)
