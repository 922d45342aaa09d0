"""The subflow that loads a sealed, transformed batch into the warehouse."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from prefect import flow
from prefect.runtime import flow_run
from pydantic import NonNegativeInt

from pipeline import settings
from pipeline.errors import PipelineError
from pipeline.lake.manifests import read_manifest
from pipeline.models import checks, library
from pipeline.models.library import Model
from pipeline.models.output import Output
from pipeline.models.target import Target
from pipeline.settings import Share
from pipeline.steps import definitions_digest
from pipeline.warehouse import catalogue
from pipeline.warehouse.counts import Counts
from pipeline.warehouse.limits import Limits
from tasks import blocks
from tasks import load as loading
from tasks.failures import clean_failures
from tasks.results import NOTHING_KEPT


def _run_name() -> str:
    return f"load batch {PurePosixPath(flow_run.parameters['manifest']).stem}"


@flow(name="load-warehouse", flow_run_name=_run_name, **NOTHING_KEPT)
@clean_failures
def load_warehouse(
    manifest: str,
    outputs: list[Output],
    definitions: str,
    max_rejected: NonNegativeInt | None = None,
    max_deleted_share: Share | None = None,
    replays: bool = False,
    environment: blocks.Environment = "",
    runs_checks: bool = True,
) -> list[Counts]:
    """Load one batch in one transaction, or nothing of it.

    Args:
        manifest: Path of the batch's manifest in the raw bucket.
        outputs: References to what the models computed from the batch.
        definitions: Digest of the models and tables that they were computed for.
        max_rejected: Fail and load nothing if more rows than this would be rejected.
        max_deleted_share: Allow up to this share of a table to be deleted, whatever models and settings say.
        replays: Whether a warehouse has had this batch before; then any share of a table's rows may be
            rejected or deleted, and only `max_rejected` applies.
        environment: Prefix of the block names, for example `prod`; TOTESYS_ENVIRONMENT if empty.
        runs_checks: Run the checks beside the models, as for every new batch.
    """
    config = settings.load()
    environment = config.environment_for(environment)
    models = library.load(config.transforms)
    url = blocks.database_url(blocks.WAREHOUSE, environment)
    targets = catalogue.targets(url, config.warehouse_schema, models)
    _refuse_changed(models, targets, definitions, config.transforms)
    batch = read_manifest(blocks.bucket(blocks.RAW, environment), manifest)
    limits = Limits(
        rejected=max_rejected,
        rejected_share=1 if replays else config.max_rejected_share,
        deleted_share=1 if replays else max_deleted_share,
        default_deleted_share=config.max_deleted_share,
    )
    return loading.load(
        config.warehouse_schema,
        batch,
        targets,
        outputs,
        limits,
        environment,
        models,
        checks.load(config.transforms) if runs_checks and not replays else [],
    )


def _refuse_changed(
    models: Mapping[str, Model], targets: Mapping[str, Target], definitions: str, folder: Path
) -> None:
    """Raise PipelineError if models or tables are not those of the digest, which the run has prepared."""
    is_same = models.keys() == targets.keys() and definitions == definitions_digest(
        catalogue.with_contracts(models, targets), targets
    )
    if not is_same:
        raise PipelineError(
            f"{folder}: models or tables have changed since the batch was transformed; run again"
        )
