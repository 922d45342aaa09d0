"""The benchmark measures the memory of a process with its children; nothing is timed here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.processes import bytes_of, peak_of

pytestmark = pytest.mark.campaign  # ten seconds that the suite has not


def test_the_memory_of_a_process_and_its_children_counts() -> None:
    hold = "held = b'x' * 150_000_000; print(flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    with _running(f"held = b'x' * 150_000_000; {parent}") as pid:
        assert 300e6 < bytes_of(pid) < 400e6


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells it of a process that still runs")
def test_released_memory_counts() -> None:
    with _running("held = b'x' * 200_000_000; del held; print(flush=True); input()") as pid:
        assert bytes_of(pid) < 100e6
        assert 200e6 < peak_of(pid) < 300e6


@contextmanager
def _running(code: str) -> Iterator[int]:
    """A Python process that has printed a line and waits for one."""
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")
