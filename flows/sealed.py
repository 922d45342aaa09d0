"""Batches that are sealed but not in the warehouse: those of a failed run, and those a rebuild loads."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial

from prefect import get_run_logger

from flows.context import RunContext
from flows.finish import finish
from pipeline.errors import AnotherSource, ModelError, UnusableBatch
from pipeline.lake import adapt, chains, manifests
from pipeline.lake.manifest import Manifest
from pipeline.models import library, reference_tables
from pipeline.recovery.rebuild import Rebuild, Selection
from pipeline.source.snapshots import identify
from tasks.extract import extracting
from tasks.report import BatchReport


def finish_sealed(run: RunContext, source_url: str) -> Iterator[BatchReport]:
    """Load the sealed batches that the warehouse does not have, even if the source is down.

    Raises one of CANNOT_LOAD for a batch that cannot be loaded.
    """
    pipeline, unread = run.pipeline, _unread_tables(run)
    schema = run.settings.source_schema
    while manifest := manifests.sealed_after(
        pipeline.raw, pipeline.last_batch(), pipeline.destination, schema
    ):
        _refuse_another_source(run, manifest, source_url)
        run.adopt_id(manifest.warehouse)
        if not chains.is_seal_recorded(pipeline.processed, manifest):
            chains.record_seal(pipeline.processed, manifest)
        yield _finish_sealed(run, unread, manifest)


def load_chain(
    run: RunContext, until: datetime | None, warehouse_id: str, source_url: str | None
) -> Iterator[BatchReport]:
    """Load the batches of the raw bucket that the warehouse does not have, without reading the source.

    If the source answers, batches of other sources are skipped. Raises LakeIncomplete where the last batches
    are lost.
    """
    pipeline = run.pipeline
    source = identify(source_url) if source_url else None
    tables = frozenset(library.tables_read(pipeline.models))
    schema = run.settings.source_schema
    selection = Selection(pipeline.destination, pipeline.last_batch(), tables, source, warehouse_id, schema)
    rebuild = Rebuild(pipeline.raw, pipeline.processed, selection, until)
    run.adopt_id(rebuild.owner)
    return rebuild.run(pipeline.last_batch, partial(_finish_sealed, run, _unread_tables(run)))


def _unread_tables(run: RunContext) -> adapt.UnreadTables:
    tables = library.tables_read(run.pipeline.models) - reference_tables.NAMES
    return adapt.UnreadTables(run.pipeline.raw, tables)


def _refuse_another_source(run: RunContext, manifest: Manifest, source_url: str) -> None:
    """Raise AnotherSource for a batch of another source, unless this warehouse has had it before."""
    is_own = manifest.warehouse is not None and run.pipeline.destination.is_same(manifest.warehouse)
    if is_own and manifests.is_followed(run.pipeline.raw, manifest):
        return
    source = identify(source_url)
    if source and not manifest.identity.is_same_database(source):
        raise AnotherSource(
            f"raw bucket: batch {manifest.batch_id} was read from {manifest.identity},"
            f" and the source is {source}"
        )


def _finish_sealed(run: RunContext, unread: adapt.UnreadTables, manifest: Manifest) -> BatchReport:
    manifest = _as_models_read(run, unread.added_to(manifest))
    get_run_logger().info("Batch %s is sealed but not loaded: finishing it first", manifest.batch_id)
    _show_extracts(run, manifest)
    return finish(run, manifest, replays=manifests.is_followed(run.pipeline.raw, manifest))


def _show_extracts(run: RunContext, manifest: Manifest) -> None:
    """Run the batch's extract tasks from the cache, not from the source: the UI shows what was read."""
    futures = [
        extracting(read.chunk, read, run.environment).submit(read.chunk, read, run.environment)
        for read in manifest.chunks
    ]
    for future in futures:
        future.result()


def _as_models_read(run: RunContext, manifest: Manifest) -> Manifest:
    """The batch; where the models read what only later batches have, with these tables and columns added.

    Raises UnusableBatch.
    """
    try:
        _verify(run, manifest)
    except UnusableBatch:
        manifest = adapt.with_later_columns(
            run.pipeline.raw, manifest, library.tables_read(run.pipeline.models)
        )
        _verify(run, manifest)
    return manifest


def _verify(run: RunContext, manifest: Manifest) -> None:
    if missing := library.tables_read(run.pipeline.models) - manifest.tables.keys() - reference_tables.NAMES:
        raise UnusableBatch(
            f"batch {manifest.batch_id} was read before a model read {', '.join(sorted(missing))}"
        )
    # A batch that is loaded again is not checked against the keys and labels of its time.
    keys = None if manifests.is_followed(run.pipeline.raw, manifest) else manifest.primary_keys
    try:
        run.verify(manifest.columns, keys)
    except ModelError as error:
        raise UnusableBatch(str(error)) from None
