"""The orchestrating flow: repair, finish sealed batches, then plan, extract, transform and load a new one."""

from collections.abc import Iterator

from prefect import flow, get_run_logger
from pydantic import NonNegativeInt

from flows.context import RunContext, open_run
from flows.finish import finish
from flows.repair import erase_again, refill_tables, restate_left, restate_models
from flows.runner import runner
from flows.sealed import finish_sealed
from pipeline.capture import extract
from pipeline.capture.as_text import Places, retried_as_text
from pipeline.capture.batch_plan import BatchPlan
from pipeline.errors import CANNOT_LOAD, ObjectMissing, PipelineError
from pipeline.lake import chains
from pipeline.lake.manifest import Manifest
from pipeline.models import personal
from pipeline.settings import Share
from pipeline.source import snapshots
from pipeline.warehouse import ledger
from pipeline.words import counted
from tasks import assets, blocks
from tasks.changes import consents, done_to, effect_of, report_changes
from tasks.extract import readers
from tasks.failures import best_effort, clean_failures, explained_state, log_in_one_line
from tasks.report import BatchReport, RunReport, report_up_to_date
from tasks.results import NOTHING_KEPT


@flow(name="totesys-etl", task_runner=runner(), **NOTHING_KEPT)
@explained_state
@clean_failures
def etl(
    reconcile: bool = False,
    full: bool = False,
    max_rejected: NonNegativeInt | None = None,
    max_deleted_share: Share | None = None,
    environment: blocks.Environment = "",
    restate: list[str] | None = None,
    allow: list[str] | None = None,
) -> RunReport:
    """Bring the warehouse up to date with the source, exactly and with all history.

    Args:
        reconcile: After the ordinary batch, read every table in full and compare all rows.
        full: Read every table in full; rows that the warehouse already has are not loaded again.
        max_rejected: Fail and load nothing if more rows than this would be rejected.
        max_deleted_share: Allow up to this share of a table to be deleted, 1 for any number of rows.
        environment: Prefix of the block names, for example `prod`; TOTESYS_ENVIRONMENT if empty.
        restate: Models whose tables to compute again over all batches, although they have not changed.
        allow: Changes of models and schema.sql that lose data or may fail, as `make plan` prints them, for
            example `drop dim_staff.manager`.
    """
    log_in_one_line()
    limits = max_rejected, max_deleted_share
    with open_run(environment, *limits, wait_for_lock=reconcile or full, allow=consents(allow or ())) as run:
        source_url = blocks.database_url(blocks.SOURCE, run.environment)
        erase_again(run)
        lacking = refill_tables(run)
        full = full or bool(lacking)
        left = restate_models(run, restate or (), lacking, tidies=reconcile)
        run.require_filled()
        report_applied(run)
        # Tables that the lake cannot refill may hold rows that are newer than its sealed batches.
        reports = list(_load(run, source_url, reconcile=reconcile, full=full, skips_sealed=bool(lacking)))
        restate_left(run, left, lacking)
    return RunReport(batches=tuple(reports), done=run.done)


def _load(
    run: RunContext, source_url: str, *, reconcile: bool, full: bool, skips_sealed: bool
) -> Iterator[BatchReport]:
    """Load the sealed batches and the next one; with ``reconcile`` also one that compares all rows."""
    try:
        if not skips_sealed:
            yield from finish_sealed(run, source_url)
    except CANNOT_LOAD as error:
        yield from _replace_sealed(run, source_url, error, reconcile=reconcile, full=full)
        return
    # Rows that only the reconciling batch finds, after an ordinary one, were missed by ordinary runs.
    for compare in (False, True) if reconcile and run.pipeline.last_batch() else (reconcile,):
        yield from _load_next(run, source_url, reconcile=compare, full=full and compare == reconcile)


def report_applied(run: RunContext) -> None:
    """Publish what this run has changed because models or schema.sql have changed."""
    for change in run.changes:
        get_run_logger().info("%s %s", change.table, effect_of(change))
        done = done_to(change)
        if done == "created" or (done and change.table not in run.done):
            run.done[change.table] = done
    if run.changes:
        with best_effort("The changes of models and schema.sql are applied, but their report failed"):
            report_changes(run.changes)


