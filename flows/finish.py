"""Transform a sealed batch, load it and report it."""

from functools import partial

from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.context import RunContext
from flows.load import load_warehouse
from pipeline.lake.manifest import Manifest
from pipeline.models.output import Output
from pipeline.models.work import Work, splits
from pipeline.steps import definitions_digest
from pipeline.warehouse.counts import Counts
from tasks import blocks
from tasks.failures import best_effort
from tasks.report import BatchReport, announce, batch_report, report
from tasks.results import Results
from tasks.transform import gather, transform


def finish(
    run: RunContext, manifest: Manifest, *, is_new: bool = False, replays: bool = False
) -> BatchReport:
    """Transform, load and report a sealed batch.

    ``is_new`` is True for one that this run has sealed, ``replays`` for one that a warehouse had before.
    """
    with run.timed("transform"):
        outputs = _transform(run, manifest, is_new=is_new)
    with run.timed("load"):
        counts = _load(run, manifest, outputs, replays=replays)
    finished = batch_report(
        manifest, counts, run.seconds, run.left_out, run.source_columns, environment=run.environment
    )
    run.source_columns = ()
    run.seconds.clear()
    # The batch is committed: no failure from here on fails the run.
    loaded = f"Batch {manifest.batch_id} is in the warehouse"
    with best_effort(f"{loaded}, but was not announced"):
        announce(manifest, finished, run.pipeline.models, run.environment)
    with best_effort(f"{loaded}, but its report failed"):
        report(manifest, finished, run.environment)
    return finished


def _load(run: RunContext, manifest: Manifest, outputs: list[Output], *, replays: bool) -> list[Counts]:
    run.begun.append(manifest.batch_id)
    run.lock.check()
    # The parent's heartbeat covers the subflow; one of its own would add a second at its end.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        return load_warehouse(
            manifest.path,
            outputs,
            definitions_digest(run.pipeline.models, run.pipeline.targets),
            run.max_rejected,
            run.max_deleted_share,
            replays,
            run.environment,
            run.runs_checks,
        )


def _transform(run: RunContext, manifest: Manifest, *, is_new: bool) -> list[Output]:
    outputs = run.pipeline.transform(manifest, partial(_submit, run, is_new))
    return [output.result() if isinstance(output, PrefectFuture) else output for output in outputs]


def _submit(run: RunContext, is_new: bool, work: Work) -> PrefectFuture[Output]:
    """Start a model's task; on a cluster one task per file of the batch, where the model allows it.

    In one process DuckDB uses all cores for one task, so several at once would only need more memory.
    """
    manifests = splits(work) if run.settings.on_cluster else [work.manifest]
    storage = Results(bucket=blocks.PROCESSED, environment=run.environment, of_new_batch=is_new)
    task = transform.with_options(result_storage=storage)
    futures = [
        task.submit(dict(work.models), dict(work.targets), manifest, work.loaded, run.environment)
        for manifest in manifests
    ]
    if len(futures) == 1:
        return futures[0]
    # Prefect waits for the futures in the list.
    return gather.submit(work.model.name, futures)  # type: ignore[arg-type]
