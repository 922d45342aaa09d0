"""The demo's use of the pipeline. Importing this imports Prefect: set its environment before."""

from __future__ import annotations

import logging

from pydantic import SecretStr

from demo.home import Home
from demo.terminal import News, Terminal
from flows.etl import etl
from pipeline.settings import Settings
from tasks.report import BatchReport
from tasks.save_blocks import save


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


def show_news(terminal: Terminal) -> None:
    """Let the terminal show what the flow logs, as it goes on."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addHandler(News(terminal))


def run(*, reconcile: bool) -> list[BatchReport]:
    """Run the flow and return the batches that it loaded."""
    return etl(reconcile=reconcile)
