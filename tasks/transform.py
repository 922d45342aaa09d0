"""Run the models: one task each, from Parquet to Parquet."""

import hashlib
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE, CacheKeyFnPolicy
from prefect.context import TaskRunContext

from pipeline.batches import Manifest
from pipeline.buckets import batch_folder
from pipeline.models import Model
from pipeline.transform import Output, Work, joined
from pipeline.transform import transform as run_model
from pipeline.warehouse import Target
from pipeline.words import counted
from tasks import blocks, results
from tasks.failures import ON_TRANSIENT_FAULTS, clean_failures


def _by_meaning(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cached by batch, and by what the model, what it reads and its table say."""
    model: Model = parameters["model"]
    target: Target = parameters["target"]
    upstream: dict[str, Output] = parameters["upstream"]
    read = [file.path for output in upstream.values() for file in output.files]
    read += [file.path for table in parameters["manifest"].tables.values() for file in table.files]
    meaning = "\n".join([model.fingerprint, str(parameters["loaded"]), target.model_dump_json(), *read])
    digest = hashlib.sha256(meaning.encode()).hexdigest()[:16]
    return results.key("transform", batch_folder(model.name, parameters["manifest"].batch_id), digest)


@task(
    name="transform",
    task_run_name="transform {model.name}",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=_by_meaning),
    result_serializer=results.Json(),
    persist_result=True,
    **ON_TRANSIENT_FAULTS,
)
@clean_failures
def transform(
    model: Model,
    target: Target,
    manifest: Manifest,
    upstream: dict[str, Output],
    loaded: str | None,
    environment: str,
) -> Output:
    """Compute one model's rows of a batch and set aside those that do not fit."""
    raw, processed = (blocks.bucket(name, environment) for name in (blocks.RAW, blocks.PROCESSED))
    output = run_model(Work(model, target, manifest, upstream, loaded, raw, processed))
    unfit = f", {output.rejected_rows:,} set aside" if output.rejected_rows else ""
    get_run_logger().info("%s: %s%s", model.name, counted(output.rows, "row"), unfit)
    return output


@task(
    name="gather",
    task_run_name="gather {model.name}",
    cache_policy=NO_CACHE,
    **ON_TRANSIENT_FAULTS,
)
@clean_failures
def gather(
    model: Model,
    target: Target,
    manifest: Manifest,
    pieces: list[Output],
    loaded: str | None,
    environment: str,
) -> Output:
    """Put the pieces of one model's batch together; computed anew as a whole where they share a key."""
    raw, processed = (blocks.bucket(name, environment) for name in (blocks.RAW, blocks.PROCESSED))
    work = Work(model, target, manifest, {}, loaded, raw, processed)
    return joined(work, pieces) or run_model(work)
