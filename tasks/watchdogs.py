"""What ends runs whose process is gone, as Prefect automations.

A run that is marked as crashed gives back its place under the deployment's concurrency limit. Prefect
itself frees that after five minutes, and leaves the run pending or running for ever.
"""

from datetime import timedelta

from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

from tasks import blocks

FLOWS = ["totesys-etl", "rebuild-warehouse"]
# The tag of runs in the unnamed environment. Those in a named one do not have it.
_UNNAMED = "totesys"
MINUTES_TO_START = 1.5
# So many heartbeats of a living run do not get lost one after the other.
_HEARTBEATS = 3
_SECONDS_BETWEEN_HEARTBEATS = 30


def _events(*states: str) -> set[str]:
    return {f"prefect.flow-run.{state}" for state in states}


BROKEN = _events("Failed", "TimedOut", "Crashed")
_STARTING = _events("Pending", "Submitting", "InfrastructurePending")
# No process works on a run in these states.
_AT_REST = BROKEN | _events(
    "Completed", "Cancelled", "Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot",
    "Paused", "Suspended",
)  # fmt: skip
_HEARTBEAT = _events("heartbeat")


def watchdogs(environment: str, max_start: timedelta) -> list[AutomationCore]:
    """What ends the runs of an environment whose process is gone, so that their place is free again."""
    return [_run_not_started(environment, max_start), _run_lost(environment)]


def _run_not_started(environment: str, max_start: timedelta) -> AutomationCore:
    """A run that its worker took and never brought to life would be pending for ever.

    It lives once its first heartbeat comes, which a deployed run sends as soon as it is running.
    """
    return AutomationCore(
        name=blocks.named("totesys-run-not-started", environment),
        description="A run was taken by a worker and did not start: marks it as crashed.",
        trigger=EventTrigger(
            after=_STARTING,
            expect=_HEARTBEAT | _AT_REST,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=[*ours(environment), {"prefect.resource.role": "deployment"}],
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            within=max_start,
        ),
        actions=[_mark_as_crashed(f"not started {_seconds(max_start)} after a worker took it")],
    )


def _run_lost(environment: str) -> AutomationCore:
    """A run whose process is gone would be running for ever, and keep its successors waiting."""
    silence = _silence_of_the_dead()
    return AutomationCore(
        name=blocks.named("totesys-run-lost", environment),
        description="A run gives no more sign of life: marks it as crashed.",
        trigger=EventTrigger(
            after=_HEARTBEAT,
            expect=_HEARTBEAT | _AT_REST,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=ours(environment),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            within=silence,
        ),
        actions=[_mark_as_crashed(f"no sign of life for {_seconds(silence)}; its process is gone")],
    )


def _silence_of_the_dead() -> timedelta:
    """How long a living run is never silent, as often as runs are set to send heartbeats here."""
    seconds = PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() or _SECONDS_BETWEEN_HEARTBEATS
    return _HEARTBEATS * timedelta(seconds=seconds)


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"


def _mark_as_crashed(reason: str) -> ChangeFlowRunState:
    """Crashed, a run gives back its place, and an alert is sent as for one that failed."""
    return ChangeFlowRunState(
        state=StateType.CRASHED, message=f"{reason}. `make status` shows the last batch in the warehouse."
    )


def ours(environment: str) -> list[dict[str, str | list[str]]]:
    """Runs of our flows in an environment, by the tag that each of them has."""
    flow: dict[str, str | list[str]] = {"prefect.resource.role": "flow", "prefect.resource.name": FLOWS}
    return [flow, {"prefect.resource.id": f"prefect.tag.{tag(environment)}"}]


def tag(environment: str) -> str:
    """What a run in an environment is tagged with; the deployments in prefect.yaml have the unnamed one's."""
    return environment or _UNNAMED
