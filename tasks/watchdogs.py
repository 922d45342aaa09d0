"""Prefect automations that end runs whose process has died.

A run that is marked as crashed releases its slot under the deployment's concurrency limit. Prefect alone
releases the slot after five minutes, and leaves the run pending or running forever.
"""

from datetime import timedelta

from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

from tasks import blocks

FLOWS = ["totesys-etl", "rebuild-warehouse"]
# The tag of runs in the unnamed environment; runs in a named one have the environment as tag instead.
_UNNAMED = "totesys"
MINUTES_TO_START = 1.5
# A run that misses this many heartbeats in a row counts as dead.
_HEARTBEATS = 3
_SECONDS_BETWEEN_HEARTBEATS = 30


def _events(*states: str) -> set[str]:
    return {f"prefect.flow-run.{state}" for state in states}


FAILED_STATES = _events("Failed", "TimedOut", "Crashed")
_STARTING = _events("Pending", "Submitting", "InfrastructurePending")
# States in which no process works on the run.
_INACTIVE = FAILED_STATES | _events(
    "Completed", "Cancelled", "Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot",
    "Paused", "Suspended",
)  # fmt: skip
_HEARTBEAT = _events("heartbeat")


def watchdogs(environment: str, max_start: timedelta) -> list[AutomationCore]:
    """The automations that end the dead runs of an environment."""
    return [_run_not_started(environment, max_start), _run_lost(environment)]


def _run_not_started(environment: str, max_start: timedelta) -> AutomationCore:
    """Ends a run that a worker took but that never started; it would stay pending forever.

    A run has started when it sends its first heartbeat.
    """
    return AutomationCore(
        name=blocks.named("totesys-run-not-started", environment),
        description="A worker took a run that did not start: marks it as crashed.",
        trigger=EventTrigger(
            after=_STARTING,
            expect=_HEARTBEAT | _INACTIVE,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=[*run_filter(environment), {"prefect.resource.role": "deployment"}],
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            within=max_start,
        ),
        actions=[_mark_as_crashed(f"not started {_seconds(max_start)} after a worker took it")],
    )


def _run_lost(environment: str) -> AutomationCore:
    """Ends a run that sends no more heartbeats; it would stay running forever and block the next runs."""
    silence = _longest_silence()
    return AutomationCore(
        name=blocks.named("totesys-run-lost", environment),
        description="A run sends no more heartbeats: marks it as crashed.",
        trigger=EventTrigger(
            after=_HEARTBEAT,
            expect=_HEARTBEAT | _INACTIVE,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=run_filter(environment),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            within=silence,
        ),
        actions=[_mark_as_crashed(f"no heartbeat for {_seconds(silence)}; its process has died")],
    )


def _longest_silence() -> timedelta:
    """How long a run may send no heartbeat before it counts as dead."""
    seconds = PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() or _SECONDS_BETWEEN_HEARTBEATS
    return _HEARTBEATS * timedelta(seconds=seconds)


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"


def _mark_as_crashed(reason: str) -> ChangeFlowRunState:
    """The action that marks a run as crashed, which releases its slot and sends an alert."""
    return ChangeFlowRunState(
        state=StateType.CRASHED, message=f"{reason}. `make status` shows the last batch in the warehouse."
    )


def run_filter(environment: str) -> list[dict[str, str | list[str]]]:
    """A filter for the runs of our flows in an environment, by their tag."""
    flow: dict[str, str | list[str]] = {"prefect.resource.role": "flow", "prefect.resource.name": FLOWS}
    return [flow, {"prefect.resource.id": f"prefect.tag.{tag(environment)}"}]


def tag(environment: str) -> str:
    """The tag of runs in an environment; the deployments in prefect.yaml have the unnamed environment's."""
    return environment or _UNNAMED
