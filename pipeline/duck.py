"""One DuckDB a process, used through cursors: opening another takes 30 ms, a cursor nothing."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

import duckdb

_MEMORY_LIMIT = "1GB"
_opening = Lock()


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
    database.execute(f"SET temp_directory = '{_spill_folder().name}'")
    database.execute(f"SET memory_limit = '{_MEMORY_LIMIT}'")
    database.execute("SET preserve_insertion_order = false")
    database.execute("SET autoinstall_known_extensions = false")
    database.execute("SET autoload_known_extensions = false")
    return database


@cache
def _spill_folder() -> tempfile.TemporaryDirectory[str]:
    """Kept until the process ends, and removed then."""
    return tempfile.TemporaryDirectory(prefix="duckdb-")
