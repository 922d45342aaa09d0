"""Refill tables that are not as they were loaded: one task, because it is one transaction."""

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from pipeline import settings
from pipeline.models.library import Model
from pipeline.models.target import Target
from pipeline.recovery import refill as engine
from pipeline.recovery.replays import Replayer
from pipeline.warehouse.limits import Limits
from pipeline.warehouse.mismatches import Mismatch
from pipeline.words import counted
from tasks import blocks
from tasks.failures import RETRY_IF_TRANSIENT, clean_failures


@task(name="refill", task_run_name="refill tables", cache_policy=NO_CACHE, **RETRY_IF_TRANSIENT)
@clean_failures
def refill(
    schema: str,
    models: dict[str, Model],
    targets: dict[str, Target],
    mismatches: list[Mismatch],
    environment: str,
) -> list[str]:
    """Refill tables from the raw bucket; returns the tables for which it lacks batches."""
    replayer = Replayer(models, targets, *blocks.buckets(environment))
    url = blocks.database_url(blocks.WAREHOUSE, environment)
    refilled, incomplete = engine.refill(
        url, schema, replayer, mismatches, Limits(rejected_share=settings.load().max_rejected_share)
    )
    for table, rows in refilled.items():
        get_run_logger().info("%s: refilled from the raw bucket, %s", table, counted(rows, "row"))
    for table in incomplete:
        get_run_logger().warning(
            "%s: the raw bucket lacks some of its batches; the source is read in full", table
        )
    return incomplete
