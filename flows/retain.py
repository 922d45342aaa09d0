"""Let old batches leave the lake, as many as a rebuild from a base batch can do without."""

from datetime import UTC, datetime, timedelta

from prefect import flow, get_run_logger
from pydantic import PositiveInt

from flows.finish import open_run
from pipeline.recovery import retain as engine
from pipeline.recovery.retain import Removal
from pipeline.words import counted
from tasks import blocks
from tasks.failures import cancelled_where_busy, clean_failures, show_in_one_line
from tasks.progress import progress
from tasks.results import NOTHING_KEPT


@flow(name="retain-lake", **NOTHING_KEPT)
@cancelled_where_busy
@clean_failures
def retain(keep_days: PositiveInt, apply: bool = False, environment: blocks.Environment = "") -> str:
    """Remove batches from the lake that are older than so many days, and return what it did in a line.

    A base batch from before then stays, with every object that it or a later one needs; a rebuild starts
    there.

    Args:
        keep_days: How many days a rebuild is to reach back at least.
        apply: Remove it; otherwise only say what would go.
        environment: What the names of the blocks begin with, such as `prod`; TOTESYS_ENVIRONMENT if empty.
    """
    show_in_one_line()
    before = datetime.now(UTC) - timedelta(days=keep_days)
    with open_run(environment, None, None, patient=True, source=False) as run:
        processed = blocks.bucket(blocks.PROCESSED, run.environment)
        removal = engine.plan(run.raw, processed, before, engine.needed(run.warehouse_url))
        if removal and apply:
            run.lock.check()
            engine.remove(removal, run.raw, processed, progress("objects removed", removal.objects))
        words = _in_words(removal, keep_days, apply=apply)
        get_run_logger().info("%s", words)
        return words


def _in_words(removal: Removal | None, keep_days: int, *, apply: bool) -> str:
    if removal is None or not (removal.manifests or removal.objects):
        return f"nothing to remove: no batch is older than {counted(keep_days, 'day')} and not needed"
    what = (
        f"{counted(len(removal.manifests), 'manifest')} and {counted(removal.objects, 'object')}"
        f" ({removal.bytes / 1e6:,.1f} MB) of {counted(removal.batches, 'batch')}"
    )
    done = f"removed {what}" if apply else f"would remove {what}; ARGS=--yes does"
    return f"{done}; a rebuild starts at batch {removal.base.batch_id}"
