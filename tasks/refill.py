"""Fill tables again that are not as they were loaded: one task, because it is one transaction."""

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from pipeline.models.library import Model
from pipeline.models.target import Target
from pipeline.recovery import refill as engine
from pipeline.warehouse.mismatches import Mismatch
from pipeline.words import counted
from tasks import blocks
from tasks.failures import ON_TRANSIENT_FAULTS, clean_failures


@task(name="refill", task_run_name="fill tables again", cache_policy=NO_CACHE, **ON_TRANSIENT_FAULTS)
@clean_failures
def refill(
    schema: str,
    models: dict[str, Model],
    targets: dict[str, Target],
    mismatches: list[Mismatch],
    environment: str,
) -> list[str]:
    """Fill tables again from the raw bucket; returns those for which it lacks something."""
    raw, processed = (blocks.bucket(name, environment) for name in (blocks.RAW, blocks.PROCESSED))
    lake = engine.Lake(models, targets, raw, processed)
    url = blocks.database_url(blocks.WAREHOUSE, environment)
    filled, lost = engine.fill_again(url, schema, lake, mismatches)
    for table, rows in filled.items():
        get_run_logger().info("%s: filled again from the raw bucket, %s", table, counted(rows, "row"))
    for table in lost:
        get_run_logger().warning(
            "%s: the raw bucket lacks some of its batches; the source is read whole", table
        )
    return lost
