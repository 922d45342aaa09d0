"""Save what watches runs, and alerts, as Prefect automations: ``python -m tasks.save_automations``."""

import argparse
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from textwrap import dedent
from typing import cast
from uuid import UUID

from apprise import Apprise
from prefect import get_client
from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.blocks.abstract import NotificationError
from prefect.blocks.notifications import SlackWebhook
from prefect.events.actions import SendNotification
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_UI_URL
from pydantic import SecretStr

from pipeline import settings
from pipeline.errors import SettingsError
from tasks import blocks, events
from tasks.failures import print_all
from tasks.watchdogs import BROKEN, MINUTES_TO_START, ours, watchdogs

# The same alert comes at most this often, however often the schedule fails.
AT_MOST_EVERY = timedelta(minutes=30)
_MINUTES = 30
_SHORTEST = timedelta(seconds=10)

_BETWEEN_URLS = re.compile(r"[\s,]+(?=\w+://)")

_RUN_FAILED = """\
    What:   run {{ flow_run.name }} of {{ flow.name }} {{ flow_run.state.name | lower }}.
            {{ flow_run.state.message }}
    Where:  {% if deployment %}deployment {{ deployment.name }}{% else %}run by hand{% endif -%}
            {%- if flow_run.parameters.environment %} in {{ flow_run.parameters.environment }}{% endif %}
    To do:  mend what the message names. A batch is in the warehouse whole or not at all: the message
            says so where this run committed one. The next run goes on from there.
    Run:    LINK
    """

_STALE = """\
    What:   no run has brought the warehouse up to date for PERIOD.
    Where:  RESOURCE{% if event.payload.up_to_date_at %}, which shows the source as of \
{{ event.payload.up_to_date_at }}{% endif %}
    To do:  see whether the schedule is on, whether a worker is online, and how the last runs ended;
            `make status` tells what waits in the source.
    {% if flow_run %}Last:   LINK{% endif %}
    """

_ROWS = "{{ event.payload.rows }} row{{ '' if event.payload.rows == 1 else 's' }}"
_ROWS_REJECTED = """\
    What:   set aside, as they do not fit: ROWS more. All others are in the warehouse.
            {%- for table, rows in event.payload.tables.items() %}
            {{ table }}: {{ rows }}
            {%- endfor %}
    Where:  RESOURCE, batch {{ event.payload.batch_id }}
    To do:  `make status` shows the reasons, the table etl.rejected the rows. Mend them in the source;
            the next run takes them in.
    Run:    LINK
    """


_ROWS_MISSED = """\
    What:   reconciling found ROWS that other runs had missed. They are in the warehouse now.
            {%- for table, rows in event.payload.tables.items() %}
            {{ table }}: {{ rows }}
            {%- endfor %}
    Where:  RESOURCE, batch {{ event.payload.batch_id }}
    To do:  find out who wrote into the warehouse's tables beside the pipeline. If nobody did, it is a
            fault of the pipeline: keep both buckets, and report it with the log of this run.
    Run:    LINK
    """


def save(max_age: timedelta, max_start: timedelta, *, send: bool = False) -> Iterator[str]:
    """Save what watches runs, where alerts go and what they are, over what is there; yields a line on each.

    Without a place for alerts only what ends dead runs is saved. With ``send`` a message goes
    there at once. Raises SettingsError where it is not taken.
    """
    config = settings.load()
    for option, value in (("--max-age", max_age), ("--max-start", max_start)):
        if value < _SHORTEST:
            raise SettingsError(f"{option}: is shorter than {_SHORTEST.seconds} seconds, which Prefect takes")
    if send and not config.alert_url:
        raise SettingsError("not set: TOTESYS_ALERT_URL; put it into the environment or .env")
    target = SlackWebhook(url=_target(config.alert_url)) if config.alert_url else None
    for automation in watchdogs(config.environment, max_start):
        yield _save(automation)
    if target:
        yield from _save_alerts(config.environment, target, max_age)
    else:
        yield "no alerts are sent: TOTESYS_ALERT_URL is not set"
    if target and send:
        yield _try(target)


def _save_alerts(environment: str, target: SlackWebhook, max_age: timedelta) -> Iterator[str]:
    name = blocks.named(blocks.ALERTS, environment)
    document = cast(UUID, target.save(name, overwrite=True))
    yield f"saved block {target.get_block_type_slug()}/{name}"
    for automation in alerts(environment, document, max_age):
        yield _save(automation)
    events.watched(environment)
    EventsWorker.instance().wait_until_empty()


def _try(target: SlackWebhook) -> str:
    """Send a message; what Apprise says of a failure is left out, as it may quote a token."""
    try:
        with target.raise_on_failure():
            target.notify("This is how alerts arrive. Nothing is wrong.", subject="totesys: a try")
    except NotificationError:
        raise SettingsError(
            "TOTESYS_ALERT_URL: the message was not taken; check host, port, user and password in it"
        ) from None
    return "sent a message; see that it arrives"


