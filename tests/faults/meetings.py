"""What a run in a process of its own does beside its work: it meets its parent where the parent says.

It sends the parent what the source looked like at a batch's snapshot, before that batch is sealed, and waits
at a named point until it may go on.
"""

from __future__ import annotations

import errno
import faulthandler
import functools
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline import postgres
from pipeline.beginning import SAFE_PATH
from pipeline.capture import planner
from pipeline.lake import buckets, manifests
from pipeline.source import snapshots
from pipeline.source.hashing import HashKey
from pipeline.warehouse import catalogue, ledger, load
from tests.faults.clocks import move_clock
from tests.faults.oracle import state_of
from tests.faults.shops import SHOPS, Shop

# Where every run can be met: a point's name, what holds the function, and its name.
POINTS: dict[str, tuple[Any, str]] = {
    "prepare": (catalogue, "prepare"),
    "plan": (planner, "plan_batch"),
    "write rows": (buckets.Bucket, "write_rows"),
    "seal": (manifests, "seal"),
    "load": (load, "load"),
    "claim": (ledger, "lock_for_load"),
    "merge": (load, "load_table"),
    "commit": (load, "_record"),
    "note that nothing is new": (ledger, "record_up_to_date"),
}
# Seconds between tries: the same tries as ever, sooner.
SOONER = [0.1, 0.3, 0.6]
postgres.PAUSES = tuple(SOONER)  # type: ignore[assignment]


class Channel:
    """Questions to the parent, and its answers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def ask(self, **message: Any) -> Any:
        """Send something, and wait for the parent's answer."""
        with self._lock:
            self._connection.send(message)
            return self._connection.recv()


class Meeting:
    """Waits for the parent, or does harm, when the chosen point is reached for the chosen time."""

    def __init__(self, channel: Channel, job: dict[str, Any], shop: Shop) -> None:
        self.channel, self.job, self.shop = channel, job, shop
        self.state: dict[str, dict[str, str]] = {}
        self._passed = 0
        self._lock = threading.Lock()

    def visit(self, point: str) -> None:
        """Pass a point."""
        if point != self.job.get("point"):
            return
        with self._lock:
            self._passed += 1
            met = self._passed == self.job.get("nth", 1)
        if met:
            self.channel.ask(event="here")
            self._do_harm()

    def _do_harm(self) -> None:
        if self.job.get("no_space"):
            raise OSError(errno.ENOSPC, "No space left on device")
        if (size := self.job.get("file_limit")) is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def around(self, point: str, holder: Any, name: str) -> None:
        """Let a function pass the point's two ends."""
        real: Callable[..., Any] = getattr(holder, name)

        @functools.wraps(real)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.visit(f"before {point}")
            result = real(*arguments, **named)
            self.visit(f"after {point}")
            return result

        setattr(holder, name, wrapped)

    def around_snapshot(self) -> None:
        """Remember what the source looks like to the snapshot, and move its clock where the job says so."""
        real = snapshots.snapshot
        moved = timedelta(seconds=self.job.get("source_clock", 0))

        @contextmanager
        def wrapped(url: str, key: HashKey | None = None) -> Iterator[Any]:
            self.visit("before snapshot")
            with real(url, key) as (connection, found):
                # The oracle's SQL names tables as an analyst does.
                connection.execute("SET LOCAL search_path TO public")
                self.state = state_of(connection, self.shop)
                connection.execute(SAFE_PATH)
                self.visit("after snapshot")
                yield connection, found.model_copy(update={"taken_at": found.taken_at + moved})

        snapshots.snapshot = wrapped

    def around_seal(self) -> None:
        """Send what a batch saw before it is sealed."""
        real = manifests.seal

        def wrapped(bucket: Any, manifest: Any) -> None:
            self.channel.ask(
                event="seal", batch=manifest.batch_id, previous=manifest.previous, state=self.state
            )
            real(bucket, manifest)

        manifests.seal = wrapped

    def within_copy(self, module: Any, point: str) -> None:
        """Be met between two chunks of a COPY, where it reports progress."""
        real = module.progress

        def wrapped(*arguments: Any) -> Callable[[int], None]:
            report = real(*arguments)

            def reported(rows: int) -> None:
                self.visit(point)
                report(rows)

            return reported

        module.progress = wrapped


def begin(
    connection: Connection,
    words: Connection,
    environment: dict[str, str],
    home: Path,
    job: dict[str, Any],
    kind: str,
) -> Meeting:
    """Become a run: take its environment, send its output to ``words``, and patch where it is met."""
    os.chdir(home)
    os.environ |= environment
    os.dup2(words.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    faulthandler.register(signal.SIGUSR1, file=2)
    if job["dies"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    meeting = Meeting(Channel(connection), job, SHOPS[kind])
    meeting.around_snapshot()
    meeting.around_seal()
    for point, (holder, name) in POINTS.items():
        meeting.around(point, holder, name)
    move_clock(job["worker_clock"])
    return meeting
