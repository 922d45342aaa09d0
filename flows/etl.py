"""The orchestrating flow: finish what is sealed, look, read, transform, load."""

from prefect import flow, get_run_logger
from pydantic import NonNegativeInt

from flows.finish import Run, fill_again, finish, finish_sealed, forget_again, open_run
from flows.runner import runner
from pipeline.capture import extract, plan
from pipeline.errors import CANNOT_LOAD, ObjectMissing, PipelineError
from pipeline.lake import chains, erasures, manifests
from pipeline.lake.manifest import Manifest
from pipeline.models import personal
from pipeline.settings import Share
from pipeline.source import snapshots
from pipeline.warehouse import ledger
from pipeline.words import counted
from tasks import assets, blocks
from tasks.extract import readers
from tasks.failures import best_effort, cancelled_where_busy, clean_failures, show_in_one_line
from tasks.report import BatchReport, report_up_to_date
from tasks.results import NOTHING_KEPT


@flow(name="totesys-etl", task_runner=runner(), **NOTHING_KEPT)
@cancelled_where_busy
@clean_failures
def etl(
    reconcile: bool = False,
    full: bool = False,
    max_rejected: NonNegativeInt | None = None,
    max_deleted_share: Share | None = None,
    environment: blocks.Environment = "",
) -> list[BatchReport]:
    """Bring the warehouse up to date with the source, exactly and with all history.

    Args:
        reconcile: Afterwards read every table whole and compare all rows, whatever is known of them.
        full: Read every table whole; what the warehouse has already is not loaded again.
        max_rejected: Fail and load nothing if more rows than this would be set aside.
        max_deleted_share: Allow up to this share of a table to be deleted, 1 for any number of rows.
        environment: What the names of the blocks begin with, such as `prod`; TOTESYS_ENVIRONMENT if empty.
    """
    show_in_one_line()
    with open_run(environment, max_rejected, max_deleted_share, patient=reconcile or full) as run:
        source_url = blocks.database_url(blocks.SOURCE, run.environment)
        reports: list[BatchReport] = []
        forget_again(run)
        lacking = fill_again(run)
        full = full or bool(lacking)
        try:
            # What the lake cannot fill again may hold later rows than its sealed batches.
            if not lacking:
                reports.extend(finish_sealed(run, source_url))
        except CANNOT_LOAD as refused:
            manifest = _read_again(run, source_url, refused, reconcile=reconcile, full=full)
            return [*reports, *_superseded(run, manifest, refused)]
        # What reconciling finds after an ordinary batch, ordinary runs had missed.
        begun = run.last_batch()
        if begun is None:
            _tell_foreign(run)
        for compare in (False, True) if reconcile and begun else (reconcile,):
            reports.extend(_brought(run, source_url, reconcile=compare, full=full and compare == reconcile))
    return reports


def _tell_foreign(run: Run) -> None:
    """Say before a first batch whose other batches are in the raw bucket: it may be another environment's."""
    others = [
        chain for chain in chains.find(run.raw) if not (chain.end.warehouse and chain.belongs_to(run.home))
    ]
    if others:
        get_run_logger().warning(
            "The raw bucket holds batches of %s; they are left alone, and this warehouse begins with what the"
            " source has now; where they are its own, `make rebuild` into an empty warehouse loads them",
            chains.summaries(others),
        )


def _brought(run: Run, source_url: str, *, reconcile: bool, full: bool) -> list[BatchReport]:
    """The next batch, if any; where objects of earlier ones are lost, one that needs none of them."""
    try:
        return _next_batch(run, source_url, reconcile=reconcile, full=full)
    except ObjectMissing as lost:
        get_run_logger().warning("%s; reading all tables whole, which needs no earlier object", lost)
        return _next_batch(run, source_url, reconcile=reconcile, full=True)


def _next_batch(run: Run, source_url: str, *, reconcile: bool, full: bool) -> list[BatchReport]:
    """Take a batch and load it, if there is anything new."""
    manifest = _take_batch(run, source_url, reconcile=reconcile, full=full)
    return [finish(run, manifest)] if manifest else []


def _read_again(
    run: Run, source_url: str, refused: PipelineError, *, reconcile: bool, full: bool
) -> Manifest | None:
    """Read from the same predecessor what a sealed batch holds that cannot be loaded.

    The new batch holds every change of that one, and what was corrected in the source since. Where objects
    are lost, it reads all tables whole, so that it needs none of them.
    """
    get_run_logger().warning("%s; reading the source again, as it may have been corrected", refused)
    try:
        return _take_batch(
            run, source_url, reconcile=reconcile, full=full or isinstance(refused, ObjectMissing)
        )
    except PipelineError as error:
        raise _both(refused, error) from None


def _superseded(run: Run, manifest: Manifest | None, refused: PipelineError) -> list[BatchReport]:
    """Load the batch that takes a refused one's place; none is needed where the source has nothing new."""
    try:
        return [finish(run, manifest)] if manifest else []
    except CANNOT_LOAD as error:
        raise _both(refused, error) from None


def _both(refused: PipelineError, error: PipelineError) -> PipelineError:
    """What was refused, and what came of reading the source again, where that is something else."""
    if str(error) == str(refused):
        return refused
    return PipelineError(f"{refused}; the source was read again: {error}")


def _take_batch(run: Run, source_url: str, *, reconcile: bool, full: bool) -> Manifest | None:
    """Read all that changed, at one moment, and seal it. None where nothing did.

    Nothing is read where the models could not work on it.
    """
    logger = get_run_logger()
    watermark = ledger.watermark(run.warehouse_url, run.warehouse_schema)
    previous = manifests.last_manifest(run.raw, watermark)
    loaded = ledger.loaded(run.warehouse_url, run.warehouse_schema)
    schema = run.settings.source_schema
    key = blocks.hash_key(run.environment) if personal.hashes(run.models) else None
    with snapshots.snapshot(source_url, key) as (connection, snapshot):
        with run.timed("look"):
            planned = plan.plan_batch(
                connection, snapshot, schema, run.models, loaded, watermark, previous,
                reconcile=reconcile, full=full, key=key,
                forgotten=erasures.in_warehouse(run.warehouse_url, run.warehouse_schema).values(),
            )  # fmt: skip
        if watermark and planned.nothing_new:
            with best_effort("The source holds nothing new, but that was not recorded"):
                ledger.record_up_to_date(
                    run.warehouse_url, run.warehouse_schema, watermark.batch_id, snapshot
                )
                report_up_to_date(snapshot.taken_at, run.environment)
            return None
        run.verify(planned.columns, planned.keys)
        logger.info("Batch %s reads %s", planned.batch_id, planned.summary)
        with run.timed("extract"):
            read = extract.extract(connection, planned, schema, readers(schema, run.environment))
    manifest = read.for_destination(run.home)
    manifests.seal(run.raw, manifest)
    chains.record_seal(run.processed, manifest)
    logger.info("Batch %s is sealed: %s", manifest.batch_id, counted(manifest.rows, "row"))
    with best_effort(f"Batch {manifest.batch_id} is sealed, but that was not announced"):
        assets.landed(manifest, run.environment, schema)
    return manifest
