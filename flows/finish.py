"""What happens to a sealed batch, in whichever flow: transform, load, report."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from time import monotonic

import psycopg
from prefect import get_run_logger
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.load import load_warehouse
from pipeline import settings
from pipeline.columns import Column
from pipeline.erasure import forget
from pipeline.errors import AnotherSource, ModelError, PipelineError, UnfitBatch
from pipeline.lake import chains, manifests, past
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Destination, Manifest
from pipeline.models import library, reference
from pipeline.models.check import verify
from pipeline.models.library import Model
from pipeline.models.output import Loaded, Output, no_output
from pipeline.models.target import Target
from pipeline.models.work import Work, needed, splits
from pipeline.postgres import transaction
from pipeline.recovery import regain
from pipeline.recovery.rebuild import Rebuild, Wanted
from pipeline.settings import Settings
from pipeline.source.snapshots import identify
from pipeline.warehouse import catalogue, ledger
from pipeline.warehouse.ledger import Lock
from pipeline.warehouse.mismatches import examine_tables
from tasks import blocks
from tasks.extract import extracting
from tasks.failures import best_effort, raise_with
from tasks.forget import forget_again as forget_rows
from tasks.places import places
from tasks.refill import refill
from tasks.report import BatchReport, announce, batch_report, left_out, report
from tasks.results import Results
from tasks.transform import gather, transform

_PATIENCE = 30


@dataclass
class Run:
    """What the steps of a run share.

    ``seconds`` is what each step of a batch took, ``begun`` are the batches that it began to load.
    ``left_out`` are columns, by model, that its table does not have.
    """

    environment: str
    settings: Settings
    models: dict[str, Model]
    targets: dict[str, Target]
    warehouse_url: str
    home: Destination
    raw: Bucket
    processed: Bucket
    lock: Lock
    max_rejected: int | None
    max_deleted_share: float | None
    seconds: dict[str, float] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    left_out: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def verify(
        self, columns: Mapping[str, Sequence[Column]], keys: Mapping[str, tuple[str, ...]] | None
    ) -> None:
        """Try the models on tables of these columns; raises ModelError, and says what they leave out."""
        self.left_out = verify(self.models, self.targets, columns, keys)
        for line in left_out(self.left_out):
            get_run_logger().warning("%s", line)

    @property
    def warehouse_schema(self) -> str:
        """Where the models' tables are."""
        return self.settings.warehouse_schema

    def last_batch(self) -> str | None:
        """The batch that the warehouse is at."""
        return ledger.last_batch(self.warehouse_url, self.warehouse_schema)

    def become(self, owner: Destination | None) -> None:
        """Go on as the warehouse that was at this place before it was lost, where it is that one's batch."""
        if owner and owner.id != self.home.id and self.home.is_same_warehouse(owner):
            with transaction(self.warehouse_url, "warehouse") as connection:
                ledger.adopt_id(connection, owner)
            self.home = ledger.home(self.warehouse_url, self.warehouse_schema)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Note how long a step takes."""
        started = monotonic()
        yield
        self.seconds[step] = monotonic() - started


@contextmanager
def open_run(
    environment: str,
    max_rejected: int | None,
    max_deleted_share: float | None,
    *,
    patient: bool,
    source: bool = True,
) -> Iterator[Run]:
    """Say where a run works, keep other runs away and make sure that everything it needs is there.

    A ``patient`` run waits for another one to end, as one must whose work no other run does.
    One without ``source`` does not need the source's block.
    A failure in the block says which batch is in the warehouse, if this run brought one there.
    """
    config = settings.load()
    environment = config.environment_for(environment)
    databases = [blocks.SOURCE, blocks.WAREHOUSE] if source else [blocks.WAREHOUSE]
    get_run_logger().info("%s", places(config, environment, databases))
    known = library.load(config.transforms)
    raw, processed = (blocks.bucket(name, environment) for name in (blocks.RAW, blocks.PROCESSED))
    url = blocks.database_url(blocks.WAREHOUSE, environment)
    if patient:
        get_run_logger().info("If another run is at work, this one waits up to %d minutes for it", _PATIENCE)
    with ledger.lock(url, config.warehouse_schema, _PATIENCE if patient else 0) as lock:
        targets = catalogue.prepare(url, config.warehouse_schema, known, config.transforms)
        known = catalogue.with_contracts(known, targets)
        run = Run(
            environment, config, known, targets, url, ledger.home(url, config.warehouse_schema),
            raw, processed, lock, max_rejected, max_deleted_share,
        )  # fmt: skip
        try:
            yield run
        except Exception as fault:
            if fact := _committed(run):
                raise_with(fault, fact)
            raise


def _committed(run: Run) -> str | None:
    """What the run has committed, as the warehouse says; None where that is nothing."""
    if not run.begun:
        return None
    try:
        last = run.last_batch()
    except (PipelineError, psycopg.Error):
        return f"whether batch {run.begun[-1]} was committed is not known, as the warehouse does not answer"
    return f"batch {last} was committed and is in the warehouse" if last in run.begun else None


def fill_again(run: Run) -> tuple[str, ...]:
    """Fill the tables again that are not as they were loaded.

    Returns those for which the lake lacks something, so that the source has to be read whole.
    """
    found = regain.regain(run.warehouse_url, run.warehouse_schema, run.raw, run.targets, run.home)
    if found:
        get_run_logger().warning("%s", found.line)
        run.home = ledger.home(run.warehouse_url, run.warehouse_schema)
        if found.lacking:
            return found.lacking
    mismatches = examine_tables(run.warehouse_url, run.warehouse_schema, run.targets)
    for mismatch in mismatches:
        get_run_logger().warning("%s; it is filled again", mismatch.reason)
    if not mismatches:
        return ()
    run.lock.check()
    return tuple(refill(run.warehouse_schema, run.models, run.targets, mismatches, run.environment))


def forget_again(run: Run) -> None:
    """Erase again what was forgotten, and came back with a restore."""
    if forget.pending(run.warehouse_url, run.warehouse_schema, run.raw) and forget.sealed(run.raw):
        run.lock.check()
        forget_rows(run.warehouse_schema, run.models, run.targets, run.environment)


def finish_sealed(run: Run, source_url: str) -> Iterator[BatchReport]:
    """Load the sealed batches that the warehouse does not have, though the source be down.

    Raises one of CANNOT_LOAD where one of them cannot be.
    """
    while manifest := manifests.sealed_after(run.raw, run.last_batch(), run.home):
        _refuse_another_source(run, manifest, source_url)
        run.become(manifest.warehouse)
        if not chains.is_seal_recorded(run.processed, manifest):
            chains.record_seal(run.processed, manifest)
        yield _finish_sealed(run, manifest)


def _refuse_another_source(run: Run, manifest: Manifest, source_url: str) -> None:
    """Refuse a batch of another source than the one that answers, unless this warehouse had it before."""
    is_own = manifest.warehouse is not None and run.home.is_same(manifest.warehouse)
    if is_own and manifests.is_followed(run.raw, manifest):
        return
    now = identify(source_url)
    if now and not manifest.identity.is_same_database(now):
        raise AnotherSource(
            f"raw bucket: batch {manifest.batch_id} was read from {manifest.identity},"
            f" and the source is {now}"
        )


def rebuilt(run: Run, until: datetime | None, named: str, source_url: str | None) -> Iterator[BatchReport]:
    """Load the batches of the raw bucket that the warehouse does not have, without the source.

    Where that answers, batches of another one are left alone. Raises LakeIncomplete where the last ones are
    lost.
    """
    now = identify(source_url) if source_url else None
    wanted = Wanted(run.home, run.last_batch(), frozenset(library.tables_read(run.models)), now, named)
    rebuild = Rebuild(run.raw, run.processed, wanted, until)
    run.become(rebuild.owner)
    return rebuild.run(run.last_batch, partial(_finish_sealed, run))


def _finish_sealed(run: Run, manifest: Manifest) -> BatchReport:
    manifest = _as_models_read(run, manifest)
    get_run_logger().info("Batch %s is sealed but not loaded: finishing it first", manifest.batch_id)
    futures = [
        extracting(read.chunk, read, run.environment).submit(read.chunk, read, run.environment)
        for read in manifest.chunks
    ]
    for future in futures:
        future.result()
    return finish(run, manifest, replays=manifests.is_followed(run.raw, manifest))


def _as_models_read(run: Run, manifest: Manifest) -> Manifest:
    """The batch, if need be with the tables and columns that only later ones have; raises UnfitBatch."""
    try:
        _verify(run, manifest)
    except UnfitBatch:
        manifest = past.with_later_columns(run.raw, manifest, library.tables_read(run.models))
        _verify(run, manifest)
    return manifest


def _verify(run: Run, manifest: Manifest) -> None:
    columns = {name: table.columns for name, table in manifest.tables.items()}
    if missing := library.tables_read(run.models) - columns.keys() - reference.NAMES:
        raise UnfitBatch(
            f"batch {manifest.batch_id} was read before a model read {', '.join(sorted(missing))}"
        )
    keys = {name: table.key for name, table in manifest.tables.items()}
    try:
        # Which keys and labels there were when an old batch was read must not keep it from being replayed.
        run.verify(columns, None if manifests.is_followed(run.raw, manifest) else keys)
    except ModelError as error:
        raise UnfitBatch(str(error)) from None


def finish(run: Run, manifest: Manifest, *, replays: bool = False) -> BatchReport:
    """Transform a sealed batch and load it; one ``replays`` that a warehouse had before."""
    with run.timed("transform"):
        outputs = _transform(run, manifest)
    run.begun.append(manifest.batch_id)
    run.lock.check()
    # A subflow's heartbeat is its parent's; without its own it does not end with a second's wait.
    with run.timed("load"), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        counts = load_warehouse(
            manifest.path, outputs, run.max_rejected, run.max_deleted_share, replays, run.environment
        )
    done = batch_report(manifest, counts, run.seconds, run.left_out)
    run.seconds.clear()
    # Nothing that follows the commit takes it back.
    stands = f"Batch {manifest.batch_id} is in the warehouse"
    with best_effort(f"{stands}, but was not announced"):
        announce(manifest, done, run.models, run.environment)
    with best_effort(f"{stands}, but its report failed"):
        report(manifest, done, run.environment)
    return done


def _longest_first(run: Run, manifest: Manifest) -> list[str]:
    """The models' names, those that read most first."""
    rows = {name: table.rows for name, table in manifest.tables.items()}
    reads = {
        name: sum(
            rows.get(table, 0)
            for below in library.closure(run.models, name).values()
            for table in below.reads
        )
        for name in run.models
    }
    return sorted(reads, key=lambda name: -reads[name])


