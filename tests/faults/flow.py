"""A run of the pipeline in a process of its own, which can be met, held and killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.oracle import Broken

if TYPE_CHECKING:
    from tests.faults.site import Site

SECONDS_FOR_A_RUN = 300
_SECONDS_TO_WRITE = 3

# A run is forked from a process that has imported everything and done nothing yet.
_FORKS = multiprocessing.get_context("forkserver")

Strike = Callable[["Flow"], None]


@dataclass
class Job:
    """What a run does: its arguments, the point where it waits for the nth time, and what happens there.

    ``source_clock`` and ``worker_clock`` are seconds by which these clocks are wrong.
    """

    point: str | None = None
    nth: int = 1
    source_clock: float = 0.0
    worker_clock: float = 0.0
    no_space: bool = False
    file_limit: int | None = None
    dies: bool = False
    arguments: list[str] = field(default_factory=list)


class Flow:
    """A run of the pipeline in a process of its own.

    ``strike`` is called when the run reaches the job's point; the run waits there meanwhile.
    """

    def __init__(self, site: Site, job: Job, strike: Strike = lambda _: None) -> None:
        self.reached = False
        self.ended = threading.Event()
        self._output: list[str] = []
        self._states, self._strike = site.oracle.states, strike
        self._error: BaseException | None = None
        _FORKS.set_forkserver_preload([site.program, __name__])
        self._channel, theirs = _FORKS.Pipe()
        self._words, written = _FORKS.Pipe(duplex=False)
        self.process = _FORKS.Process(
            target=_run,
            args=(site.program, theirs, written, site.environment, site.home, vars(job), site.kind),
        )
        self.process.start()
        theirs.close()
        written.close()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._read)]
        for thread in self._threads:
            thread.start()

    def wait(self) -> int:
        """Its exit status, as soon as it ends. Raises Broken where it does not end."""
        self.process.join(SECONDS_FOR_A_RUN)
        hangs = self.process.exitcode is None
        if hangs:
            self._show_threads()
            self.process.kill()
            self.process.join()
        for thread in self._threads:
            thread.join()
        if hangs:
            raise Broken(f"a run hangs: {self.words[-8000:]}")
        if self._error:
            raise self._error
        return self.status

    @property
    def status(self) -> int:
        """Its exit status, once it has ended."""
        assert self.process.exitcode is not None
        return self.process.exitcode

    @property
    def words(self) -> str:
        """All that it wrote for people."""
        return "".join(self._output)

    def _show_threads(self) -> None:
        """Let it write where its threads are."""
        if self.process.pid:
            os.kill(self.process.pid, signal.SIGUSR1)
            self.process.join(_SECONDS_TO_WRITE)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the whole process for the block."""
        pid = self.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "TZ":
            time.sleep(0.01)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _read(self) -> None:
        with open(self._words.fileno(), encoding="utf-8", errors="replace", closefd=False) as words:
            self._output.extend(words)

    def _listen(self) -> None:
        with suppress(OSError, EOFError):  # it was killed, or has ended
            while True:
                self._hear(self._channel.recv())
                self._channel.send("go on")
        self.ended.set()

    def _hear(self, message: dict[str, Any]) -> None:
        if message["event"] == "seal":
            self._states[message["batch"]] = message["state"]
        else:
            self.reached = True
            try:
                self._strike(self)
            except BaseException as error:  # noqa: BLE001  raised again where the run is waited for
                self._error = error


def _run(program: str, *arguments: Any) -> None:
    """Run a module's ``main`` in the new process."""
    import_module(program).main(*arguments)
