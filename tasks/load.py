"""Load a batch: one task, because it is one transaction."""

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from pipeline import settings
from pipeline.lake.manifest import Manifest
from pipeline.models import lineage
from pipeline.models.checks import Check
from pipeline.models.library import Model
from pipeline.models.output import Output
from pipeline.models.target import Target
from pipeline.warehouse import load as engine
from pipeline.warehouse.checks import Checks
from pipeline.warehouse.counts import Counts
from pipeline.warehouse.limits import Limits
from tasks import blocks
from tasks.failures import RETRY_IF_TRANSIENT, clean_failures
from tasks.progress import progress


@task(
    name="load", task_run_name="load batch {manifest.batch_id}", cache_policy=NO_CACHE, **RETRY_IF_TRANSIENT
)
@clean_failures
def load(
    schema: str,
    manifest: Manifest,
    targets: dict[str, Target],
    outputs: list[Output],
    limits: Limits,
    environment: str,
    models: dict[str, Model],
    checks: list[Check],
) -> list[Counts]:
    """Load a batch and its watermark into the warehouse in one transaction, or nothing.

    The checks are run in it.
    """
    logger, timeout = get_run_logger(), settings.load().check_timeout
    report_progress = {output.model: progress(output.model, output.rows) for output in outputs}
    counts = engine.load(
        blocks.database_url(blocks.WAREHOUSE, environment),
        schema,
        manifest,
        targets,
        outputs,
        blocks.bucket(blocks.PROCESSED, environment),
        limits,
        lambda table, rows: report_progress[table](rows) if table in report_progress else None,
        Checks(checks, timeout, lambda: lineage.personal_of(models, targets, manifest)),
    )
    for count in counts:
        logger.info("%s: %s", count.table, count.summary)
    return counts