def _transform(run: Run, manifest: Manifest) -> list[Output]:
    """Run the models that have something to do."""
    loaded = ledger.loaded(run.warehouse_url, run.warehouse_schema)
    outputs: list[Output | PrefectFuture[Output]] = []
    for name in _longest_first(run, manifest):
        below = library.closure(run.models, name)
        if needed(below, manifest, loaded.get(name)):
            outputs.append(_submit(run, below, manifest, loaded.get(name)))
        else:
            outputs.append(no_output(run.targets[name]))
    return [output.result() if isinstance(output, PrefectFuture) else output for output in outputs]


def _submit(
    run: Run, below: dict[str, Model], manifest: Manifest, loaded: Loaded | None
) -> PrefectFuture[Output]:
    """Run a model, on a cluster over the files of its batch side by side where it can be.

    In one process DuckDB uses all cores anyway, and several at once would only take memory.
    """
    targets = {name: run.targets[name] for name in below}
    work = Work(below, targets, manifest, loaded, run.raw, run.raw)
    cut = splits(work) if run.settings.on_cluster else [manifest]
    running = transform.with_options(
        result_storage=Results(bucket=blocks.PROCESSED, environment=run.environment)
    )
    futures = [running.submit(below, targets, piece, loaded, run.environment) for piece in cut]
    if len(futures) == 1:
        return futures[0]
    # Prefect waits for the futures in the list.
    return gather.submit(work.model.name, futures)  # type: ignore[arg-type]
