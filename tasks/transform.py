"""Run the models: one task each, from Parquet to Parquet."""

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
from pipeline.words import counted
from tasks import blocks, results
from tasks.failures import ON_TRANSIENT_FAULTS, clean_failures


def _by_meaning(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cached by batch, and by what the model, what it reads and its table say."""
    models: dict[str, Model] = parameters["models"]
    targets: dict[str, Target] = parameters["targets"]
    model = list(models.values())[-1]
    manifest: Manifest = parameters["manifest"]
    follows = f"{manifest.previous} {manifest.reconcile}"
    read = [file.path for table in manifest.tables.values() for file in table.files]
    known = [target.model_dump_json() for target in targets.values()]
    meaning = "\n".join([model.fingerprint, follows, str(parameters["loaded"]), *known, *read])
    digest = hashlib.sha256(meaning.encode()).hexdigest()[:16]
    return results.key("transform", batch_folder(model.name, manifest.batch_id), digest)


def _name() -> str:
    return f"transform {list(task_run.parameters['models'])[-1]}"


@task(
    name="transform",
    task_run_name=_name,
    cache_policy=CacheKeyFnPolicy(cache_key_fn=_by_meaning),
    result_serializer=results.Json(),
    persist_result=True,
    **ON_TRANSIENT_FAULTS,
)
@clean_failures
def transform(
    models: dict[str, Model],
    targets: dict[str, Target],
    manifest: Manifest,
    loaded: Loaded | None,
    environment: str,
) -> Output:
    """Compute what the last of the models gained and lost in a batch, and reject rows that do not fit."""
    raw, processed = (blocks.bucket(name, environment) for name in (blocks.RAW, blocks.PROCESSED))
    output = run_model(Work(models, targets, manifest, loaded, raw, processed))
    rejected = f", {output.rejected_rows:,} rejected" if output.rejected_rows else ""
    get_run_logger().info("%s: %s%s", output.model, counted(output.rows, "row"), rejected)
    return output


@task(
    name="gather",
    task_run_name="gather {model}",
    cache_policy=NO_CACHE,
    **ON_TRANSIENT_FAULTS,
)
@clean_failures
def gather(model: str, outputs: list[Output]) -> Output:  # noqa: ARG001  it names the task's run
    """Put the outputs of the pieces of one model's batch together."""
    return combined(outputs)
