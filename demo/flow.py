"""The demo's use of the pipeline. Importing this imports Prefect: set its environment before."""

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
from demo.terminal import News, Terminal
from flows.etl import etl
from pipeline.lake.buckets import folder
from pipeline.settings import Settings
from pipeline.status import look
from tasks.report import BatchReport
from tasks.save_blocks import save
from tasks.status import MAX_AGE, judge, show

_SECONDS_TO_DEPLOY = 12


def save_blocks(source: str, warehouse: str, home: Home) -> None:
    """Tell Prefect where the two databases and the two buckets are."""
    save(
        Settings(
            source_url=SecretStr(source),
            warehouse_url=SecretStr(warehouse),
            raw_uri=str(home.raw),
            processed_uri=str(home.processed),
        )
    )


def show_status(source: str, warehouse: str, home: Home) -> int:
    """Print what ``make status`` prints, of the demo; returns its exit status."""
    raw, processed = folder(str(home.raw)), folder(str(home.processed))
    found = look(source, warehouse, raw, processed, Settings(), counting="all")
    verdict = judge(found, MAX_AGE)
    show(found, verdict)
    return verdict


def show_news(terminal: Terminal) -> None:
    """Let the terminal show what the flow logs, as it goes on."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addHandler(News(terminal))


def run() -> list[BatchReport]:
    """Run the flow and return the batches that it loaded."""
    return etl()


def deployments(home: Home, every: int) -> Path:
    """Make the work pool of prefect.yaml, and a copy of that file with a run due every so many seconds."""
    said = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))
    for deployment in said["deployments"]:
        # A command of its own keeps a run in the worker's process group, which ends as one.
        deployment["work_pool"]["job_variables"]["command"] = (
            f"{shlex.quote(sys.executable)} -m prefect.engine"
        )
    soon = datetime.now(UTC) + timedelta(seconds=_SECONDS_TO_DEPLOY)
    said["deployments"][0]["schedules"] = [
        {"slug": f"every-{every}-seconds", "interval": every, "anchor_date": soon.isoformat()}
    ]
    copy = home.folder / "live.yaml"
    copy.write_text(yaml.safe_dump(said), encoding="utf-8")
    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
    return copy


def finished_since(moment: datetime) -> list[FlowRun]:
    """The newest runs of deployments that have ended since then, in the order of their ends."""
    of_interest = FlowRunFilter.model_validate(
        {"deployment_id": {"is_null_": False}, "end_time": {"after_": moment}}
    )
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=of_interest, sort=FlowRunSort.END_TIME_DESC, limit=20)
    return found[::-1]
