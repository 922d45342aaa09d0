"""One DuckDB a process, used through cursors: opening another takes 30 ms, a cursor nothing."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NoReturn

import duckdb

from pipeline import settings
from pipeline.errors import BucketError, ObjectDamaged, ObjectMissing, SettingsError

# Rows of each record batch that DuckDB streams.
ROWS_PER_BATCH = 100_000
_STORAGE_FAULT = re.compile(r"^(IO|Out of Memory) Error|reading the stream registered")
# Begins the traceback that Arrow adds to what a reader of ours raises.
_OF_OURS = ". Detail: Python exception:"
# Its last line where a bucket refused for good.
_OF_BUCKET = re.compile(
    r"^pipeline\.errors\.(BucketError|ObjectMissing|ObjectDamaged): (.+)", re.MULTILINE | re.DOTALL
)
_ERRORS = {error.__name__: error for error in (BucketError, ObjectMissing, ObjectDamaged)}
_opening = threading.Lock()


def quote(name: str) -> str:
    """A DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A DuckDB string."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    """A session of its own: what it registers and its temporary tables end with it."""
    with _opening:
        connection = _database().cursor()
    with connection, _storage_faults():
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@contextmanager
def _storage_faults() -> Iterator[None]:
    """Tell faults of the storage that DuckDB reads or spills to as what they are, not as SQL errors.

    What goes wrong while rows stream out arrives as an OSError with DuckDB's words.
    """
    try:
        yield
    except (duckdb.Error, OSError) as error:
        words = str(error)
        if refused := _OF_BUCKET.search(words):
            raise _ERRORS[refused[1]](" ".join(refused[2].split())) from None
        if is_storage_fault(words):
            raise OSError(_in_one_line(words)) from None
        raise


def _in_one_line(words: str) -> str:
    """What DuckDB says of storage or memory, with the setting instead of advice for people at its prompt."""
    said = " ".join(words.partition(_OF_OURS)[0].partition("Possible solutions:")[0].split())
    if not said.startswith("Out of Memory"):
        return said
    limit = settings.load().duckdb_memory
    return f"{said}; raise TOTESYS_DUCKDB_MEMORY (now {limit}) or take a machine with more memory"


def is_storage_fault(words: str) -> bool:
    """Whether DuckDB speaks of the storage that it reads or spills to."""
    return bool(_STORAGE_FAULT.search(words))


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """A database in memory that spills to a folder of its own and reads no other file, address or variable.

    DuckDB 2.0 complains at length of each of its objects and types that is still there when Python
    takes modules apart, be it in an annotation.
    """
    atexit.register(_database.cache_clear)
    database = duckdb.connect()
    database.execute(f"SET temp_directory = '{_spill_folder()}'")
    _limit_memory(database)
    database.execute("SET preserve_insertion_order = false")
    database.execute("SET autoinstall_known_extensions = false")
    database.execute("SET autoload_known_extensions = false")
    database.execute("SET python_enable_replacements = false")
    database.execute("SET enable_external_access = false")  # last: folders are fixed from here on
    return database


def _limit_memory(database: duckdb.DuckDBPyConnection) -> None:
    """Let it use what the setting says; of a share DuckDB knows the memory of the machine or its cgroup."""
    limit = settings.load().duckdb_memory
    try:
        database.execute(f"SET memory_limit = {literal(limit)}")
    except duckdb.Error:
        raise SettingsError(f"TOTESYS_DUCKDB_MEMORY: {limit} is no amount of memory") from None


def _spill_folder() -> str:
    """A folder that goes away with the process."""
    folder = tempfile.mkdtemp(prefix="duckdb-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def leave(status: int) -> NoReturn:
    """End the process as Python does, up to taking modules apart, which takes half a second."""
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    atexit._run_exitfuncs()  # noqa: SLF001
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def relation_name(name: str) -> str:
    """What a relation is called in DuckDB: no other name is the same when case is folded."""
    capitals = sum(1 << place for place, letter in enumerate(name) if letter != letter.lower())
    return f"in {capitals:x}:{name}"
