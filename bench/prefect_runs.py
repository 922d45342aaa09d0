"""Runs of our flow and of an empty one, each in its own process, on a running Prefect server."""

from __future__ import annotations

import http.client
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.data import Totals, totals
from bench.errors import BenchError
from bench.figures import INSIDE, MEGABYTES, PIPELINE, SECONDS, UNSCANNED
from bench.floor import FACT
from bench.processes import Ran, run
from demo.home import PROJECT

# Like our own command, it has no heartbeat, whose end would add a second.
_EMPTY = """
from prefect import flow
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

@flow
def empty():
    pass

with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
    empty()
"""
_REPORT = re.compile(r"Loaded batch \S+ in \S+ s \(([^)]+)\)")
_UP_TO_DATE = "up to date: nothing changed in the source"
_STEP = re.compile(r"(\w+) ([\d.]+) s")


@dataclass(frozen=True)
class Flows:
    """The two flows; ``api`` is the URL of Prefect's server, ``home`` the folder of the project."""

    api: str
    home: Path = PROJECT

    def connect(self, source: str, warehouse: str, buckets: Path | str, **access: str) -> None:
        """Save the blocks for the next runs; ``access`` are settings for the buckets."""
        settings = {
            "TOTESYS_SOURCE_URL": source,
            "TOTESYS_WAREHOUSE_URL": warehouse,
            "TOTESYS_RAW_URI": f"{buckets}/raw",
            "TOTESYS_PROCESSED_URI": f"{buckets}/processed",
            **access,
        }
        self._python("-m", "tasks.save_blocks", "--unchecked", **settings)

    def run(self) -> dict[str, float]:
        """Run the pipeline once; returns the seconds in total, inside the flow and of each step."""
        ran = self._python("-m", "flows")
        steps = _steps(ran.said)
        inside = self._seconds_of_last_run()
        # The probe and the extract each scan the table once, at the same cost.
        unscanned = inside - 2 * steps.get("plan", 0.0)
        measured = {SECONDS: ran.seconds, MEGABYTES: ran.megabytes, INSIDE: inside, UNSCANNED: unscanned}
        return measured | steps

    def forget(self, table: str, key: int) -> dict[str, float]:
        """Erase the personal values of a row of the source."""
        ran = self._python("-m", "tasks.forget", "--yes", table, str(key))
        return {SECONDS: ran.seconds, MEGABYTES: ran.megabytes}

    def verify(self) -> dict[str, float]:
        """Compare a rebuild with the warehouse; raises BenchError if they differ."""
        ran = self._python("-m", "tasks.verify")
        return {SECONDS: ran.seconds, MEGABYTES: ran.megabytes}

    def restate(self, transforms: Path) -> dict[str, float]:
        """Run the pipeline with changed models."""
        ran = self._python("-m", "flows", TOTESYS_TRANSFORMS=str(transforms))
        return {SECONDS: ran.seconds, MEGABYTES: ran.megabytes}

    def rebuild(self, transforms: Path) -> dict[str, float]:
        """Fill the empty warehouse of the blocks from the raw bucket."""
        ran = self._python("-m", "flows", "--rebuild", TOTESYS_TRANSFORMS=str(transforms))
        return {SECONDS: ran.seconds, MEGABYTES: ran.megabytes}

    def empty(self) -> dict[str, float]:
        """Run a flow that does nothing."""
        return {SECONDS: self._python("-c", _EMPTY).seconds}

    def _python(self, *arguments: str, **environment: str) -> Ran:
        own = {
            "PREFECT_API_URL": self.api,
            "PYTHONPATH": str(self.home),
            "TOTESYS_TRANSFORMS": str(self.home / "transforms"),
        }
        return run([sys.executable, *arguments], own | environment, self.home)

    def _seconds_of_last_run(self) -> float:
        """The newest flow run that is not a subflow."""
        asked = {
            "sort": "START_TIME_DESC",
            "limit": 1,
            "flow_runs": {"parent_task_run_id": {"is_null_": True}},
        }
        at = urlsplit(self.api)
        connection = http.client.HTTPConnection(at.netloc, timeout=60)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"{at.path}/flow_runs/filter", json.dumps(asked), headers)
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise BenchError(f"the Prefect server answers {answer.status}")
        (last,) = json.loads(answer.read())
        return float(last["total_run_time"])


def _steps(said: str) -> dict[str, float]:
    """Seconds of each step from the flow's own report; empty if there was nothing to do."""
    if report := _REPORT.search(" ".join(said.split())):
        return {step: float(seconds) for step, seconds in _STEP.findall(report[1])}
    if _UP_TO_DATE not in said:
        raise BenchError("the flow does not say what it did")
    return {}


@dataclass(frozen=True)
class PipelineRuns:
    """Our flow from a source into a warehouse; ``folder`` is for its buckets."""

    source: str
    warehouse: str
    folder: Path
    flows: Flows
    name: str = PIPELINE

    def __post_init__(self) -> None:
        """Save the blocks."""
        self.flows.connect(self.source, self.warehouse, self.folder)

    def run(self) -> dict[str, float]:
        """Run it once."""
        return self.flows.run()

    def arrived(self) -> Totals:
        """The present state, without history."""
        return totals(self.warehouse, f"{FACT}_current")
