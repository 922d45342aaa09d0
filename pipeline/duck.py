"""One DuckDB a process, used through cursors: opening another takes 30 ms, a cursor nothing."""

import atexit
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NoReturn

import duckdb

_MEMORY_LIMIT = "1GB"
_opening = threading.Lock()


@contextmanager
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    """A session of its own: what it registers and its temporary tables end with it."""
    with _opening:
        connection = _database().cursor()
    with connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """A database in memory that spills to a folder of its own and never downloads anything."""
    database = duckdb.connect()
    database.execute(f"SET temp_directory = '{_spill_folder()}'")
    database.execute(f"SET memory_limit = '{_MEMORY_LIMIT}'")
    database.execute("SET preserve_insertion_order = false")
    database.execute("SET autoinstall_known_extensions = false")
    database.execute("SET autoload_known_extensions = false")
    return database


def _spill_folder() -> str:
    """A folder that goes away with the process."""
    folder = tempfile.mkdtemp(prefix="duckdb-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def leave(status: int) -> NoReturn:
    """End the process as Python does, up to taking modules apart: DuckDB 2.0 complains of that at length."""
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    atexit._run_exitfuncs()  # noqa: SLF001
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
