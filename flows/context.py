"""What the steps of a run share, from the lock on the warehouse to the seconds that each step takes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

import psycopg
from prefect import get_run_logger
from prefect.context import TagsContext

from flows.runner import configured
from pipeline import pool, settings
from pipeline.capture.batch_plan import BatchPlan
from pipeline.capture.source_columns import changed_columns
from pipeline.columns import Column
from pipeline.errors import PipelineError
from pipeline.lake.manifest import Destination
from pipeline.models import checks, library
from pipeline.models.dry_run import verify
from pipeline.postgres import transaction
from pipeline.review.preview import preview_if_changed
from pipeline.review.table_preview import Preview
from pipeline.settings import Settings
from pipeline.steps import Pipeline
from pipeline.warehouse import catalogue, ledger
from pipeline.warehouse.checks import verify as verify_checks
from pipeline.warehouse.ledger import Lock
from tasks import blocks, saved_blocks
from tasks.failures import best_effort, raise_with
from tasks.places import places
from tasks.report import left_out


@dataclass
class RunContext:
    """What the steps of a run share.

    ``seconds`` are the durations of the current batch's steps. ``begun`` are the ids of the batches that this
    run has started to load. ``left_out`` are, by model, columns that its table does not have. ``changes`` are
    those of models and schema.sql that the run applies, ``source_columns`` sentences about columns of the
    source that are new or gone. ``done`` says by table what the run did beside its batches. ``runs_checks``:
    the checks beside the models are run.
    """

    environment: str
    settings: Settings
    pipeline: Pipeline
    lock: Lock
    max_rejected: int | None
    max_deleted_share: float | None
    seconds: dict[str, float] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    left_out: dict[str, tuple[str, ...]] = field(default_factory=dict)
    changes: list[Preview] = field(default_factory=list)
    source_columns: tuple[str, ...] = ()
    done: dict[str, str] = field(default_factory=dict)
    runs_checks: bool = True

    def verify(
        self, columns: Mapping[str, Sequence[Column]], keys: Mapping[str, tuple[str, ...]] | None
    ) -> None:
        """Run the models over empty tables with these columns, and log which columns they leave out.

        Raises ModelError.
        """
        self.left_out = verify(self.pipeline.models, self.pipeline.targets, columns, keys)
        for line in left_out(self.left_out):
            get_run_logger().warning("%s", line)

    def compare_columns(self, batch: BatchPlan) -> None:
        """Log which columns of the source are new or gone and read by no model.

        Raises ModelError where a model reads one that is gone.
        """
        pipeline = self.pipeline
        self.source_columns = tuple(changed_columns(pipeline.models, pipeline.targets, batch))
        for line in self.source_columns:
            get_run_logger().warning("%s", line)

    def require_filled(self) -> None:
        """Add the NOT NULLs of columns that this run has added, now that their rows have values."""
        allow = [change.follow_up for each in self.changes for change in each.changes if change.follow_up]
        if not allow:
            return
        pipeline, folder = self.pipeline, self.settings.transforms
        with best_effort(f"Columns were added without NOT NULL ({', '.join(allow)})"):
            url, schema = pipeline.warehouse_url, pipeline.warehouse_schema
            pipeline.targets = catalogue.prepare(url, schema, pipeline.models, folder, allow)
            pipeline.models = catalogue.with_contracts(pipeline.models, pipeline.targets)

    def adopt_id(self, owner: Destination | None) -> None:
        """Take the id of a lost warehouse, if ``owner`` is the same schema of the same database."""
        pipeline = self.pipeline
        if owner and owner.id != pipeline.destination.id and pipeline.destination.is_same_warehouse(owner):
            with transaction(pipeline.warehouse_url, "warehouse") as connection:
                ledger.adopt_id(connection, owner)
            self.read_id()

    def read_id(self) -> None:
        """Read the warehouse's id again, after it has changed."""
        pipeline = self.pipeline
        pipeline.destination = ledger.destination(pipeline.warehouse_url, pipeline.warehouse_schema)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Record how long a step takes."""
        started = monotonic()
        yield
        self.seconds[step] = monotonic() - started


@contextmanager
def open_run(
    environment: str,
    max_rejected: int | None,
    max_deleted_share: float | None,
    *,
    wait_for_lock: bool,
    reads_source: bool = True,
    allow: Collection[str] = (),
) -> Iterator[RunContext]:
    """Lock the warehouse, load models and settings, and create missing tables.

    With ``wait_for_lock`` the run waits until another one has finished, up to TOTESYS_RUN_LOCK_TIMEOUT
    seconds; without it WarehouseBusy is raised at once. Only runs with ``reads_source`` need the source's
    block, and run checks. ``allow`` names changes of tables that somebody consents to. If the body fails
    after it has committed a batch, the error names that batch.
    """
    config = settings.load()
    configured()
    environment = config.environment_for(environment)
    databases = [blocks.SOURCE, blocks.WAREHOUSE] if reads_source else [blocks.WAREHOUSE]
    get_run_logger().info("%s", places(config, environment, databases))
    models, folder = library.load(config.transforms), config.transforms
    url, schema = blocks.database_url(blocks.WAREHOUSE, environment), config.warehouse_schema
    raw, processed = blocks.buckets(environment)
    seconds = config.run_lock_timeout if wait_for_lock else 0
    if seconds:
        get_run_logger().info("If another run holds the warehouse, this one waits up to %d s for it", seconds)
    # Prefect asks its server about each tag of each task run; those of the run are not for its tasks.
    untagged = TagsContext(current_tags=set())
    with saved_blocks.shared(), untagged, pool.reused(), ledger.lock(url, schema, seconds) as lock:
        changes: list[Preview] = []
        with best_effort("What models and schema.sql change is not reported"):
            changes = preview_if_changed(url, schema, models, folder, raw, allow)
        targets = catalogue.prepare(url, schema, models, folder, allow)
        models = catalogue.with_contracts(models, targets)
        if reads_source:
            verify_checks(url, schema, targets, checks.load(folder))
        pipeline = Pipeline(models, targets, url, schema, ledger.destination(url, schema), raw, processed)
        run = RunContext(environment, config, pipeline, lock, max_rejected, max_deleted_share)
        run.changes = changes
        run.runs_checks = reads_source
        with _naming_batch(run):
            yield run


@contextmanager
def _naming_batch(run: RunContext) -> Iterator[None]:
    """Name the batch that the run has committed in the error with which it fails after that."""
    try:
        yield
    except Exception as error:
        if fact := _committed(run):
            raise_with(error, fact)
        raise


def _committed(run: RunContext) -> str | None:
    """A clause that names the batch which this run has committed, if any."""
    if not run.begun:
        return None
    try:
        last = run.pipeline.last_batch()
    except (PipelineError, psycopg.Error):
        return f"whether batch {run.begun[-1]} was committed is not known, as the warehouse does not answer"
    return f"batch {last} was committed and is in the warehouse" if last in run.begun else None
