"""Fill an empty warehouse again from the raw bucket, should it ever be lost."""

from prefect import flow
from pydantic import AwareDatetime, NonNegativeInt

from flows.finish import fill_again, forget_again, open_run, rebuilt
from flows.runner import runner
from pipeline.errors import LakeIncomplete, SettingsError
from pipeline.settings import Share
from tasks import blocks
from tasks.failures import cancelled_where_busy, clean_failures, show_in_one_line
from tasks.report import BatchReport
from tasks.results import NOTHING_KEPT


@flow(name="rebuild-warehouse", task_runner=runner(), **NOTHING_KEPT)
@cancelled_where_busy
@clean_failures
def rebuild(
    until: AwareDatetime | None = None,
    max_rejected: NonNegativeInt | None = None,
    max_deleted_share: Share | None = None,
    environment: blocks.Environment = "",
    warehouse: str = "",
) -> list[BatchReport]:
    """Load every sealed batch that the warehouse does not have, in order, without the source.

    Into an empty warehouse that brings all facts with their history and all dimensions
    back as they were. A rebuild that was cut short goes on where it ended. Where batches are
    lost or cannot be loaded, it goes on at the next one that holds all rows. It fails where
    the last ones are lost, once all that is there has been loaded.

    Args:
        until: Stop at the last batch taken at or before this time.
        max_rejected: Fail a batch if more rows of it than this would be set aside.
        max_deleted_share: Allow the last batch to delete up to this share of a table; the others did before.
        environment: What the names of the blocks begin with, such as `prod`; TOTESYS_ENVIRONMENT if empty.
        warehouse: The id of the warehouse whose batches to load, where the raw bucket has those of several.
    """
    show_in_one_line()
    with open_run(environment, max_rejected, max_deleted_share, patient=True, source=False) as run:
        forget_again(run)
        if lacking := fill_again(run):
            raise LakeIncomplete(
                f"raw bucket: it lacks batches that {', '.join(lacking)} had; put back what it lost and"
                " rebuild again; or run `make run`, which reads the source whole, without what only these"
                " batches had"
            )
        return list(rebuilt(run, until, warehouse, _source_url(run.environment)))


def _source_url(environment: str) -> str | None:
    """Where the source is, which only tells whose batches are another's; None where no block says."""
    try:
        return blocks.database_url(blocks.SOURCE, environment)
    except SettingsError:
        return None
