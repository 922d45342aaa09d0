"""Runs whose worker or process is killed are marked as crashed soon, and release their slot."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import psycopg
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are not worth a dependency
from prefect import flow
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, State
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import AwaitingRetry, Completed, Pending, Running

from demo.processes import PrefectServer
from tasks import save_automations, watchdogs
from tasks.deploy import of_environment
from tests.flows.support import ROOT, SECONDS_TO_WAIT, World, client, query

# The shortest time that Prefect waits for what does not come.
SHORTLY = timedelta(seconds=10)
PROMISED = 120.0


@pytest.fixture
def deploy(prefect_server: None) -> Iterator[Callable[..., UUID]]:
    """A function that deploys a flow of ours, for one run at a time if it is limited."""
    made: list[UUID] = []
    with client() as api:

        def new(*, limited: bool, environment: str = "") -> UUID:
            flow = api.create_flow_from_name("totesys-etl")
            cancelling = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
            options: dict[str, Any] = {"tags": tags_of(environment)}
            if limited:
                options |= {"concurrency_limit": 1, "concurrency_options": cancelling}
            made.append(api.create_deployment(flow, f"watched {len(made)}", **options))
            return made[-1]

        yield new
        for each in made:
            api.delete_deployment(each)
        for automation in api.read_automations():
            api.delete_automation(automation.id)


def tags_of(environment: str) -> list[str]:
    """The tags of the deployments of an environment."""
    said = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    tags: list[str] = of_environment(said, environment)["deployments"][0]["tags"]
    return tags


def save(max_start: timedelta) -> None:
    """Save what ``make automations`` does where no alerts are sent."""
    for automation in watchdogs.watchdogs("", max_start):
        save_automations._save(automation)


def taken(deployment: UUID) -> tuple[UUID, State[Any]]:
    """A new run, as a worker takes it, and what the server makes of it."""
    with client() as api:
        run = api.create_flow_run_from_deployment(deployment)
        api.set_flow_run_state(run.id, Pending())
        return run.id, state_of(run.id)


def state_of(run: UUID) -> State[Any]:
    with client() as api:
        found = api.read_flow_run(run).state
    assert found is not None
    return found


def crashed_within(seconds: float, run: UUID, meanwhile: Callable[[], None] = lambda: None) -> State[Any]:
    """The state of a run as soon as it is one that ends it."""
    deadline = time.monotonic() + seconds
    while not (state := state_of(run)).is_final():
        assert time.monotonic() < deadline, f"still {state.name} after {seconds} s"
        meanwhile()
        time.sleep(0.2)
    assert state.is_crashed(), state
    return state


def heartbeat(deployment: UUID, run: UUID) -> None:
    """The sign of life that a process gives."""
    related = [
        {"prefect.resource.id": "prefect.flow.1", "prefect.resource.role": "flow",
         "prefect.resource.name": "totesys-etl"},
        {"prefect.resource.id": f"prefect.deployment.{deployment}", "prefect.resource.role": "deployment"},
        {"prefect.resource.id": f"prefect.tag.{watchdogs.tag('')}", "prefect.resource.role": "tag"},
    ]  # fmt: skip
    emit_event(
        "prefect.flow-run.heartbeat", {"prefect.resource.id": f"prefect.flow-run.{run}"}, related=related
    )
    EventsWorker.instance().wait_until_empty()


def test_a_run_that_does_not_start_releases_its_slot(deploy: Callable[..., UUID]) -> None:
    """And is not kept from its work where it starts after all."""
    save(SHORTLY)
    deployment = deploy(limited=True)
    run, state = taken(deployment)
    assert state.is_pending()
    assert taken(deployment)[1].is_cancelled(), "its place is taken"
    message = crashed_within(SECONDS_TO_WAIT, run).message
    assert message is not None
    assert message.startswith("not started 10 s after a worker took it.")
    assert taken(deployment)[1].is_pending()
    with client() as api:
        api.set_flow_run_state(run, Running())
        assert state_of(run).is_running()
        api.set_flow_run_state(run, Completed())
    assert state_of(run).is_completed()


@pytest.mark.campaign
def test_runs_that_start_or_go_back_or_are_not_of_these_deployments_are_left_alone(
    deploy: Callable[..., UUID],
) -> None:
    """One that does not start, and was taken after all of them, tells how long to wait."""

    @flow(name="totesys-etl")
    def by_hand() -> None:
        """A run of it is not started here."""

    save(SHORTLY)
    deployment = deploy(limited=False)
    (alive, _), (waiting, _) = taken(deployment), taken(deployment)
    of_another, _ = taken(deploy(limited=False, environment="prod"))
    with client() as api:
        api.set_flow_run_state(alive, Running())
        api.set_flow_run_state(waiting, AwaitingRetry(), force=True)
        started_by_hand = api.create_flow_run(by_hand, state=Pending()).id
    dead, _ = taken(deployment)
    # More than one: a server on SQLite may lose an event where two automations wait for it.
    crashed_within(SECONDS_TO_WAIT, dead, partial(heartbeat, deployment, alive))
    assert state_of(alive).is_running()
    assert state_of(waiting).is_scheduled()
    assert state_of(of_another).is_pending()
    assert state_of(started_by_hand).is_pending()


@pytest.mark.parametrize(("frequency", "seconds"), [(None, 90), (30, 90), (180, 540)])
def test_a_run_counts_as_lost_when_three_heartbeats_are_missing(frequency: int | None, seconds: int) -> None:
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: frequency}):
        _, lost = watchdogs.watchdogs("", SHORTLY)
    assert lost.trigger.model_dump()["within"] == timedelta(seconds=seconds)
    assert lost.actions[0].model_dump()["message"].startswith(f"no heartbeat for {seconds} s;")


def test_what_runs_in_this_folder_sends_heartbeats_as_the_deployments_do() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["prefect"]["flows"]["heartbeat_frequency"] == 30
    assert "PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


# The whole of it: a server, a worker and a run of their own, killed


@pytest.fixture
def site(kiosk: World, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a Prefect server of its own, with the blocks of a kiosk and both watchdogs."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "TOTESYS_", "AWS_", "COVERAGE"))
    }
    own = {"PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - inherited.keys():
            patch.delenv(name)
        for name, value in own.items():
            patch.setenv(name, value)
        server = PrefectServer()
    server.wait()
    environment = inherited | own | kiosk.settings | {"PREFECT_API_URL": server.api}
    for command in ("tasks.save_blocks", "tasks.save_automations"):
        do(environment, sys.executable, "-m", command)
    prefect = (sys.executable, "-m", "prefect")
    do(environment, *prefect, "work-pool", "create", "--type", "process", "totesys")
    do(environment, *prefect, "--no-prompt", "deploy", "--all", "--prefect-file", str(deployments(tmp_path)))
    with temporary_settings({PREFECT_API_URL: server.api}):
        yield environment
    server.stop()


def do(environment: dict[str, str], *command: str) -> None:
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=120, capture_output=True)


def deployments(home: Path) -> Path:
    """A copy of prefect.yaml whose runs come only by hand."""
    said = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    for deployment in said["deployments"]:
        deployment["schedules"] = []
    copy = home / "prefect.yaml"
    copy.write_text(yaml.safe_dump(said), encoding="utf-8")
    return copy


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[Callable[[], None]]:
    """A worker, and the function that kills it with all that it has started."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "totesys"]
    quietly: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    polling = environment | {"PREFECT_WORKER_QUERY_SECONDS": "2"}
    process = subprocess.Popen(command, cwd=ROOT, env=polling, start_new_session=True, **quietly)

    def kill() -> None:
        """Runs have process groups of their own: ask for them before their parent is gone."""
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()

    try:
        yield kill
    finally:
        if process.poll() is None:
            kill()


