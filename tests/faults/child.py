"""One run of the flow in a process of its own, which meets its parent where the parent says.

Beyond what ``python -m flows`` does it tells the parent what the source looked like at the
batch's snapshot, before that batch is sealed, and waits at a named point until it may go on.
"""

from __future__ import annotations

import errno
import functools
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline import postgres
from pipeline.capture import plan
from pipeline.lake import buckets, manifests
from pipeline.source import snapshots
from pipeline.source.hashing import HashKey
from pipeline.warehouse import catalogue, ledger, load
from tasks import failures
from tests.faults.oracle import state_of
from tests.faults.shops import SHOPS, Shop

# Where a run can be met: a point's name, what holds the function, and its name.
POINTS: dict[str, tuple[Any, str]] = {
    "prepare": (catalogue, "prepare"),
    "plan": (plan, "plan_batch"),
    "write rows": (buckets.Bucket, "write_rows"),
    "seal": (manifests, "seal"),
    "load": (load, "load"),
    "claim": (ledger, "lock_for_load"),
    "merge": (load, "load_table"),
    "commit": (load, "_record"),
    "note that nothing is new": (ledger, "record_up_to_date"),
}
_SOONER = [0.1, 0.3, 0.6]
# Before the tasks are made of it: the same tries, sooner.
failures.RETRY_IF_TRANSIENT["retry_delay_seconds"] = _SOONER
postgres.PAUSES = tuple(_SOONER)  # type: ignore[assignment]
program = import_module("flows.__main__")


class Channel:
    """Questions to the parent, and its answers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def ask(self, **said: Any) -> Any:
        """Say something, and wait for what the parent says to it."""
        with self._lock:
            self._connection.send(said)
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
        """Remember what the source looks like to the snapshot, and move its clock if told to."""
        real = snapshots.snapshot
        moved = timedelta(seconds=self.job.get("clock", 0))

        @contextmanager
        def wrapped(url: str, key: HashKey | None = None) -> Iterator[Any]:
            self.visit("before snapshot")
            with real(url, key) as (connection, found):
                # The oracle's SQL names tables as an analyst does.
                connection.execute("SET LOCAL search_path TO public")
                self.state = state_of(connection, self.shop)
                connection.execute(postgres.SAFE_PATH)
                self.visit("after snapshot")
                yield connection, found.model_copy(update={"taken_at": found.taken_at + moved})

        snapshots.snapshot = wrapped

    def around_seal(self) -> None:
        """Tell what a batch saw before it is sealed."""
        real = manifests.seal

        def wrapped(bucket: Any, manifest: Any) -> None:
            self.channel.ask(
                event="seal", batch=manifest.batch_id, previous=manifest.previous, state=self.state
            )
            real(bucket, manifest)

        manifests.seal = wrapped

    def within_copy(self, module: Any, point: str) -> None:
        """Be met between two pieces of a COPY, where it tells of its progress."""
        real = module.progress

        def wrapped(*arguments: Any) -> Callable[[int], None]:
            news = real(*arguments)

            def told(rows: int) -> None:
                self.visit(point)
                news(rows)

            return told

        module.progress = wrapped


def _patch(meeting: Meeting) -> None:
    meeting.around_snapshot()
    meeting.around_seal()
    for point, (holder, name) in POINTS.items():
        meeting.around(point, holder, name)
    # Their modules' names are hidden by the tasks of the same name.
    reading, modelling = sys.modules["tasks.extract"], sys.modules["tasks.transform"]
    meeting.around("compact", reading, "compacted")
    meeting.around("model", modelling, "run_model")
    meeting.within_copy(reading, "within a read")
    meeting.within_copy(sys.modules["tasks.load"], "within a copy")


def main(
    connection: Connection,
    words: Connection,
    environment: dict[str, str],
    home: Path,
    job: dict[str, Any],
    kind: str,
) -> None:
    """Run the flow as ``python -m flows`` does, with what it says going to ``words``."""
    os.chdir(home)
    os.environ |= environment
    os.dup2(words.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if job["dies"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _patch(Meeting(Channel(connection), job, SHOPS[kind]))
    sys.argv[1:] = job["arguments"]
    program.leave(program.main())