def _warn_of_foreign_batches(run: RunContext) -> None:
    """Warn before a first batch of foreign batches in the raw bucket, which may be another environment's."""
    pipeline = run.pipeline
    foreign = [
        chain
        for chain in chains.find(pipeline.raw)
        if not (chain.end.warehouse and chain.belongs_to(pipeline.destination))
    ]
    if foreign:
        get_run_logger().warning(
            "The raw bucket holds batches of %s; they are not used, and this warehouse starts with what the"
            " source has now; if they are its own, `make rebuild` into an empty warehouse loads them",
            chains.summaries(foreign),
        )


def _load_next(run: RunContext, source_url: str, *, reconcile: bool, full: bool) -> list[BatchReport]:
    """Take the next batch, if anything has changed, and load it.

    If objects of earlier batches are lost, all tables are read in full, which needs none of them.
    """
    try:
        return _finish(run, _take_batch(run, source_url, reconcile=reconcile, full=full))
    except ObjectMissing as error:
        get_run_logger().warning("%s; reading all tables in full, which needs no earlier object", error)
        return _finish(run, _take_batch(run, source_url, reconcile=reconcile, full=True))


def _finish(run: RunContext, manifest: Manifest | None) -> list[BatchReport]:
    return [finish(run, manifest, is_new=True)] if manifest else []


def _replace_sealed(
    run: RunContext, source_url: str, error: PipelineError, *, reconcile: bool, full: bool
) -> list[BatchReport]:
    """Replace a sealed batch that cannot be loaded: read its changes again from the same predecessor.

    The source may have been corrected since, and the new batch holds every change of the old one. If objects
    are lost, all tables are read in full.
    """
    get_run_logger().warning("%s; reading the source again, as it may have been corrected", error)
    try:
        full = full or isinstance(error, ObjectMissing)
        manifest = _take_batch(run, source_url, reconcile=reconcile, full=full)
    except PipelineError as second:
        raise _both(error, second) from None
    try:
        return _finish(run, manifest)
    except CANNOT_LOAD as second:
        raise _both(error, second) from None


def _both(first: PipelineError, second: PipelineError) -> PipelineError:
    """One error for a batch that cannot be loaded and for the attempt to replace it."""
    if str(second) == str(first):
        return first
    return PipelineError(f"{first}; the source was read again: {second}")


def _take_batch(run: RunContext, source_url: str, *, reconcile: bool, full: bool) -> Manifest | None:
    """Read all changes at one snapshot and seal them as a batch; None if nothing has changed."""
    return retried_as_text(
        lambda places: _read_batch(run, source_url, places, reconcile=reconcile, full=full)
    )


def _read_batch(
    run: RunContext, source_url: str, as_text: Places, *, reconcile: bool, full: bool
) -> Manifest | None:
    """Take a batch with these columns as text. The models are checked before anything is read."""
    pipeline, schema = run.pipeline, run.settings.source_schema
    key = blocks.hash_key(run.environment) if personal.hashes(pipeline.models) else None
    with snapshots.snapshot(source_url, key) as (connection, snapshot):
        with run.timed("plan"):
            batch = pipeline.plan(
                connection, snapshot, schema,
                reconcile=reconcile, full=full, key=key, as_text=as_text,
            )  # fmt: skip
        if batch.watermark is None:
            _warn_of_foreign_batches(run)
        elif batch.nothing_new:
            _record_up_to_date(run, batch.watermark.batch_id, batch)
            return None
        run.compare_columns(batch)
        run.verify(batch.columns, batch.keys)
        get_run_logger().info("Batch %s reads %s", batch.batch_id, batch.summary)
        with run.timed("extract"):
            tasks, pages = readers(schema, run.environment), run.settings.chunk_pages
            manifest = extract.extract(connection, batch, schema, tasks, pages)
    manifest = pipeline.seal(manifest)
    _announce_sealed(run, manifest)
    return manifest


def _record_up_to_date(run: RunContext, batch_id: str, batch: BatchPlan) -> None:
    with best_effort("The source holds nothing new, but that was not recorded"):
        pipeline = run.pipeline
        ledger.record_up_to_date(
            pipeline.warehouse_url, pipeline.warehouse_schema, batch_id, batch.snapshot, batch.wal_marks
        )
        report_up_to_date(batch.snapshot.taken_at, run.environment)


def _announce_sealed(run: RunContext, manifest: Manifest) -> None:
    get_run_logger().info("Batch %s is sealed: %s", manifest.batch_id, counted(manifest.rows, "row"))
    with best_effort(f"Batch {manifest.batch_id} is sealed, but that was not announced"):
        assets.sealed(manifest, run.environment, run.settings.source_schema)
