"""Save watchdogs and alerts as Prefect automations: ``python -m tasks.save_automations``."""

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
from tasks.arguments import Parser
from tasks.failures import print_all
from tasks.watchdogs import FAILED_STATES, MINUTES_TO_START, run_filter, watchdogs

# An alert is sent at most this often, even if runs fail more often.
AT_MOST_EVERY = timedelta(minutes=30)
_SHORTEST = timedelta(seconds=10)

_BETWEEN_URLS = re.compile(r"[\s,]+(?=\w+://)")

_RUN_FAILED = """\
    What:   run {{ flow_run.name }} of {{ flow.name }} {{ flow_run.state.name | lower }}.
            {{ flow_run.state.message }}
    Where:  {% if deployment %}deployment {{ deployment.name }}{% else %}run by hand{% endif -%}
            {%- if flow_run.parameters.environment %} in {{ flow_run.parameters.environment }}{% endif %}
    To do:  fix what the message names. A batch is in the warehouse completely or not at all; the
            message names the batch if this run committed one. The next run continues from there.
    Run:    LINK
    """

_STALE = """\
    What:   no run has brought the warehouse up to date for PERIOD.
    Where:  RESOURCE{% if event.payload.up_to_date_at %}, which was last up to date at \
{{ event.payload.up_to_date_at }}{% endif %}
    To do:  check that the schedule is on, that a worker is online, and how the last runs ended;
            `make status` shows what is pending in the source.
    {% if flow_run %}Last:   LINK{% endif %}
    """

_ROWS = "{{ event.payload.rows }} row{{ '' if event.payload.rows == 1 else 's' }}"
_ROWS_REJECTED = """\
    What:   ROWS rejected, in addition to earlier ones. All others are in the warehouse.
            {%- for table, rows in event.payload.tables.items() %}
            {{ table }}: {{ rows }}
            {%- endfor %}
    Where:  RESOURCE, batch {{ event.payload.batch_id }}
    To do:  `make status` shows the reasons, the table etl.rejected the rows. Fix them in the source;
            the next run loads them.
    Run:    LINK
    """


_ROWS_MISSED = """\
    What:   reconciling found ROWS that earlier runs had missed. They are in the warehouse now.
            {%- for table, rows in event.payload.tables.items() %}
            {{ table }}: {{ rows }}
            {%- endfor %}
    Where:  RESOURCE, batch {{ event.payload.batch_id }}
    To do:  check whether anything but the pipeline writes to the warehouse's tables. If not, this is a
            bug of the pipeline: keep both buckets, and report it with the log of this run.
    Run:    LINK
    """


def save(max_age: timedelta, max_start: timedelta, *, send: bool = False) -> Iterator[str]:
    """Save the watchdogs, the alerts and the block with their destination; yields one line for each.

    Existing ones are updated. Without TOTESYS_ALERT_URL only the watchdogs are saved. With ``send`` a test
    message is sent. Raises SettingsError if it is not accepted.
    """
    config = settings.load()
    for option, value in (("--max-age", max_age), ("--max-start", max_start)):
        if value < _SHORTEST:
            raise SettingsError(f"{option}: is shorter than Prefect allows, {_SHORTEST.seconds} seconds")
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
        yield _send_test(target)


def _save_alerts(environment: str, target: SlackWebhook, max_age: timedelta) -> Iterator[str]:
    name = blocks.named(blocks.ALERTS, environment)
    document = cast(UUID, target.save(name, overwrite=True))
    yield f"saved block {target.get_block_type_slug()}/{name}"
    for automation in alerts(environment, document, max_age):
        yield _save(automation)
    events.watched(environment)
    EventsWorker.instance().wait_until_empty()


def _send_test(target: SlackWebhook) -> str:
    """Send a test message; Apprise's error is left out, as it may quote a token."""
    try:
        with target.raise_on_failure():
            target.notify("This is how alerts arrive. Nothing is wrong.", subject="totesys: a test")
    except NotificationError:
        raise SettingsError(
            "TOTESYS_ALERT_URL: the message was not accepted; check host, port, user and password in it"
        ) from None
    return "sent a message; check that it arrives"


