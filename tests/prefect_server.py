"""A Prefect server for tests, which costs as little as it can."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import prefect
import pytest
from prefect.blocks.core import Block
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_RESULTS_LOCAL_STORAGE_PATH,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    temporary_settings,
)

from tests.servers import memory

# The name that Prefect's harness gives it.
DATABASE = "prefect-test.db"


@contextmanager
def running(results: Path, shared: Path) -> Iterator[None]:
    """A server for the block, and a folder for results; processes with one ``shared`` folder start sooner."""
    # It takes seconds to import, which most modules of tests do not need.
    from prefect.testing import utilities  # noqa: PLC0415

    quiet = {
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        PREFECT_RESULTS_LOCAL_STORAGE_PATH: results,
        # Each flow run would end by waiting a second for its heartbeat to stop.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with temporary_settings(quiet), registered_once(), ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            # The server's own lines need no coverage; tracing them takes a good part of every call.
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
            patch.setattr(tempfile, "tempdir", memory())
            with migrated(shared) as home:
                patch.setattr(utilities, "mkdtemp", lambda: str(home))
                stack.enter_context(utilities.prefect_test_harness(server_startup_timeout=120))
        yield


@contextmanager
def migrated(shared: Path) -> Iterator[Path]:
    """A folder for a server that starts in the block; only the first one has to create its tables.

    They come from all of Prefect's migrations, which take most of a server's start.
    """
    home = Path(tempfile.mkdtemp())
    kept = shared / f"prefect-{prefect.__version__}.db"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept.exists():
            shutil.copy(kept, home / DATABASE)
            fcntl.flock(lock, fcntl.LOCK_UN)
        yield home
        if not kept.exists():
            whole = kept.with_suffix(".new")
            with closing(sqlite3.connect(home / DATABASE)) as made, closing(sqlite3.connect(whole)) as copy:
                made.backup(copy)
            whole.rename(kept)


@contextmanager
def registered_once() -> Iterator[None]:
    """Register a type of block once per server.

    Prefect does so whenever a block is saved, with some six requests.
    """
    register = vars(Block)["register_type_and_schema"].__func__
    registered: set[tuple[type[Block], str | None]] = set()

    def unless_registered(
        cls: type[Block], /, *arguments: Any, _sync: bool | None = None, **more: Any
    ) -> Any:
        place = (cls, PREFECT_API_URL.value())
        if _sync and place in registered:
            return None
        done = register(cls, *arguments, _sync=_sync, **more)
        if _sync:
            registered.add(place)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Block, "register_type_and_schema", classmethod(unless_registered))
        yield