def wanted(**more: Any) -> UUID:
    """A run of the deployment that is limited to one, due now."""
    with client() as api:
        deployment = api.read_deployment_by_name("totesys-etl/incremental")
        return api.create_flow_run_from_deployment(deployment.id, **more).id


def soon(run: UUID, name: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while state_of(run).name != name:
        assert time.monotonic() < deadline, state_of(run)
        time.sleep(0.1)


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("killed_while", ["Running", "Submitting"])
def test_a_worker_killed_with_its_run_is_replaced_within_two_minutes(
    kiosk: World, site: dict[str, str], killed_while: str
) -> None:
    with psycopg.connect(kiosk.source_url) as blocking, worker(site) as kill:
        blocking.execute("LOCK TABLE sale IN ACCESS EXCLUSIVE MODE")
        run = wanted(job_variables={"command": "sleep 600"} if killed_while == "Submitting" else {})
        soon(run, killed_while)
        if killed_while == "Running":
            locked = "SELECT pid FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'"
            wait_until(lambda: query(kiosk.source_url, locked))
        kill()
    crashed_within(PROMISED, run)
    with worker(site):
        soon(wanted(), "Completed")
    assert query(kiosk.warehouse_url, "SELECT count(*) FROM fact_sale") == [(3,)]


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)