def _target(url: SecretStr) -> SecretStr:
    """Apprise URLs for the Slack block; mail is sent as plain text.

    A self-hosted server sends notifications only through block types that it knows. None of them is for mail,
    but the Slack block passes every other URL to Apprise, which supports mail and a hundred services more.
    """
    text = url.get_secret_value()
    if not Apprise().add(text):
        raise SettingsError(
            "TOTESYS_ALERT_URL: is not an Apprise URL, such as mailtos://user:password@smtp.example.com"
            "?from=totesys@example.com&to=oncall@example.com or slack://…"
        )
    return SecretStr(", ".join(map(_plain, _BETWEEN_URLS.split(text))))


def _plain(url: str) -> str:
    if not url.startswith(("mailto://", "mailtos://")) or "format=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}format=text"


def alerts(environment: str, target: UUID, max_age: timedelta) -> list[AutomationCore]:
    """The automations that send alerts."""
    return [
        _run_failed(environment, target),
        _warehouse_stale(environment, target, max_age),
        _rows_rejected(environment, target),
        _rows_missed(environment, target),
    ]


def _run_failed(environment: str, target: UUID) -> AutomationCore:
    return AutomationCore(
        name=blocks.named("totesys-run-failed", environment),
        description="A run failed or crashed.",
        trigger=EventTrigger(
            expect=FAILED_STATES,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=run_filter(environment),
            for_each={"related:flow:prefect.resource.id", "related:deployment:prefect.resource.id"},
            posture=Posture.Reactive,
            within=AT_MOST_EVERY,
        ),
        actions=[
            _send(target, environment, "{{ flow.name }} {{ flow_run.state.name | lower }}", _RUN_FAILED)
        ],
    )


def _warehouse_stale(environment: str, target: UUID, max_age: timedelta) -> AutomationCore:
    """Triggered by the missing event, because a run's state does not tell which warehouse it updated.

    ``after`` starts the clock at the last event. Without it Prefect counts in fixed windows, and the alert
    may come three times as late.
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
        description="Rows were rejected.",
        trigger=_rate_limited(events.REJECTED, environment),
        actions=[_send(target, environment, "ROWS rejected", _ROWS_REJECTED)],
    )


def _rows_missed(environment: str, target: UUID) -> AutomationCore:
    return AutomationCore(
        name=blocks.named("totesys-rows-missed", environment),
        description="Reconciling found rows that earlier runs had missed.",
        trigger=_rate_limited(events.MISSED, environment),
        actions=[_send(target, environment, "ROWS missed", _ROWS_MISSED)],
    )


def _rate_limited(event: str, environment: str) -> EventTrigger:
    """A trigger on an event of the warehouse, at most once per AT_MOST_EVERY."""
    return EventTrigger(
        expect={event}, match=events.warehouse(environment), posture=Posture.Reactive, within=AT_MOST_EVERY
    )


def _send(target: UUID, environment: str, subject: str, body: str) -> SendNotification:
    (resource,) = events.warehouse(environment).values()
    return SendNotification(
        block_document_id=target,
        subject=" ".join(filter(None, ["totesys", environment])) + f": {subject}".replace("ROWS", _ROWS),
        body=dedent(body).replace("RESOURCE", resource).replace("LINK", _link()).replace("ROWS", _ROWS),
    )


def _link() -> str:
    """The link to the run: by the server's UI URL, or else by the UI URL in the settings here."""
    pages = PREFECT_UI_URL.value()
    fallback = f"{pages}/runs/flow-run/" if pages else ""
    return '{{ flow_run | ui_url or "' + fallback + '" ~ flow_run.id }}'


def _save(automation: AutomationCore) -> str:
    """Create an automation or update the one of that name; one that is disabled stays disabled."""
    with get_client(sync_client=True) as client:
        existing = client.read_automations_by_name(automation.name)
        if not existing:
            client.create_automation(automation)
            return f"created automation {automation.name}"
        automation.enabled = existing[0].enabled
        client.update_automation(existing[0].id, automation)
    return f"updated automation {automation.name}{'' if automation.enabled else ', which is disabled'}"


def main() -> int:
    """Save them; returns the exit status, 1 after an error, which is printed in one line."""
    parser = Parser("tasks.save_automations", __doc__)
    parser.add_max_age()
    parser.add_minutes("--max-start", MINUTES_TO_START, "how long a run may take to start")
    parser.add_argument("--try", action="store_true", dest="send", help="send a test message")
    arguments = parser.parse_args()
    max_age, max_start = (timedelta(minutes=each) for each in (arguments.max_age, arguments.max_start))
    return print_all(save(max_age, max_start, send=arguments.send))


if __name__ == "__main__":
    sys.exit(main())
