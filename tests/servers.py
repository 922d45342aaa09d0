"""Postgres servers for tests, and folders in memory where Linux has room for them.

Nothing of a test has to survive a power cut, and the disk is what tests would wait for most.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from demo.postgres import Postgres
from tests.support import execute

MEMORY = Path("/dev/shm")
_LEAST_FREE = 8 * 2**30
_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "128MB", "wal_init_zero": "off"}


def memory() -> str | None:
    """A folder whose files are in memory; None where there is none, or too little room."""
    with suppress(OSError):
        if shutil.disk_usage(MEMORY).free >= _LEAST_FREE:
            return str(MEMORY)
    return None


@contextmanager
def new_home(purpose: str) -> Iterator[Path]:
    """A folder for the block that every user may enter; its name has the number of this process.

    pytest's own folders are no place for a server: each session locks Postgres' plain user out of them.
    """
    home = Path(tempfile.mkdtemp(prefix=f"tests-{purpose}-{os.getpid()}-", dir=memory()))
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def remove_homes_of_dead_processes() -> None:
    """Free the memory that killed test runs have left."""
    for home in MEMORY.glob("tests-*-*-*"):
        pid = home.name.split("-")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(home, ignore_errors=True)


@contextmanager
def described_server(purpose: str, version: int = 18, **settings: str) -> Iterator[Postgres]:
    """A server that is not started; it and its files are gone when the block ends."""
    with new_home(purpose) as home:
        server = Postgres(home, version, _SETTINGS | settings)
        if server.version >= 16:
            server.settings["scram_iterations"] = "1"
        try:
            yield server
        finally:
            with suppress(OSError):
                server.remove()


@contextmanager
def running_server(purpose: str, version: int = 18, **settings: str) -> Iterator[Postgres]:
    """A running server, for the block."""
    with described_server(purpose, version, **settings) as server:
        server.start()
        # Hashed once and not 4,096 times as by initdb, which is a third of what a connection costs.
        execute(server.url("postgres"), f"ALTER ROLE postgres PASSWORD '{server.password}'")
        yield server
