"""The demo's calls of the pipeline. Importing this imports Prefect: set its environment before."""

from __future__ import annotations

import logging
import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml  # type: ignore[import-untyped]  # its stubs are not worth a dependency
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.workers.process import ProcessWorker
from pydantic import SecretStr

from demo.home import PROJECT, Home
from demo.processes import POOL
from demo.terminal import Progress, Terminal
from flows.etl import etl
from pipeline.lake.buckets import folder
from pipeline.settings import Settings
from pipeline.status import inspect
from tasks.arguments import MAX_AGE
from tasks.report import BatchReport
from tasks.save_blocks import save
from tasks.status import judge, show

_SECONDS_TO_DEPLOY = 12


def save_blocks(source: str, warehouse: str, home: Home) -> None:
    """Save the blocks of the two databases and the two buckets."""
    save(
        Settings(
            source_url=SecretStr(source),
            warehouse_url=SecretStr(warehouse),
            raw_uri=str(home.raw),
            processed_uri=str(home.processed),
        )
    )


def show_status(source: str, warehouse: str, home: Home) -> int:
    """Print the output of ``make status`` for the demo; returns its exit status."""
    raw, processed = folder(str(home.raw)), folder(str(home.processed))
    status = inspect(source, warehouse, raw, processed, Settings(), counting="all")
    verdict = judge(status, MAX_AGE)
    show(status, verdict)
    return verdict


def show_progress(terminal: Terminal) -> None:
    """Show the flow's log lines in the terminal while it runs."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addHandler(Progress(terminal))


def run() -> list[BatchReport]:
    """Run the flow and return the batches that it loaded."""
    return list(etl().batches)


def deployments(home: Home, every: int) -> Path:
    """Create the work pool of prefect.yaml; returns a copy of the file with a run every ``every`` seconds."""
    content = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))
    for deployment in content["deployments"]:
        # With this command a run stays in the worker's process group, which ends as a whole.
        deployment["work_pool"]["job_variables"]["command"] = (
            f"{shlex.quote(sys.executable)} -m prefect.engine"
        )
    soon = datetime.now(UTC) + timedelta(seconds=_SECONDS_TO_DEPLOY)
    content["deployments"][0]["schedules"] = [
        {"slug": f"every-{every}-seconds", "interval": every, "anchor_date": soon.isoformat()}
    ]
    copy = home.folder / "live.yaml"
    copy.write_text(yaml.safe_dump(content), encoding="utf-8")
    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
    return copy


def finished_since(moment: datetime) -> list[FlowRun]:
    """The newest runs of deployments that ended after a time, in that order."""
    run_filter = FlowRunFilter.model_validate(
        {"deployment_id": {"is_null_": False}, "end_time": {"after_": moment}}
    )
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=run_filter, sort=FlowRunSort.END_TIME_DESC, limit=20)
    return runs[::-1]
