"""The demo's Prefect server and worker. They end with the demo, even if it is killed."""

from __future__ import annotations

import http.client
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from demo.home import PROJECT
from demo.postgres import HOST, free_port

POOL = "totesys"
_SECONDS_TO_START, _SECONDS_TO_STOP = 120.0, 5.0
# The shell waits for the end of its input, whose other end is this process: it also ends by SIGKILL.
_END_WITH_PARENT = 'exec 3<&0; (read -r _ <&3; kill -KILL 0) & exec "$@" 3<&- </dev/null'


class Process:
    """A program that ends with this process, together with its process group."""

    def __init__(
        self, *command: str | Path, environment: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _END_WITH_PARENT, "sh", *command],
            stdin=subprocess.PIPE,
            cwd=folder,
            env=os.environ | dict(environment or {}),
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def wait_for_end(self) -> int:
        """Wait until it ends by itself; returns its exit status."""
        return self._process.wait()

    def stop(self) -> None:
        """End its process group at once; no effect if it has ended."""
        if self._process.stdin:
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # never without a limit: signal handlers call this
            self._process.wait(_SECONDS_TO_STOP)


class PrefectServer(Process):
    """A Prefect server on a free port of 127.0.0.1, ready some seconds after its start."""

    def __init__(self) -> None:
        """Start it."""
        self._port = free_port()
        app = ("--factory", "prefect.server.api.server:create_app")
        where = ("--host", HOST, "--port", str(self._port))
        quietly = ("--log-level", "error", "--timeout-graceful-shutdown", "1")
        super().__init__(
            sys.executable, "-P", "-m", "uvicorn", *app, *where, *quietly,
            environment={"PREFECT_API_URL": self.api, "PREFECT__SERVER_FINAL": "1"},
        )  # fmt: skip

    @property
    def address(self) -> str:
        """The address of the UI."""
        return f"http://{HOST}:{self._port}"

    @property
    def api(self) -> str:
        """The value for PREFECT_API_URL."""
        return f"{self.address}/api"

    def wait(self) -> None:
        """Wait until it answers; raises RuntimeError if it does not start."""
        deadline = time.monotonic() + _SECONDS_TO_START
        while self.running and time.monotonic() < deadline:
            connection = http.client.HTTPConnection(HOST, self._port, timeout=_SECONDS_TO_START)
            with suppress(OSError, http.client.HTTPException), closing(connection) as request:
                request.request("GET", "/api/health")
                if request.getresponse().status == http.HTTPStatus.OK:
                    return
            time.sleep(0.1)
        raise RuntimeError("the Prefect server did not start")


class Dashboard(Process):
    """The web page on the warehouse. It prints its address when it is ready."""

    def __init__(self, url: str, folder: Path, *arguments: str) -> None:
        """Start it in a folder without .env; ``arguments`` are those of ``python -m dashboard``."""
        super().__init__(
            sys.executable, "-m", "dashboard", *arguments, folder=folder,
            environment={"TOTESYS_DASHBOARD_URL": url, "PYTHONPATH": str(PROJECT)},
        )  # fmt: skip


class LiveDashboard(Dashboard):
    """The same, on a port that is known before it is ready."""

    def __init__(self, url: str, folder: Path) -> None:
        """Start it."""
        port = free_port()
        self.address = f"http://{HOST}:{port}"
        super().__init__(url, folder, "--port", str(port))


class Worker(Process):
    """A worker that first creates the deployments of a file like prefect.yaml, in the project's folder."""

    def __init__(self, project: Path, deployments: Path) -> None:
        """Start it. The work pool is there."""
        prefect = f"{shlex.quote(sys.executable)} -P -m prefect"
        deploy = f"{prefect} --no-prompt deploy --all --prefect-file {shlex.quote(str(deployments))}"
        start = f"{prefect} worker start --pool {POOL}"
        script = f"cd {shlex.quote(str(project))} && {deploy} && exec {start}"
        # A run fetched before it is due would meet the one before it.
        at_once = {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_WORKER_PREFETCH_SECONDS": "0"}
        super().__init__("/bin/sh", "-c", script, environment=at_once)
