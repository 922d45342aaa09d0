"""Commands against a Prefect server that requires credentials: each error is one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

from demo.processes import PrefectServer
from tasks.blocks import _missing
from tasks.failures import in_one_line
from tests.flows.support import ROOT

CREDENTIALS = "admin:right-password"
COMMANDS = {
    "flows": [],
    # Both databases and buckets are tried before blocks are saved, which is another matter.
    "tasks.save_blocks": ["--unchecked"],
    "tasks.status": [],
    "tasks.save_automations": [],
    "tasks.deploy": [str(ROOT / "prefect.yaml")],
}

Command = Callable[..., tuple[int, list[str]]]


def command_at(api: str, home: Path) -> Command:
    """A function that runs a module against a Prefect server: its exit status and its lines."""
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PYTHONPATH": str(ROOT),
        "TOTESYS_SOURCE_URL": "postgresql://reader:unused@127.0.0.1:1/totesys",
        "TOTESYS_WAREHOUSE_URL": "postgresql://loader:unused@127.0.0.1:1/warehouse",
        "TOTESYS_RAW_URI": str(home / "raw"),
        "TOTESYS_PROCESSED_URI": str(home / "processed"),
        "TOTESYS_TRANSFORMS": str(ROOT / "transforms"),
        "TOTESYS_ALERT_URL": "json://127.0.0.1:1",
    }
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "TOTESYS_"))
    }

    def run(module: str, *arguments: str, **more: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=home,
            env=inherited | settings | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).splitlines()

    return run


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A function that runs a module against such a server."""
    home = tmp_path_factory.mktemp("access")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PREFECT_", "TOTESYS_"))]:
            patch.delenv(name)
        patch.setenv("PREFECT_HOME", str(home))
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        patch.setenv("PREFECT_SERVER_API_AUTH_STRING", CREDENTIALS)
        server = PrefectServer()
        server.wait()
    yield command_at(server.api, home)
    server.stop()


class Refusing(BaseHTTPRequestHandler):
    """Answers as Prefect's server does where credentials are missing, which takes seconds to start."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b'{"exception_message":"Unauthorized"}')

    do_POST = do_GET  # noqa: N815  as the library names it

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_a_run_without_credentials_ends_with_one_line(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        status, (line,) = command_at(f"http://127.0.0.1:{server.server_port}/api", tmp_path)("flows")
        server.shutdown()
    assert status == 1
    assert line.startswith("error: ")
    assert "asks for credentials (401): set PREFECT_API_AUTH_STRING to user:password" in line


@pytest.mark.campaign
@pytest.mark.parametrize("module", COMMANDS)
def test_missing_credentials_are_one_line_that_says_what_to_set(command: Command, module: str) -> None:
    status, (line,) = command(module, *COMMANDS[module])
    assert status == (3 if module == "tasks.status" else 1)
    assert line.startswith(("error: ", "UNKNOWN: "))
    assert "asks for credentials (401): set PREFECT_API_AUTH_STRING to user:password" in line


@pytest.mark.campaign
def test_wrong_credentials_are_one_line_that_does_not_show_them(command: Command) -> None:
    _, (line,) = command("flows", PREFECT_API_AUTH_STRING="admin:wrong-password")
    assert "does not accept PREFECT_API_AUTH_STRING (401)" in line
    assert "wrong-password" not in line


@pytest.mark.campaign
def test_right_credentials_are_accepted(command: Command) -> None:
    status, lines = command("tasks.status", PREFECT_API_AUTH_STRING=CREDENTIALS)
    assert status == 3
    assert "block sqlalchemy-connector/totesys-source or aws-secret/totesys-source is missing" in lines[0]


@pytest.mark.campaign
def test_a_work_pool_that_is_not_there_is_named(command: Command) -> None:
    pool = ("--pool", "nowhere")
    status, (line,) = command(
        "tasks.deploy", *COMMANDS["tasks.deploy"], *pool, PREFECT_API_AUTH_STRING=CREDENTIALS
    )
    assert status == 1
    assert line.startswith("error: work pool nowhere does not exist; make it with `.venv/bin/prefect work-p")


def answer(status: int, url: str) -> httpx.HTTPStatusError:
    """The error of Prefect's client for a response with that status."""
    response = httpx.Response(status, request=httpx.Request("GET", url), text="no")
    with pytest.raises(httpx.HTTPStatusError) as caught:
        response.raise_for_status()
    return caught.value