def _target(url: SecretStr) -> SecretStr:
    """Where alerts go, as Apprise's URLs say it; mail as plain text, which is what they are.

    On a server of one's own only blocks that the server knows can send. None of them is
    for mail, but this one hands every URL that is not Slack's to Apprise as it is, which
    knows mail and a hundred services more.
    """
    text = url.get_secret_value()
    if not Apprise().add(text):
        raise SettingsError(
            "TOTESYS_ALERT_URL: is no URL of Apprise's, such as mailtos://user:password@smtp.example.com"
            "?from=totesys@example.com&to=oncall@example.com or slack://…"
        )
    return SecretStr(", ".join(map(_plain, _BETWEEN_URLS.split(text))))


def _plain(url: str) -> str:
    if not url.startswith(("mailto://", "mailtos://")) or "format=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}format=text"


def alerts(environment: str, target: UUID, max_age: timedelta) -> list[AutomationCore]:
    """What is sent to people."""
    return [
        _run_failed(environment, target),
        _warehouse_stale(environment, target, max_age),
        _rows_rejected(environment, target),
        _rows_missed(environment, target),
    ]


def _run_failed(environment: str, target: UUID) -> AutomationCore:
    return AutomationCore(
        name=blocks.named("totesys-run-failed", environment),
        description="A run failed or crashed: says what, where and what to do.",
        trigger=EventTrigger(
            expect=BROKEN,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=ours(environment),
            for_each={"related:flow:prefect.resource.id", "related:deployment:prefect.resource.id"},
            posture=Posture.Reactive,
            within=AT_MOST_EVERY,
        ),
        actions=[
            _send(target, environment, "{{ flow.name }} {{ flow_run.state.name | lower }}", _RUN_FAILED)
        ],
    )


def _warehouse_stale(environment: str, target: UUID, max_age: timedelta) -> AutomationCore:
    """Rests on the event, because a run's state does not say which warehouse is fresh.

    ``after`` makes the time count from the last event. Without it Prefect counts in
    windows, and would tell after up to three times as long.
    """
    resource = events.warehouse(environment)
    return AutomationCore(
        name=blocks.named("totesys-warehouse-stale", environment),
        description="No run has brought the warehouse up to date for too long.",
        trigger=EventTrigger(
            after={events.UPDATED, events.WATCHED},
            expect={events.UPDATED},
            match=resource,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            within=max_age,
        ),
        actions=[
            _send(
                target,
                environment,
                "the warehouse is not brought up to date",
                _STALE.replace("PERIOD", f"{max_age.total_seconds() / 60:g} min"),
            )
        ],
    )


def _rows_rejected(environment: str, target: UUID) -> AutomationCore:
    return AutomationCore(
        name=blocks.named("totesys-rows-rejected", environment),
        description="Rows do not fit and were set aside.",
        trigger=_at_times(events.REJECTED, environment),
        actions=[_send(target, environment, "ROWS set aside", _ROWS_REJECTED)],
    )


def _rows_missed(environment: str, target: UUID) -> AutomationCore:
    return AutomationCore(
        name=blocks.named("totesys-rows-missed", environment),
        description="Reconciling found what other runs had missed.",
        trigger=_at_times(events.MISSED, environment),
        actions=[_send(target, environment, "ROWS missed", _ROWS_MISSED)],
    )


def _at_times(event: str, environment: str) -> EventTrigger:
    """When an event of the warehouse comes, but not more often than that makes sense."""
    return EventTrigger(
        expect={event},
        match=events.warehouse(environment),
        posture=Posture.Reactive,
        within=AT_MOST_EVERY,
    )


def _send(target: UUID, environment: str, subject: str, body: str) -> SendNotification:
    (resource,) = events.warehouse(environment).values()
    return SendNotification(
        block_document_id=target,
        subject=" ".join(filter(None, ["totesys", environment])) + f": {subject}".replace("ROWS", _ROWS),
        body=dedent(body).replace("RESOURCE", resource).replace("LINK", _link()).replace("ROWS", _ROWS),
    )


def _link() -> str:
    """Where to look at the run: as the server's settings say, or else as those here do."""
    pages = PREFECT_UI_URL.value()
    here = f"{pages}/runs/flow-run/" if pages else ""
    return '{{ flow_run | ui_url or "' + here + '" ~ flow_run.id }}'


def _save(automation: AutomationCore) -> str:
    """Create it, or change the one of that name; what somebody has switched off stays off."""
    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(automation.name)
        if not known:
            client.create_automation(automation)
            return f"created automation {automation.name}"
        automation.enabled = known[0].enabled
        client.update_automation(known[0].id, automation)
    return f"updated automation {automation.name}{'' if automation.enabled else ', which is switched off'}"


def main() -> int:
    """Save them; one line and status 1 where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m tasks.save_automations", description=__doc__)
    parser.add_argument(
        "--max-age",
        type=float,
        default=_MINUTES,
        metavar="MINUTES",
        help=f"after how long the warehouse is too old; {_MINUTES} by default",
    )
    parser.add_argument(
        "--max-start",
        type=float,
        default=MINUTES_TO_START,
        metavar="MINUTES",
        help=f"how long a run may take to start; {MINUTES_TO_START} by default",
    )
    parser.add_argument("--try", action="store_true", dest="send", help="send a message to see that it comes")
    arguments = parser.parse_args()
    max_age, max_start = (timedelta(minutes=each) for each in (arguments.max_age, arguments.max_start))
    return print_all(save(max_age, max_start, send=arguments.send))


if __name__ == "__main__":
    sys.exit(main())
