"""Run the models: one task per model, from Parquet to Parquet."""

import hashlib
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE, CacheKeyFnPolicy
from prefect.context import TaskRunContext
from prefect.runtime import task_run

from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import batch_folder
from pipeline.models.library import Model
from pipeline.models.output import Loaded, Output, combined
from pipeline.models.target import Target
from pipeline.models.transform import transform as run_model
from pipeline.models.work import Work
from pipeline.source.table_names import spelled
from pipeline.words import counted
from tasks import blocks, results
from tasks.failures import RETRY_IF_TRANSIENT, clean_failures


def _cache_key(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """The cache key: the batch, and a digest of what the result depends on.

    That is the model, its last result, the contracts of all warehouse tables, and the files that the batch
    read of all source tables.
    """
    models: dict[str, Model] = parameters["models"]
    targets: dict[str, Target] = parameters["targets"]
    model = list(models.values())[-1]
    manifest: Manifest = parameters["manifest"]
    follows = f"{manifest.previous} {manifest.reconcile}"
    read = [file.path for table in manifest.tables.values() for file in table.files]
    contracts = [target.model_dump_json(exclude={"model_sql"}) for target in targets.values()]
    content = "\n".join([model.fingerprint, follows, str(parameters["loaded"]), *contracts, *read])
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return results.key("transform", batch_folder(spelled(model.name), manifest.batch_id), digest)


def _name() -> str:
    return f"transform {list(task_run.parameters['models'])[-1]}"


@task(
    name="transform",
    task_run_name=_name,
    cache_policy=CacheKeyFnPolicy(cache_key_fn=_cache_key),
    result_serializer=results.Json(),
    persist_result=True,
    **RETRY_IF_TRANSIENT,
)
@clean_failures
def transform(
    models: dict[str, Model],
    targets: dict[str, Target],
    manifest: Manifest,
    loaded: Loaded | None,
    environment: str,
) -> Output:
    """Compute the changed rows and deleted keys of the last of the models, and reject rows that do not fit.

    The models before it are those that it reads.
    """
    output = run_model(Work(models, targets, manifest, loaded, *blocks.buckets(environment)))
    rejected = f", {output.rejected_rows:,} rejected" if output.rejected_rows else ""
    get_run_logger().info("%s: %s%s", output.model, counted(output.rows, "row"), rejected)
    return output


@task(name="gather", task_run_name="gather {model}", cache_policy=NO_CACHE, **RETRY_IF_TRANSIENT)
@clean_failures
def gather(model: str, outputs: list[Output]) -> Output:  # noqa: ARG001  part of the task run's name
    """Combine the outputs of one model's tasks over the files of a batch."""
    return combined(outputs)
