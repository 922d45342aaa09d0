"""One DuckDB database per process, used through cursors: a database takes 30 ms to open, a cursor nothing."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import duckdb
import pyarrow as pa

from pipeline import settings
from pipeline.errors import BucketError, ObjectDamaged, ObjectMissing, SettingsError

# Rows of each record batch that DuckDB streams.
ROWS_PER_BATCH = 100_000
_STORAGE_ERROR = re.compile(r"^(IO|Out of Memory) Error|reading the stream registered")
# Arrow appends the Python traceback of our readers' errors after this text.
_TRACEBACK = ". Detail: Python exception:"
# The last line of that traceback for a permanent error of a bucket.
_BUCKET_ERROR = re.compile(
    r"^pipeline\.errors\.(BucketError|ObjectMissing|ObjectDamaged): (.+)", re.MULTILINE | re.DOTALL
)
_ERRORS = {error.__name__: error for error in (BucketError, ObjectMissing, ObjectDamaged)}
_opening = threading.Lock()
# Functions that Postgres has and DuckDB lacks, for models.
_FUNCTIONS = (
    "array_lower(list, dimension) AS CASE WHEN dimension = 1 AND len(list) > 0 THEN 1 END",
    'array_remove(list, item) AS list_filter(list, lambda "each of": "each of" IS DISTINCT FROM item)',
    "array_upper(list, dimension) AS CASE WHEN dimension = 1 THEN NULLIF(len(list), 0) END",
    "btrim(value, characters := ' ') AS trim(value, characters)",
    (
        r"initcap(value) AS array_to_string(list_transform(regexp_extract_all(lower(value),"
        r" '[\p{L}\p{N}]+|[^\p{L}\p{N}]+'), lambda word: upper(word[1]) || word[2:]), '')"
    ),
    "regexp_count(value, pattern) AS len(regexp_extract_all(value, pattern))",
    "regexp_like(value, pattern) AS regexp_matches(value, pattern)",
)


def quote(name: str) -> str:
    """A quoted DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted DuckDB string."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    """A separate session; the relations that it registers and its temporary tables end with it."""
    with _opening:
        connection = _database().cursor()
    with connection, _storage_errors():
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def streamed(
    connection: duckdb.DuckDBPyConnection, query: str, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The rows of a query with the types of a schema."""
    return (batch.cast(schema) for batch in connection.sql(query).to_arrow_reader(ROWS_PER_BATCH))


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Raise OSError or the bucket's own error for failures of storage or memory, instead of a DuckDB error.

    While rows stream out, Arrow raises DuckDB's errors as OSError.
    """
    try:
        yield
    except (duckdb.Error, OSError) as error:
        text = str(error)
        if match := _BUCKET_ERROR.search(text):
            raise _ERRORS[match[1]](" ".join(match[2].split())) from None
        if is_storage_error(text):
            raise OSError(_in_one_line(text)) from None
        raise


def _in_one_line(text: str) -> str:
    """DuckDB's message in one line, with our setting instead of DuckDB's advice."""
    line = " ".join(text.partition(_TRACEBACK)[0].partition("Possible solutions:")[0].split())
    if not line.startswith("Out of Memory"):
        return line
    limit = settings.load().duckdb_memory
    return f"{line}; raise TOTESYS_DUCKDB_MEMORY (now {limit}) or use a machine with more memory"


def is_storage_error(text: str) -> bool:
    """Whether DuckDB's message is about storage or memory."""
    return bool(_STORAGE_ERROR.search(text))


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """A database in memory that spills to its own folder and has no other access to files or the network.

    DuckDB 2.0 prints a warning for each of its objects and types that is alive when Python tears modules
    down, even in an annotation. So modules that name its types import annotations from __future__.
    """
    atexit.register(_database.cache_clear)
    database = duckdb.connect()
    database.execute(f"SET temp_directory = {literal(_spill_folder())}")
    _limit_memory(database)
    for function in _FUNCTIONS:
        database.execute(f"CREATE MACRO {function}")
    database.execute("SET preserve_insertion_order = false")
    database.execute("SET default_null_order = 'nulls_last_on_asc_first_on_desc'")  # as in Postgres
    # It holds one side of a join in memory. Streams have no statistics, so it would as often choose the large
    # side; as written, it is the right one.
    database.execute("SET disabled_optimizers = 'build_side_probe_side'")
    database.execute("SET autoinstall_known_extensions = false")
    database.execute("SET autoload_known_extensions = false")
    database.execute("SET python_enable_replacements = false")
    database.execute("SET enable_external_access = false")  # last: folders cannot be set after it
    return database


def _limit_memory(database: duckdb.DuckDBPyConnection) -> None:
    """Apply TOTESYS_DUCKDB_MEMORY; DuckDB takes a percentage of the memory of the machine or its cgroup."""
    limit = settings.load().duckdb_memory
    try:
        database.execute(f"SET memory_limit = {literal(limit)}")
    except duckdb.Error:
        raise SettingsError(f"TOTESYS_DUCKDB_MEMORY: {limit} is not an amount of memory") from None


def _spill_folder() -> str:
    """A temporary folder that is removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="duckdb-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def json_object(values: Mapping[str, str]) -> str:
    """An expression for a JSON object, as text, of expressions by name."""
    pairs = ", ".join(f"{literal(name)}, {value}" for name, value in values.items())
    return f"CAST(json_object({pairs}) AS VARCHAR)"


def relation_name(name: str) -> str:
    """A relation's name in DuckDB, which ignores case: names that differ by case only get different ones."""
    capitals = sum(1 << place for place, letter in enumerate(name) if letter != letter.lower())
    return f"in {capitals:x}:{name}"