CLOUD = "https://api.prefect.cloud/api/accounts/1/workspaces/2/flows/"
OWN = "https://user:hunter2@prefect.example.com/api/flows/"


@pytest.mark.parametrize(
    ("status", "url", "words"),
    [
        (401, CLOUD, "does not accept PREFECT_API_KEY (401): set it to a key of this workspace"),
        (403, CLOUD, "refuses access (403): PREFECT_API_KEY may not use this workspace"),
        (403, OWN, "refuses access (403): PREFECT_API_AUTH_STRING may not use this server"),
        (503, OWN, "Prefect's server at https://prefect.example.com answered 503 Service Unavailable"),
    ],
)
def test_a_refusal_by_prefects_server_is_one_line(status: int, url: str, words: str) -> None:
    with temporary_settings({PREFECT_API_KEY: "pnu_hunter2", PREFECT_API_AUTH_STRING: "user:hunter2"}):
        line = in_one_line(answer(status, url))
    assert line is not None
    assert words in line
    assert "hunter2" not in line


def test_cloud_without_a_key_is_one_line_that_names_it() -> None:
    line = in_one_line(answer(401, CLOUD))
    assert line is not None
    assert "asks for credentials (401): set PREFECT_API_KEY" in line


def not_reached(cause: BaseException) -> RuntimeError:
    """The error of Prefect if a run cannot start."""
    fault = RuntimeError("Failed to reach API at http://127.0.0.1:1/api")
    fault.__cause__ = cause
    return fault


def test_a_server_that_a_run_cannot_reach_is_one_line() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        with pytest.raises(RuntimeError) as caught:
            get_client(sync_client=True).raise_for_api_version_mismatch()
        assert str(caught.value).startswith(str(not_reached(OSError())))
        of_run = in_one_line(caught.value)
        of_command = in_one_line(httpx.ConnectError("Connection refused"))
    remedy = "start it, or correct PREFECT_API_URL"
    place = "Prefect's server at http://127.0.0.1:1 cannot be reached"
    assert of_run == f"{place}; {remedy}"
    assert of_command == f"{place}: Connection refused; {remedy}"


def test_a_server_that_refuses_a_run_is_not_one_that_cannot_be_reached() -> None:
    with temporary_settings({PREFECT_API_AUTH_STRING: "user:hunter2"}):
        line = in_one_line(not_reached(answer(403, OWN)))
    assert line is not None
    assert "refuses access (403): PREFECT_API_AUTH_STRING may not use this server" in line


def test_an_address_without_the_path_of_the_api_is_named() -> None:
    """Its server answers 404, which is otherwise a block or a work pool that does not exist."""
    own, hint = (
        "http://127.0.0.1:4200",
        "; PREFECT_API_URL has to end in /api, as in http://127.0.0.1:4200/api",
    )
    for url, is_named in ((f"{own}/", True), (f"{own}/api/", False), (CLOUD, False)):
        with temporary_settings({PREFECT_API_URL: url}):
            errors = answer(404, f"{own}/flows/"), not_reached(OSError()), _missing("s3-bucket/x")
            lines = [in_one_line(error) or "" for error in errors]
        assert [line.endswith(hint) for line in lines] == 3 * [is_named]


@pytest.mark.parametrize(
    "address",
    [
        "localhost:4200/api",
        "127.0.0.1:4200/api",
        "'http://127.0.0.1:4200/api'",
        "http:/127.0.0.1:4200/api",
        "http://user:hunter2@127.0.0.1:port/api",
        "http://127.0.0.1:99999/api",
        "http://127.0.0.1:1/api ",
    ],
)
def test_an_address_that_is_none_is_one_line_that_says_how_to_write_it(address: str) -> None:
    with temporary_settings({PREFECT_API_URL: address}):
        with pytest.raises((httpx.HTTPError, httpx.InvalidURL, OverflowError, RuntimeError)) as caught:
            get_client(sync_client=True).raise_for_api_version_mismatch()
        line = in_one_line(caught.value)
    assert line == "PREFECT_API_URL is not the address of a server; write it like http://127.0.0.1:4200/api"


def test_a_client_error_keeps_its_traceback() -> None:
    assert in_one_line(answer(422, OWN)) is None
