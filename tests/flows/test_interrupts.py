"""Ctrl-C in a command: one line, whenever it comes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tasks.failures import in_one_line
from tests.flows.support import ROOT

LINE = "error: stopped by Ctrl-C; run it again\n"


def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("package", ["tasks", "flows"])
@pytest.mark.parametrize("error", ["KeyboardInterrupt", "RuntimeError('Query interrupted')"])
def test_an_interrupt_is_one_line(package: str, error: str) -> None:
    done = python(f"import {package}; raise {error}")
    assert done.stderr == LINE
    assert done.returncode in (1, -signal.SIGINT)


@pytest.mark.parametrize("module", ["tasks.plan", "flows.__main__", "dashboard.__main__"])
def test_an_interrupt_while_libraries_are_imported_is_one_line(module: str) -> None:
    done = python(
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in {'numpy', 'pyarrow', 'psycopg', 'prefect'}: raise KeyboardInterrupt\n"
        f"sys.meta_path.insert(0, Interrupt())\nimport {module}"
    )
    assert done.stderr == LINE


def test_an_interrupt_of_duckdb_is_one_line_and_another_error_is_not() -> None:
    assert f"error: {in_one_line(RuntimeError('Query interrupted'))}\n" == LINE
    assert in_one_line(RuntimeError("other")) is None
    assert "Traceback" in python("import flows; raise RuntimeError('other')").stderr
