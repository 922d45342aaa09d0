"""A guard process that stops a server when the process that started it has died."""

from __future__ import annotations

import atexit
import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress

from demo.binaries import Account, PostgresError, environment


class Guard:
    """Ends a server with this process, even if this process is killed."""

    def __init__(self, stop: Callable[[], None]) -> None:
        """Describe a guard; ``stop`` stops the server at an orderly exit of this process."""
        self._stop = stop
        self._owner: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_owner(self) -> bool:
        """Whether this process, and not one that it was forked from, started the guard."""
        return self._owner == os.getpid()

    @property
    def is_set(self) -> bool:
        """Whether the guard was started, in this process or before a fork."""
        return self._owner is not None

    def start(self, command: Sequence[str], account: Account | None) -> None:
        """Start a process that runs ``command`` as soon as this process has died."""
        self._owner = os.getpid()
        atexit.register(self._at_exit)
        # The shell waits for the end of its input, whose other end is this process: it also ends by SIGKILL.
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; exec "$@"', "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment(),
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )

    def end(self) -> None:
        """End the guard without stopping the server."""
        process, self._process, self._owner = self._process, None, None
        atexit.unregister(self._at_exit)
        if process is not None:
            process.kill()
            process.communicate()

    def _at_exit(self) -> None:
        if self.is_owner:
            with suppress(PostgresError):
                self._stop()
