"""Restate tables whose models have changed: one task, because it is one transaction."""

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from pipeline import settings
from pipeline.models.library import Model
from pipeline.models.target import Target
from pipeline.recovery import restate as engine
from pipeline.recovery.replays import Replayer
from pipeline.warehouse.limits import Limits
from pipeline.words import counted
from tasks import blocks
from tasks.failures import RETRY_IF_TRANSIENT, clean_failures


@task(name="restate", task_run_name="restate {names}", cache_policy=NO_CACHE, **RETRY_IF_TRANSIENT)
@clean_failures
def restate(
    schema: str, models: dict[str, Model], targets: dict[str, Target], names: list[str], environment: str
) -> list[str]:
    """Compute tables again over all batches of the raw bucket; returns those for which that was possible."""
    url = blocks.database_url(blocks.WAREHOUSE, environment)
    limits = Limits(rejected_share=settings.load().max_rejected_share)
    replayer = Replayer(models, targets, *blocks.buckets(environment))
    done = engine.restate(url, schema, replayer, names, limits)
    for each in done:
        get_run_logger().info(
            "%s: restated: %s updated, %s added, %s deleted",
            each.table, counted(each.updated, "row"), f"{each.added:,}", f"{each.deleted:,}",
        )  # fmt: skip
    return [each.table for each in done]
