"""Repairs before a run reads: tables that are not as loaded or as modelled, erasures that a restore undid."""

from collections.abc import Collection, Sequence

from prefect import get_run_logger

from flows.context import RunContext
from pipeline.erasure import forget
from pipeline.errors import LakeIncomplete
from pipeline.recovery import etl_from_lake
from pipeline.recovery import restate as restating
from pipeline.warehouse import ledger
from pipeline.warehouse.mismatches import examine_tables
from tasks.forget import forget_again as forget_rows
from tasks.refill import refill
from tasks.restate import restate


def refill_tables(run: RunContext) -> tuple[str, ...]:
    """Refill the tables that are not as they were loaded.

    Returns the tables for which the lake lacks batches; for these the source has to be read in full.
    """
    pipeline = run.pipeline
    url, schema = pipeline.warehouse_url, pipeline.warehouse_schema
    rewritten = etl_from_lake.rewrite(url, schema, pipeline.raw, pipeline.targets, pipeline.destination)
    if rewritten:
        get_run_logger().warning("%s", rewritten.line)
        run.read_id()
        if rewritten.lacking:
            return rewritten.lacking
    mismatches = examine_tables(url, schema, pipeline.targets)
    for mismatch in mismatches:
        get_run_logger().warning("%s; it is refilled", mismatch.reason)
    if not mismatches:
        return ()
    run.lock.check()
    return tuple(refill(schema, pipeline.models, pipeline.targets, mismatches, run.environment))


def restate_models(run: RunContext, wanted: Sequence[str], lacking: Collection[str]) -> None:
    """Compute the tables again whose models have changed, and the wanted ones, without a new version.

    ``lacking`` are tables for which the lake lacks batches; then none is. Raises LakeIncomplete if a wanted
    one cannot be computed again.
    """
    if lacking and not wanted:
        return
    if lacking:
        raise LakeIncomplete(
            f"raw bucket: batches of {', '.join(lacking)} are missing, so nothing can be restated;"
            " a run without `restate` reads the source in full"
        )
    pipeline = run.pipeline
    schema = pipeline.warehouse_schema
    named = restating.requested(pipeline.models, wanted)
    changed = restating.changed(pipeline.models, ledger.fetch_loaded_models(pipeline.warehouse_url, schema))
    names = [name for name in pipeline.models if name in {*named, *changed}]
    if names:
        run.lock.check()
        done = restate(schema, pipeline.models, pipeline.targets, names, run.environment)
        if named and not done:
            raise LakeIncomplete(f"{', '.join(named)} cannot be restated; the log has the reason")


def erase_again(run: RunContext) -> None:
    """Erase rows again that were erased before and are back, for example after a restore."""
    pipeline = run.pipeline
    url, schema = pipeline.warehouse_url, pipeline.warehouse_schema
    pending = forget.pending(url, schema, pipeline.raw)
    if not pending:
        return
    run.lock.check()
    if forget.all_manifests(pipeline.raw):
        forget_rows(schema, pipeline.models, pipeline.targets, run.environment)
    else:
        forget.hide(url, schema, pending)
