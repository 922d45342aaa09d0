"""Repairs before a run reads: tables that are not as loaded or as modelled, erasures that a restore undid."""

from collections.abc import Collection, Sequence

from prefect import get_run_logger

from flows.context import RunContext
from pipeline.erasure import pending
from pipeline.errors import LakeIncomplete
from pipeline.lake.manifests import manifest_paths
from pipeline.recovery import checkpoints, etl_from_lake
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
        run.done["the schema etl"] = "rewrote"
        run.read_id()
        if rewritten.lacking:
            return rewritten.lacking
    mismatches = examine_tables(url, schema, pipeline.targets)
    for mismatch in mismatches:
        get_run_logger().warning("%s; it is refilled", mismatch.reason)
    if not mismatches:
        return ()
    run.lock.check()
    lacking = refill(schema, pipeline.models, pipeline.targets, mismatches, run.environment)
    run.done |= {each.table: "refilled" for each in mismatches if each.table not in lacking}
    return tuple(lacking)


def restate_models(
    run: RunContext, wanted: Sequence[str], lacking: Collection[str], *, tidies: bool = False
) -> list[str]:
    """Compute tables over all batches: the wanted ones, and those whose models changed, are new or are back.

    Returns those for which that was not possible, for example because no batch has read what they read.
    ``lacking`` are tables for which the lake lacks batches; then none is restated. With ``tidies``, what
    killed attempts have left is removed if no table is to be restated. Raises LakeIncomplete if a wanted one
    cannot be.
    """
    if lacking and not wanted:
        return []
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
    if tidies and not names:
        checkpoints.remove(pipeline.processed, checkpoints.place(pipeline.destination))
    if not names or not (named or pipeline.last_batch()):
        return []
    left = _restate(run, names)
    if refused := [name for name in named if name in left]:
        raise LakeIncomplete(f"{', '.join(refused)} cannot be restated; the log has the reason")
    return left


def restate_left(run: RunContext, names: Sequence[str], lacking: Collection[str]) -> None:
    """Restate tables after a batch that could not be before it: now one has read what their models read.

    The batch has marked them. The marks of those for which it is not possible either are removed.
    """
    left = _restate(run, names) if names else []
    if left:
        get_run_logger().warning(
            "%s: not computed again over all batches; rows that differ have a new version", ", ".join(left)
        )
    if left or lacking:
        ledger.give_up_restating(run.pipeline.warehouse_url, run.pipeline.warehouse_schema)


def _restate(run: RunContext, names: Sequence[str]) -> list[str]:
    """Restate tables; returns those for which that was not possible."""
    run.lock.check()
    pipeline = run.pipeline
    arguments = pipeline.warehouse_schema, pipeline.models, pipeline.targets
    done = restate(*arguments, list(names), run.environment)
    run.done |= dict.fromkeys(done, "restated")
    return [name for name in names if name not in done]


def erase_again(run: RunContext) -> None:
    """Erase rows again that were erased before and are back, for example after a restore."""
    pipeline = run.pipeline
    url, schema = pipeline.warehouse_url, pipeline.warehouse_schema
    entries = pending.find(url, schema, pipeline.raw, pipeline.models)
    if not entries:
        return
    run.lock.check()
    if manifest_paths(pipeline.raw):
        forget_rows(schema, pipeline.models, pipeline.targets, run.environment)
        run.done |= {f"rows of {each.table}": "erased" for each in entries}
    else:
        pending.hide(url, schema, entries)
