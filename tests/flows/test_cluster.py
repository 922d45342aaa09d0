"""The flows on a Dask cluster whose workers share only S3, Postgres and Prefect."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from distributed import Client
from prefect.settings import PREFECT_API_URL
from prefect_dask.task_runners import DaskTaskRunner

from demo import shop
from flows.etl import etl
from tests.flows.conftest import s3_buckets
from tests.flows.shop_runs import FACTS, TRANSFORMS, run_and_read
from tests.flows.support import EQUAL, ROOT, Run, World, ended

pytestmark = pytest.mark.campaign

WORKERS = 3
SECONDS_TO_START = 120


@dataclass(frozen=True)
class Cluster:
    """A scheduler's address, and the worker processes."""

    address: str
    workers: list[subprocess.Popen[bytes]]


@pytest.fixture
def cluster(prefect_server: None, tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler and workers, each in an empty folder of its own, with nothing but the code in reach."""
    url = tmp_path / "scheduler.json"
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("TOTESYS_", "AWS_"))}
    environment = keep | {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    with ExitStack() as stack:

        def start(folder: str, *arguments: str) -> subprocess.Popen[bytes]:
            home = tmp_path / folder
            home.mkdir()
            command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
            with (tmp_path / f"{folder}.log").open("wb") as log:
                process = subprocess.Popen(
                    command, cwd=home, env=environment | {"HOME": str(home)}, stdout=log, stderr=log
                )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        start("scheduler", "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(url))
        deadline = time.monotonic() + SECONDS_TO_START
        while not url.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        workers = [
            start(
                f"worker {number}", "worker", "--scheduler-file", str(url), "--nthreads", "1", "--no-nanny",
                "--no-dashboard",
            )
            for number in range(WORKERS)
        ]  # fmt: skip
        with Client(scheduler_file=str(url), set_as_default=False) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(WORKERS, timeout=SECONDS_TO_START)
            address = str(client.scheduler.address)
        yield Cluster(address, workers)


@pytest.fixture
def world(make_world: Callable[..., World], s3_endpoint: str) -> World:
    """A shop whose tables are read in several chunks."""
    buckets = s3_buckets(s3_endpoint)
    buckets["more"] |= {"TOTESYS_CHUNK_PAGES": "8"}
    made = make_world("shop_cluster", TRANSFORMS, **buckets)
    with psycopg.connect(made.source_url) as connection:
        shop.create(connection)
        shop.fill(connection, 3_000)
    return made


def run_on(cluster: Cluster, world: World) -> Run:
    world.save_blocks()
    with world.entered():
        runner: Any = DaskTaskRunner(address=cluster.address)
        flow: Any = etl.with_options(task_runner=runner)
        return Run(ended(flow))


def kill_one_at_work(client: Any, cluster: Cluster) -> None:
    """Kill the first worker that has a task."""
    addresses = {pid: address for address, pid in client.run(os.getpid).items()}
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        busy = {address for address, tasks in client.processing().items() if tasks}
        for worker in cluster.workers:
            if addresses[worker.pid] in busy:
                worker.kill()
                return
        time.sleep(0.01)


def test_a_run_on_a_cluster_loses_nothing_when_a_worker_dies(cluster: Cluster, world: World) -> None:
    first = run_on(cluster, world)
    assert first.state.is_completed(), first.error
    shop.working_day(world.source_url)

    with Client(cluster.address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        watching = threading.Thread(target=kill_one_at_work, args=(client, cluster))
        watching.start()
        second = run_on(cluster, world)
        watching.join()
    assert second.state.is_completed(), second.error
    assert [worker.poll() is None for worker in cluster.workers].count(False) == 1
    last = run_and_read(world, reconcile=True)
    assert all(not found.missing for found in last.differences.values())
    assert all(last.differences[name] == EQUAL for name in FACTS)
    assert last.run.reports[0].total("changed") == 0, "what the cluster loaded is what was there"
