"""A malformed setting of Prefect ends each command with one line, which does not show its value."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.flows.support import ROOT

LINES: dict[str, tuple[dict[str, str], int, str, str]] = {
    "tasks.status": (
        {"PREFECT_CLIENT_CUSTOM_HEADERS": "s3cret"},
        3,
        "UNKNOWN: PREFECT_CLIENT_CUSTOM_HEADERS: write JSON\n",
        "",
    ),
    "flows": (
        {"PREFECT_API_REQUEST_TIMEOUT": "abc", "PREFECT_API_ENABLE_HTTP2": "perhaps"},
        1,
        "",
        "error: PREFECT_API_ENABLE_HTTP2: write true or false; PREFECT_API_REQUEST_TIMEOUT: write a number\n",
    ),
}


@pytest.mark.parametrize("module", LINES)
def test_a_malformed_setting_of_prefect_is_one_line(module: str) -> None:
    said, status, output, errors = LINES[module]
    done = subprocess.run(
        [sys.executable, "-m", module],
        check=False, capture_output=True, text=True, cwd=ROOT, env=os.environ | said,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (status, output, errors)
