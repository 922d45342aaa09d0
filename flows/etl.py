"""The orchestrating flow: finish what is sealed, look, read, transform, load."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from prefect import flow, get_run_logger
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import NonNegativeInt

from flows.load import load_warehouse
from pipeline import batches, load, models, plan, settings, source, warehouse
from pipeline.batches import Manifest
from pipeline.buckets import Bucket
from pipeline.models import Model
from pipeline.settings import Settings
from pipeline.transform import Output, needed, nothing
from pipeline.warehouse import Target
from tasks import blocks
from tasks.extract import compact, extract
from tasks.failures import show_in_one_line
from tasks.report import BatchReport, batch_report, report, report_up_to_date
from tasks.transform import transform


@dataclass
class _Run:
    """What the steps of a run share; ``seconds`` is what each step of a batch took."""

    settings: Settings
    models: dict[str, Model]
    targets: dict[str, Target]
    warehouse_url: str
    raw: Bucket
    max_rejected: int | None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Note how long a step takes."""
        started = monotonic()
        yield
        self.seconds[step] = monotonic() - started


# Few at a time: each reads the source over a connection of its own, and has memory of its own.
_RUNNER: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=4)


@flow(name="totesys-etl", task_runner=_RUNNER)
def etl(
    reconcile: bool = False, full: bool = False, max_rejected: NonNegativeInt | None = None
) -> list[BatchReport]:
    """Bring the warehouse up to date with the source, exactly and with all history.

    Args:
        reconcile: Read every table whole, and mark facts that the source no longer has as deleted.
        full: Read every table whole; what the warehouse has already is not loaded again.
        max_rejected: Fail and load nothing if more rows than this would be set aside.
    """
    show_in_one_line()
    config = settings.load()
    known = models.load(config.transforms)
    source_url, warehouse_url = blocks.database_url(blocks.SOURCE), blocks.database_url(blocks.WAREHOUSE)
    raw, _ = blocks.bucket(blocks.RAW), blocks.bucket(blocks.PROCESSED)
    with warehouse.lock(warehouse_url):
        targets = warehouse.prepare(warehouse_url, config.warehouse_schema, known, config.transforms)
        # A column that takes more than before makes rows fit that did not, so it counts as a change.
        known = {name: replace(model, contract=targets[name].contract) for name, model in known.items()}
        run = _Run(config, known, targets, warehouse_url, raw, max_rejected)
        reports = list(_finish_sealed(run))
        if manifest := _take_batch(run, source_url, reconcile=reconcile, full=full):
            reports.append(_finish(run, manifest))
    return reports


def _finish_sealed(run: _Run) -> Iterator[BatchReport]:
    """Load what earlier runs read and did not load. The source is not needed for it."""
    while manifest := batches.sealed_after(run.raw, warehouse.last_batch(run.warehouse_url)):
        get_run_logger().info("Batch %s is sealed but not loaded: finishing it first", manifest.batch_id)
        reading = extract.with_options(result_storage=blocks.storage(blocks.RAW))
        for piece in [reading.submit(landed.part, landed) for landed in manifest.landed]:
            piece.result()
        yield _finish(run, manifest)


def _take_batch(run: _Run, source_url: str, *, reconcile: bool, full: bool) -> Manifest | None:
    """Read all that changed, at one moment, and seal it. None where nothing did."""
    logger = get_run_logger()
    watermark = warehouse.watermark(run.warehouse_url)
    previous = batches.last_manifest(run.raw, watermark)
    loaded = warehouse.fingerprints(run.warehouse_url)
    schema = run.settings.source_schema
    with source.snapshot(source_url) as (connection, snapshot):
        with run.timed("look"):
            planned = plan.make(
                connection, snapshot, schema, run.models, loaded, watermark, previous,
                reconcile=reconcile, full=full,
            )  # fmt: skip
        if watermark and planned.nothing_new:
            load.record_up_to_date(run.warehouse_url, watermark.batch_id, snapshot)
            report_up_to_date(snapshot.taken_at)
            return None
        logger.info("Batch %s reads %s", planned.batch_id, planned.story)
        with run.timed("extract"):
            reading = extract.with_options(result_storage=blocks.storage(blocks.RAW))
            futures = [reading.submit(part, how) for part, how in planned.parts(schema)]
            manifest = planned.manifest([future.result() for future in futures])
    manifest = _compacted(manifest)
    batches.seal(run.raw, manifest)
    logger.info("Batch %s is sealed: %s rows", manifest.batch_id, f"{manifest.rows:,}")
    return manifest


def _compacted(manifest: Manifest) -> Manifest:
    """Keep the number of files in each table's present state small."""
    pending = {
        name: compact.submit(table, manifest.batch_id)
        for name, table in manifest.tables.items()
        if batches.needs_merging(table)
    }
    merged = {name: future.result() for name, future in pending.items()}
    return manifest.model_copy(update={"tables": manifest.tables | merged})


def _finish(run: _Run, manifest: Manifest) -> BatchReport:
    """Transform a sealed batch and load it."""
    with run.timed("transform"):
        outputs = _transform(run, manifest)
    # A subflow's heartbeat is its parent's; without its own it does not end with a second's wait.
    with run.timed("load"), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        counts = load_warehouse(manifest.path, outputs, run.max_rejected)
    done = batch_report(manifest, counts, run.seconds)
    report(manifest, done)
    run.seconds.clear()
    return done


def _transform(run: _Run, manifest: Manifest) -> list[Output]:
    """Run the models that have something to do, each after those that it reads."""
    loaded = models.still_valid(run.models, warehouse.fingerprints(run.warehouse_url))
    running = transform.with_options(result_storage=blocks.storage(blocks.PROCESSED))
    outputs: dict[str, Output | PrefectFuture[Output]] = {}
    for name, model in run.models.items():
        computed = [other for other, output in outputs.items() if isinstance(output, PrefectFuture)]
        if needed(model, manifest, loaded.get(name), computed):
            upstream = {other: outputs[other] for other in run.models if other in model.reads}
            outputs[name] = running.submit(
                model,
                run.targets[name],
                manifest,
                upstream,  # type: ignore[arg-type]  # Prefect waits for the futures in it
                loaded.get(name),
            )
        else:
            outputs[name] = nothing(run.targets[name])
    return [output.result() if isinstance(output, PrefectFuture) else output for output in outputs.values()]
