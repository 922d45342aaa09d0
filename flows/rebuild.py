"""Fill an empty warehouse from the raw bucket, after the old one was lost."""

from prefect import flow
from pydantic import AwareDatetime, NonNegativeInt

from flows.context import open_run
from flows.repair import erase_again, refill_tables
from flows.runner import runner
from flows.sealed import load_chain
from pipeline.errors import LakeIncomplete, SettingsError
from pipeline.settings import Share
from tasks import blocks
from tasks.changes import consents
from tasks.failures import clean_failures, explained_state, log_in_one_line
from tasks.report import BatchReport
from tasks.results import NOTHING_KEPT


@flow(name="rebuild-warehouse", task_runner=runner(), **NOTHING_KEPT)
@explained_state
@clean_failures
def rebuild(
    until: AwareDatetime | None = None,
    max_rejected: NonNegativeInt | None = None,
    max_deleted_share: Share | None = None,
    environment: blocks.Environment = "",
    warehouse: str = "",
    allow: list[str] | None = None,
) -> list[BatchReport]:
    """Load every sealed batch that the warehouse does not have, in order, without reading the source.

    Into an empty warehouse this loads all facts with their history and all dimensions. An interrupted
    rebuild continues where it stopped. If batches are lost or cannot be loaded, it continues at the next one
    that holds all rows. If the last batches are lost, it loads the others and fails.

    Args:
        until: Stop at the last batch taken at or before this time.
        max_rejected: Fail a batch if it would reject more rows than this.
        max_deleted_share: Allow the last batch to delete up to this share of a table; earlier batches were
            allowed to when they were first loaded.
        environment: Prefix of the block names, for example `prod`; TOTESYS_ENVIRONMENT if empty.
        warehouse: Id of the warehouse whose batches to load, if the raw bucket holds those of several.
        allow: Changes of models and schema.sql that lose data or may fail, as `make plan` prints them.
    """
    log_in_one_line()
    limits, changes = (max_rejected, max_deleted_share), consents(allow or ())
    with open_run(environment, *limits, wait_for_lock=True, reads_source=False, allow=changes) as run:
        erase_again(run)
        if lacking := refill_tables(run):
            raise LakeIncomplete(
                f"raw bucket: batches of {', '.join(lacking)} are missing; restore them and rebuild again, or"
                " run `make run`, which reads the source in full, without what only these batches had"
            )
        return list(load_chain(run, until, warehouse, _source_url(run.environment)))


def _source_url(environment: str) -> str | None:
    """The source's URL, used only to skip batches of other sources; None if there is no block for it."""
    try:
        return blocks.database_url(blocks.SOURCE, environment)
    except SettingsError:
        return None
