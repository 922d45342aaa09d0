"""Runs whose process has died."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.settings import PREFECT_API_URL

from tests.flows.support import ROOT, SECONDS_TO_WAIT, World, client


def killed_while_it_waits(world: World) -> UUID:
    """Run the flow in a process of its own, and kill it after its first heartbeat."""
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
    """Wait for a heartbeat after a time; returns the id of its run."""
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
