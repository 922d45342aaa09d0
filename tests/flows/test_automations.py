"""Alerts: saved by one command as often as one likes, and mailed when they should be."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from prefect.blocks.notifications import SlackWebhook
from prefect.settings import PREFECT_API_URL

from tasks import save_automations, watchdogs
from tests.flows.mailbox import Mailbox, mailbox
from tests.flows.support import ROOT, SECONDS_TO_WAIT, World, client, query

# Apprise imports it where it is still there.
pytestmark = [
    pytest.mark.campaign,  # alerts take their time: two minutes of waiting
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

WATCHDOGS = {"totesys-run-not-started", "totesys-run-lost"}
NAMES = WATCHDOGS | {
    "totesys-run-failed",
    "totesys-warehouse-stale",
    "totesys-rows-rejected",
    "totesys-rows-missed",
}
# The shortest time that Prefect waits for what does not come.
SHORTLY = timedelta(seconds=10)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """A function that calls ``make automations`` in a world; its lines, and its error if it has one."""

    def call(world: World, *arguments: str, status: int = 0) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["save_automations", *arguments])
        capsys.readouterr()
        with world.entered():
            assert save_automations.main() == status
        shown = capsys.readouterr()
        return shown.out.splitlines() + shown.err.splitlines()

    return call


@pytest.fixture(autouse=True)
def forgotten(prefect_server: None) -> Iterator[None]:
    """No alert outlives its test."""
    yield
    with client() as prefect:
        for automation in prefect.read_automations():
            prefect.delete_automation(automation.id)


@pytest.fixture
def mails() -> Iterator[Mailbox]:
    with mailbox() as box:
        yield box


@pytest.fixture
def watched(kiosk: World, mails: Mailbox) -> World:
    """A kiosk whose alerts go to the mailbox, as soon as they are saved."""
    return alerting(kiosk, mails.url)


def alerting(world: World, url: str, **more: str) -> World:
    return replace(world, more={**world.more, "TOTESYS_ALERT_URL": url, **more})


def saved() -> dict[str, dict[str, Any]]:
    """What the server knows of each automation, by name."""
    with client() as prefect:
        return {found.name: found.model_dump(mode="json") for found in prefect.read_automations()}


def target(name: str) -> str:
    """The URL that alerts go to."""
    block = SlackWebhook.load(name)
    assert isinstance(block, SlackWebhook)
    return block.url.get_secret_value()


def test_saving_again_changes_nothing_but_what_is_new(
    watched: World, mails: Mailbox, command: Callable[..., list[str]]
) -> None:
    first = command(watched)
    assert set(first) == {
        "saved block slack-webhook/totesys-alerts",
        *(f"created automation {name}" for name in NAMES),
    }
    assert target("totesys-alerts") == f"{mails.url}&format=text"
    before = saved()
    with client() as prefect:
        prefect.pause_automation(UUID(before["totesys-run-lost"]["id"]))
    again = command(
        alerting(watched, f"json://127.0.0.1:1/elsewhere, {mails.url}&format=html"), "--max-age", "45"
    )
    assert "updated automation totesys-run-lost, which is switched off" in again
    assert {line.split()[2].rstrip(",") for line in again if "automation" in line} == NAMES
    after = saved()
    assert {name: it["id"] for name, it in after.items()} == {name: it["id"] for name, it in before.items()}
    assert [name for name, it in after.items() if not it["enabled"]] == ["totesys-run-lost"]
    assert after["totesys-warehouse-stale"]["trigger"]["within"] == 45 * 60
    assert target("totesys-alerts") == f"json://127.0.0.1:1/elsewhere, {mails.url}&format=html"


@pytest.mark.parametrize(
    ("environment", "other", "subject", "origin"),
    [
        ("prod", "", "totesys prod: totesys-etl failed", "run by hand in prod"),
        ("", "prod", "totesys: totesys-etl failed", "run by hand"),
    ],
)
def test_an_environment_s_alerts_are_of_its_own_runs(
    watched: World,
    mails: Mailbox,
    command: Callable[..., list[str]],
    environment: str,
    other: str,
    subject: str,
    origin: str,
) -> None:
    command(alerting(watched, "json://127.0.0.1:1", TOTESYS_ENVIRONMENT=other))
    command(alerting(watched, mails.url, TOTESYS_ENVIRONMENT=environment))
    assert set(saved()) == NAMES | {f"prod-{name}" for name in NAMES}
    watched.flow(environment=other)
    own = watched.flow(environment=environment)
    mail = mails.wait_for(subject)
    assert str(own.id) in mail
    assert origin in mail
    assert len(mails.mails) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hunter2", "error: TOTESYS_ALERT_URL: is no URL of Apprise's"),
        ("nothing://oncall:hunter2@example.com", "error: TOTESYS_ALERT_URL: is no URL of Apprise's"),
    ],
)
def test_a_target_that_will_not_do_is_named_and_not_shown(
    kiosk: World, command: Callable[..., list[str]], url: str, words: str
) -> None:
    lines = command(alerting(kiosk, url), status=1)
    assert lines[-1].startswith(words)
    assert "hunter2" not in "".join(lines)
    assert saved() == {}


def test_without_a_target_only_what_ends_dead_runs_is_saved(
    kiosk: World, command: Callable[..., list[str]]
) -> None:
    lines = command(alerting(kiosk, ""))
    assert lines[-1] == "no alerts are sent: TOTESYS_ALERT_URL is not set"
    assert set(saved()) == WATCHDOGS
    assert command(alerting(kiosk, ""), "--try", status=1)[-1].startswith("error: not set: TOTESYS_ALERT_URL")


def test_a_message_can_be_sent_to_see_that_it_comes(
    watched: World, command: Callable[..., list[str]], mails: Mailbox
) -> None:
    assert command(watched, "--try")[-1] == "sent a message; see that it arrives"
    assert "Nothing is wrong" in mails.wait_for("a try")
    nobody = alerting(
        watched, "mailto://oncall:hunter2@127.0.0.1:1?from=totesys@example.com&to=oncall@example.com"
    )
    said = command(nobody, "--try", status=1)[-1]
    assert said.startswith("error: TOTESYS_ALERT_URL: the message was not taken")
    assert "hunter2" not in said


def test_a_failed_run_is_mailed_with_what_to_do_and_not_every_time(
    watched: World, command: Callable[..., list[str]], mails: Mailbox
) -> None:
    command(watched)
    broken = replace(watched, transforms=watched.home / "nowhere")
    failed = broken.run()
    mail = mails.wait_for("totesys: totesys-etl failed")
    assert f"{failed.error}" in mail
    assert "no models here" in mail
    assert "A batch is in the warehouse whole or not at all" in mail
    assert f"/runs/flow-run/{failed.id}" in mail
    broken.run()
    query(watched.source_url, "INSERT INTO sale VALUES (4, 9, now(), 1), (5, 1, now(), NULL)")
    assert watched.run().state.is_completed()
    mails.wait_for("rows set aside")
    assert len([subject for subject in mails.subjects() if "failed" in subject]) == 1


def test_rows_that_are_set_aside_are_mailed_without_their_values(
    watched: World, command: Callable[..., list[str]], mails: Mailbox
) -> None:
    command(watched)
    query(watched.source_url, "INSERT INTO sale VALUES (4, 9876, now(), 1), (5, 1, now(), NULL)")
    run = watched.run()
    mail = mails.wait_for("totesys: 2 rows set aside")
    assert "fact_sale: 2" in mail
    assert run.reports[0].batch_id in mail
    assert f"/runs/flow-run/{run.id}" in mail
    assert "9876" not in mail


def test_what_only_reconciling_found_is_mailed(
    watched: World, command: Callable[..., list[str]], mails: Mailbox
) -> None:
    command(watched)
    watched.run()
    query(watched.warehouse_url, "UPDATE fact_sale SET pieces = 99 WHERE sale_id = 2")
    run = watched.run(reconcile=True)
    mail = mails.wait_for("totesys: 1 row missed")
    assert "fact_sale: 1" in mail
    assert f"/runs/flow-run/{run.id}" in mail


def test_a_warehouse_that_is_not_brought_up_to_date_is_mailed(
    watched: World, command: Callable[..., list[str]], mails: Mailbox
) -> None:
    """From the last time on that it was; before the first time, from when alerts were saved."""
    command(watched, "--max-age", str(SHORTLY / timedelta(minutes=1)))
    mail = mails.wait_for("the warehouse is not brought up to date")
    assert "shows the source as of" not in mail
    mails.mails.clear()
    run = watched.run()
    mail = mails.wait_for("the warehouse is not brought up to date")
    assert (
        f"totesys.warehouse, which shows the source as of {run.reports[0].snapshot_at:%Y-%m-%dT%H:%M:%S}"
        in mail
    )
    assert f"/runs/flow-run/{run.id}" in mail


def test_a_run_whose_process_is_gone_is_marked_as_crashed_and_mailed(
    watched: World, command: Callable[..., list[str]], mails: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdogs, "_silence_of_the_dead", lambda: SHORTLY)
    command(watched)
    watched.save_blocks()
    with psycopg.connect(watched.source_url) as blocking:
        blocking.execute("LOCK TABLE sale IN ACCESS EXCLUSIVE MODE")
        run = killed_while_it_waits(watched)
    mail = mails.wait_for("totesys: totesys-etl crashed")
    assert "no sign of life" in mail
    assert f"/runs/flow-run/{run}" in mail
    with client() as prefect:
        assert prefect.read_flow_run(run).state_name == "Crashed"


def killed_while_it_waits(world: World) -> UUID:
    """Run the flow in a process of its own, and kill that as soon as it has given a sign of life."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("TOTESYS_", "AWS_"))
    }
    environment |= world.settings | {
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PYTHONPATH": str(ROOT),
    }
    started = datetime.now(UTC)
    # Tagged as a deployed run is.
    tagged = "from prefect import tags; from flows.etl import etl\nwith tags('totesys'): etl()"
    process = subprocess.Popen(
        [sys.executable, "-c", tagged],
        cwd=world.home,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return heartbeat(started)
    finally:
        process.kill()
        process.wait()


def heartbeat(since: datetime) -> UUID:
    """The run of the first heartbeat that the server gets from then on, as soon as it does."""
    wanted: dict[str, Any] = {
        "filter": {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "occurred": {"since": since.isoformat()},
        }
    }
    deadline = time.monotonic() + SECONDS_TO_WAIT
    with client() as prefect:
        while time.monotonic() < deadline:
            found = prefect._client.post("/events/filter", json=wanted).json()["events"]
            if found:
                return UUID(found[0]["resource"]["prefect.resource.id"].removeprefix("prefect.flow-run."))
            time.sleep(0.1)
    raise AssertionError("no run has given a sign of life")
