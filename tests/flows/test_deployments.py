"""Deployments: prefect.yaml is valid, a worker runs it, and concurrent runs exclude each other."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event
from typing import Any
from uuid import UUID

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are not worth a dependency
from prefect import Flow
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.cli.deploy._schedules import _schedule_config_to_deployment_schedule
from prefect.client.schemas.filters import FlowRunFilter, LogFilter
from prefect.client.schemas.objects import FlowRun
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL, PREFECT_HOME
from prefect.workers.process import ProcessWorker

from flows.etl import etl
from flows.rebuild import rebuild
from pipeline.warehouse import ledger
from tests.flows.conftest import open_kiosk
from tests.flows.support import ROOT, SECONDS_TO_WAIT, World, blocks_were_changed, client, query

README = (ROOT / "README.md").read_text(encoding="utf-8")
_START_SERVER, MAKE_POOL, START_WORKER = re.findall(r"^\.venv/bin/prefect (.*)$", README, re.MULTILINE)
DEPLOY = "tasks.deploy"  # what `make deploy` runs
SAID: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: dict[str, dict[str, Any]] = {said["name"]: said for said in SAID["deployments"]}


# What the file says


def test_there_are_these_deployments_and_schedules() -> None:
    schedules = {
        name: [(schedule["slug"], schedule["cron"]) for schedule in deployment.get("schedules", ())]
        for name, deployment in DEPLOYMENTS.items()
    }
    assert schedules == {
        "incremental": [("every-5-minutes", "*/5 * * * *")],
        "nightly-reconcile": [("nightly", "0 2 * * *")],
        "rebuild": [],
    }


def test_runs_of_the_short_schedule_do_not_pile_up() -> None:
    limits = {name: deployment.get("concurrency_limit") for name, deployment in DEPLOYMENTS.items()}
    # None where a run should wait and not be cancelled.
    assert limits == {
        "incremental": {"limit": 1, "collision_strategy": "CANCEL_NEW", "grace_period_seconds": 60},
        "nightly-reconcile": None,
        "rebuild": None,
    }


def test_prefect_knows_every_key() -> None:
    """Prefect silently ignores unknown keys."""
    known = PrefectYamlModel.model_validate(SAID).model_dump(exclude_unset=True, by_alias=True)
    assert known == {key: value for key, value in SAID.items() if key != "definitions"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_work_pool_knows_every_variable(name: str) -> None:
    known = ProcessWorker.get_default_base_job_template()["variables"]["properties"]
    assert DEPLOYMENTS[name]["work_pool"]["job_variables"].keys() <= known.keys()


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_flow_takes_the_parameters(name: str) -> None:
    flow: Flow[..., Any] = load_flow_from_entrypoint(str(ROOT / DEPLOYMENTS[name]["entrypoint"]))
    parameters = DEPLOYMENTS[name].get("parameters", {})
    assert parameters.keys() <= flow.parameters.properties.keys()
    flow.validate_parameters(parameters)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_schedule_is_one_and_has_a_slug(name: str) -> None:
    for schedule in DEPLOYMENTS[name].get("schedules", ()):
        assert _schedule_config_to_deployment_schedule(schedule)["slug"]
        assert schedule["timezone"] == "UTC"


def test_runs_that_die_are_noticed_soon() -> None:
    for deployment in DEPLOYMENTS.values():
        assert int(deployment["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) <= 30


# What a worker does with it


def command(module: str, world: World, **more: str) -> None:
    """Run a Python module as a command with the world's settings, and require that it succeeds."""
    inherited = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    server = {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "PREFECT_HOME": str(PREFECT_HOME.value())}
    done = subprocess.run(
        [sys.executable, "-m", *module.split()],
        cwd=ROOT,
        env=inherited | server | world.settings | more,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def deployed(kiosk: World) -> Iterator[None]:
    """Deploy as the README describes."""
    kiosk.save_blocks()
    command(f"prefect {MAKE_POOL}", kiosk)
    command(DEPLOY, kiosk)
    yield
    with client() as api:
        for deployment in api.read_deployments():
            api.delete_deployment(deployment.id)
        api.delete_work_pool("totesys")


def make_due(name: str, minutes: int = 10) -> UUID:
    """Schedule a run of a deployment, as the server's scheduler does, but for this many minutes ago."""
    with client() as api:
        deployment = api.read_deployment_by_name(name)
        past = {"start_time": (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(), "max_runs": 1}
        api.request("POST", "/deployments/{id}/schedule", path_params={"id": deployment.id}, json=past)
    return deployment.id


def only_run(deployment: UUID, *but: UUID) -> FlowRun:
    """The run of a deployment, but for others."""
    of_deployment = FlowRunFilter.model_validate({"deployment_id": {"any_": [deployment]}})
    with client() as api:
        (run,) = (run for run in api.read_flow_runs(flow_run_filter=of_deployment) if run.id not in but)
    return run


def test_a_scheduled_run_lands_rows_and_shows_that_it_is_alive(kiosk: World, deployed: None) -> None:
    """And one that fails logs its error once."""
    deployment = make_due("totesys-etl/incremental")
    command(f"prefect {START_WORKER} --run-once", kiosk)
    run = only_run(deployment)
    assert (run.state_name, run.auto_scheduled) == ("Completed", True)
    assert query(kiosk.warehouse_url, "SELECT count(*) FROM fact_sale") == [(3,)]
    assert soon(lambda: events(run, "prefect.flow-run.heartbeat"))

    query(kiosk.source_url, "ALTER TABLE item RENAME TO gone")
    make_due("totesys-etl/incremental", minutes=20)
    command(f"prefect {START_WORKER} --run-once", kiosk)
    failed = only_run(deployment, run.id)
    assert failed.state_name == "Failed"
    assert soon(lambda: errors_logged(failed))
    (line,) = errors_logged(failed)
    assert "item" in line


def errors_logged(run: FlowRun) -> list[str]:
    """The errors in the server's log of a run."""
    of_run = LogFilter.model_validate({"flow_run_id": {"any_": [run.id]}, "level": {"ge_": logging.ERROR}})
    with client() as api:
        return [log.message for log in api.read_logs(of_run)]


@pytest.mark.campaign
def test_environments_are_deployed_side_by_side_and_do_not_mix(
    kiosk: World, deployed: None, make_world: Callable[..., World]
) -> None:
    """A worker runs both, whichever of them its own settings name."""
    worlds = {"": kiosk}
    for number, name in enumerate(["dev", "prod"], start=4):
        worlds[name] = replace(open_kiosk(make_world), more={"TOTESYS_ENVIRONMENT": name})
        worlds[name].save_blocks()
        query(
            worlds[name].source_url,
            "INSERT INTO sale SELECT n, 1, now(), 1 FROM generate_series(4, %s) n",
            number,
        )
        command(DEPLOY, worlds[name])
    blocks_were_changed()
    runs = [make_due(f"totesys-etl/{name}-incremental") for name in ("dev", "prod")]
    command(f"prefect {START_WORKER} --run-once", kiosk, TOTESYS_ENVIRONMENT="dev")
    assert [only_run(run).state_name for run in runs] == ["Completed"] * 2
    assert query(kiosk.warehouse_url, "SELECT to_regclass('etl.batch')") == [(None,)]
    sales = {
        name: query(worlds[name].warehouse_url, "SELECT count(*) FROM fact_sale") for name in ("dev", "prod")
    }
    assert sales == {"dev": [(4,)], "prod": [(5,)]}
    with client() as api:
        tags = {deployment.name: set(deployment.tags) for deployment in api.read_deployments()}
    kinds = ("incremental", "nightly-reconcile", "rebuild")
    expected = {f"{name}-{kind}": {f"{name}-totesys", name} for name in ("dev", "prod") for kind in kinds}
    assert tags == expected | {kind: {"totesys"} for kind in kinds}


def events(run: FlowRun, name: str) -> int:
    """How many events of that name the server has heard of a run."""
    wanted = {"event": {"name": [name]}, "resource": {"id": [f"prefect.flow-run.{run.id}"]}}
    with client() as api:
        return int(api.request("POST", "/events/filter", json={"filter": wanted}).json()["total"])


def soon(is_so: Callable[[], object]) -> bool:
    """Wait up to a minute for a condition."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# Two at once


def test_a_run_that_finds_the_lock_taken_is_cancelled(kiosk: World) -> None:
    with ledger.lock(kiosk.warehouse_url, "public"):
        state = kiosk.run().state
        impatient = replace(kiosk, more={"TOTESYS_RUN_LOCK_TIMEOUT": "0"})
        assert impatient.flow(reconcile=True).state.name == "Cancelled"
    assert state.name == "Cancelled"
    assert state.message == "another run is at work on this warehouse; let it finish"
    assert [report.rows_read for report in kiosk.run().reports] == [6]


@pytest.mark.parametrize("run_and_wait", [partial(etl, reconcile=True), rebuild])
def test_a_full_reconciling_or_rebuilding_run_waits_for_the_lock(
    kiosk: World, run_and_wait: Callable[[], object]
) -> None:
    waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    locked = Event()

    def another() -> bool:
        with ledger.lock(kiosk.warehouse_url, "public"):
            locked.set()
            return soon(lambda: query(kiosk.warehouse_url, waiting))

    kiosk.run()
    with ThreadPoolExecutor() as pool, kiosk.entered():
        was_waited_for = pool.submit(another)
        locked.wait(SECONDS_TO_WAIT)
        run_and_wait()
    assert was_waited_for.result()
