"""Signals: the demo ends at once on Ctrl-C, hangup or SIGTERM, and leaves nothing running."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = "stopped; nothing is left running"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Handles these signals wherever the main thread is.

    The process ends inside the handler, because unwinding through a running flow would wait for its threads.
    The demo can be interrupted at any point, as by SIGKILL.
    """

    def __init__(self) -> None:
        """No signal is handled before catch()."""
        self._held = 0
        self._pending: int | None = None
        self._leave: Callable[[int], int] = lambda number: 128 + number

    def catch(self, leave: Callable[[int], int]) -> None:
        """Call ``leave`` with the number of each signal from now on; it returns the exit status."""
        self._leave = leave
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._caught)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Delay signals until the block ends, because what it starts could not be stopped halfway."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if not self._held and self._pending is not None:
                self._end(self._pending)

    def _caught(self, number: int, _: FrameType | None) -> None:
        self._pending = number
        if not self._held:
            self._end(number)

    def _end(self, number: int) -> None:
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_IGN)  # a second Ctrl-C must not cut this short
        status = 1
        try:
            status = self._leave(number)
        finally:
            os._exit(status)
