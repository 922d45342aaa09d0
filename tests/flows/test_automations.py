"""Alerts: one command saves and updates them, and they are mailed when they should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from prefect.blocks.notifications import SlackWebhook

from tasks import save_automations, watchdogs
from tests.flows.dead_runs import killed_while_it_waits
from tests.flows.mailbox import Mailbox, mailbox
from tests.flows.support import World, client, query

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
def command(call: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """A function that calls ``make automations`` in a world; its error if it has one, and its lines."""
    return partial(call, save_automations.main)


@pytest.fixture(autouse=True)
def forgotten(prefect_server: None) -> Iterator[None]:
    """Delete all automations and alert blocks after each test."""
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
    """A kiosk whose alerts are sent to the mailbox once they are saved."""
    return alerting(kiosk, mails.url)


def alerting(world: World, url: str, **more: str) -> World:
    return replace(world, more={**world.more, "TOTESYS_ALERT_URL": url, **more})


def saved() -> dict[str, dict[str, Any]]:
    """The saved automations by name."""
    with client() as prefect:
        return {found.name: found.model_dump(mode="json") for found in prefect.read_automations()}


def target(name: str) -> str:
    """The URL that alerts go to."""
    block = SlackWebhook.load(name)
    assert isinstance(block, SlackWebhook)
    return block.url.get_secret_value()


def test_saving_again_updates_existing_automations(
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
    assert "updated automation totesys-run-lost, which is disabled" in again
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
        ("hunter2", "error: TOTESYS_ALERT_URL: is not an Apprise URL"),
        ("nothing://oncall:hunter2@example.com", "error: TOTESYS_ALERT_URL: is not an Apprise URL"),
    ],
)
def test_an_unusable_alert_url_is_named_and_not_shown(
    kiosk: World, command: Callable[..., list[str]], url: str, words: str
) -> None:
    lines = command(alerting(kiosk, url), status=1)
    assert lines[0].startswith(words)
    assert "hunter2" not in "".join(lines)
    assert saved() == {}


def test_without_an_alert_url_only_watchdogs_are_saved(
    kiosk: World, command: Callable[..., list[str]]
) -> None:
    lines = command(alerting(kiosk, ""))
    assert lines[-1] == "no alerts are sent: TOTESYS_ALERT_URL is not set"
    assert set(saved()) == WATCHDOGS
    assert command(alerting(kiosk, ""), "--try", status=1)[0].startswith("error: not set: TOTESYS_ALERT_URL")


def test_a_test_message_can_be_sent(
    watched: World, command: Callable[..., list[str]], mails: Mailbox
) -> None:
    assert command(watched, "--try")[-1] == "sent a message; check that it arrives"
    assert "Nothing is wrong" in mails.wait_for("a test")
    nobody = alerting(
        watched, "mailto://oncall:hunter2@127.0.0.1:1?from=totesys@example.com&to=oncall@example.com"
    )
    said = command(nobody, "--try", status=1)[0]
    assert said.startswith("error: TOTESYS_ALERT_URL: the message was not accepted")
    assert "hunter2" not in said


def test_a_failed_run_is_mailed_with_instructions_but_not_every_time(
    watched: World, command: Callable[..., list[str]], mails: Mailbox
) -> None:
    command(watched)
    broken = replace(watched, transforms=watched.home / "nowhere")
    failed = broken.run()
    mail = mails.wait_for("totesys: totesys-etl failed")
    assert f"{failed.error}" in mail
    assert "no models here" in mail
    assert "A batch is in the warehouse completely or not at all" in mail
    assert f"/runs/flow-run/{failed.id}" in mail
    broken.run()
    query(watched.source_url, "INSERT INTO sale VALUES (4, 9, now(), 1), (5, 1, now(), NULL)")
    assert watched.run().state.is_completed()
    mails.wait_for("rows rejected")
    assert len([subject for subject in mails.subjects() if "failed" in subject]) == 1


def test_rejected_rows_are_mailed_without_their_values(
    watched: World, command: Callable[..., list[str]], mails: Mailbox
) -> None:
    command(watched)
    query(watched.source_url, "INSERT INTO sale VALUES (4, 9876, now(), 1), (5, 1, now(), NULL)")
    run = watched.run()
    mail = mails.wait_for("totesys: 2 rows rejected")
    assert "fact_sale: 2" in mail
    assert run.reports[0].batch_id in mail
    assert f"/runs/flow-run/{run.id}" in mail
    assert "9876" not in mail


def test_missed_rows_are_mailed(watched: World, command: Callable[..., list[str]], mails: Mailbox) -> None:
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
    """Counted from the last update, or from when alerts were saved."""
    command(watched, "--max-age", str(SHORTLY / timedelta(minutes=1)))
    mail = mails.wait_for("the warehouse is not brought up to date")
    assert "was last up to date at" not in mail
    mails.mails.clear()
    run = watched.run()
    mail = mails.wait_for("the warehouse is not brought up to date")
    assert (
        f"totesys.warehouse, which was last up to date at {run.reports[0].snapshot_at:%Y-%m-%dT%H:%M:%S}"
        in mail
    )
    assert f"/runs/flow-run/{run.id}" in mail


def test_a_run_whose_process_died_is_marked_as_crashed_and_mailed(
    watched: World, command: Callable[..., list[str]], mails: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdogs, "_longest_silence", lambda: SHORTLY)
    command(watched)
    watched.save_blocks()
    with psycopg.connect(watched.source_url) as blocking:
        blocking.execute("LOCK TABLE sale IN ACCESS EXCLUSIVE MODE")
        run = killed_while_it_waits(watched)
    mail = mails.wait_for("totesys: totesys-etl crashed")
    assert "no heartbeat for" in mail
    assert f"/runs/flow-run/{run}" in mail
    with client() as prefect:
        assert prefect.read_flow_run(run).state_name == "Crashed"
