"""Remove old batches from the lake that no rebuild needs, from a base batch on."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from prefect import flow, get_run_logger
from pydantic import Field

from flows.context import open_run
from pipeline.recovery import retain as engine
from pipeline.recovery.retain import Removal
from pipeline.words import counted
from tasks import blocks
from tasks.failures import clean_failures, explained_state, log_in_one_line
from tasks.progress import progress
from tasks.results import NOTHING_KEPT

MOST_DAYS = 36_500


@flow(name="retain-lake", **NOTHING_KEPT)
@explained_state
@clean_failures
def retain(
    keep_days: Annotated[int, Field(ge=1, le=MOST_DAYS)],
    apply: bool = False,
    environment: blocks.Environment = "",
) -> str:
    """Remove batches that are older than ``keep_days`` days from the lake; returns a one-line summary.

    The newest base batch from before then stays, with every object that it or a later batch needs. A rebuild
    starts there.

    Args:
        keep_days: How many days a rebuild must at least reach back.
        apply: Remove them; otherwise only report what would be removed.
        environment: Prefix of the block names, for example `prod`; TOTESYS_ENVIRONMENT if empty.
    """
    log_in_one_line()
    before = datetime.now(UTC) - timedelta(days=keep_days)
    with open_run(environment, None, None, wait_for_lock=True, reads_source=False) as run:
        raw, processed = run.pipeline.raw, run.pipeline.processed
        needs = engine.needed(run.pipeline.warehouse_url)
        removal = engine.plan(raw, processed, before, needs, run.pipeline.destination)
        if removal and apply:
            run.lock.check()
            engine.remove(removal, raw, processed, progress("objects removed", removal.objects))
        summary = _summary(removal, keep_days, apply=apply)
        get_run_logger().info("%s", summary)
        return summary


def _summary(removal: Removal | None, keep_days: int, *, apply: bool) -> str:
    if removal is None or not (removal.manifests or removal.objects):
        return f"nothing to remove: no batch is older than {counted(keep_days, 'day')} and not needed"
    objects = (
        f"{counted(len(removal.manifests), 'manifest')} and {counted(removal.objects, 'object')}"
        f" ({removal.bytes / 1e6:,.1f} MB) of {counted(removal.batches, 'batch')}"
    )
    outcome = f"removed {objects}" if apply else f"would remove {objects}; ARGS=--yes removes them"
    others = (
        f"; no batch of warehouse {other} stays: if it is in use, a rebuild of it lacks its history"
        for other in removal.others
    )
    return f"{outcome}; a rebuild starts at batch {removal.base.batch_id}{''.join(others)}"
