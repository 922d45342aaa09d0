"""Timed programs: their duration and their peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.errors import BenchError

# Inspecting all processes takes some milliseconds of the timed program's time.
_SECONDS_BETWEEN_LOOKS = 0.2
# pip compiles what it installs, so this repository's modules may be compiled, too, in any environment.
_COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True)
class Ran:
    """A program's duration, memory and output."""

    seconds: float
    megabytes: float
    said: str


def run(
    argv: Sequence[str | Path], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Ran:
    """Run a program to its end, in a folder; ``environment`` is added to this process' own.

    Raises BenchError with the last lines that it said where its status is not 0.
    """
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            [str(argument) for argument in argv],
            env={**os.environ, **_COMPILED, **(environment or {})},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        family = _Family(process.pid)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            largest = family.stop()
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode:
        raise BenchError(f"{_named(argv)} failed: {_end_of(said) or f'status {process.returncode}'}")
    if sys.platform == "darwin":  # Linux includes the memory of the parent process at its start
        largest = max(largest, usage.ru_maxrss)
    return Ran(seconds, largest / 1e6, said)


class _Family:
    """The memory of a process and its children, sampled by a thread."""

    def __init__(self, pid: int) -> None:
        """Start to sample."""
        self._pid, self._largest, self._ended = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Stop; returns the largest sample in bytes."""
        self._ended.set()
        self._thread.join()
        return self._largest

    def _look(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            self._largest = max(self._largest, bytes_of(self._pid), peak_of(self._pid))


def bytes_of(pid: int) -> int:
    """The memory of a process and its children now; 0 if one of them has just ended."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family)
    except psutil.Error:
        return 0


def peak_of(pid: int) -> int:
    """The peak memory of a process on Linux; elsewhere 0."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def version(python: Path, package: str) -> str:
    """The version of a package that this Python has."""
    asked = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    return run([python, "-c", asked, package]).said.strip()


def _named(argv: Sequence[str | Path]) -> str:
    """The program and its first arguments, without what a URL may hold."""
    return " ".join(str(argument) for argument in argv[:3] if "://" not in str(argument))


def _end_of(said: str) -> str:
    return " | ".join(line.strip() for line in said.splitlines()[-5:] if line.strip())
