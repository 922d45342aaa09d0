"""Read the source: one task for each table, or for each range of a large one's pages."""

from collections.abc import Sequence
from typing import Any

from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE, CacheKeyFnPolicy
from prefect.context import TaskRunContext

from pipeline.capture import extract as engine
from pipeline.capture.deletions import DeletionCheck
from pipeline.capture.extract import Readers
from pipeline.columns import Column
from pipeline.lake.manifest import Chunk, Files, ReadChunk, ReadSpec, TableBatch
from pipeline.lake.state import compacted
from pipeline.models.seeds import Seed
from pipeline.source.hashing import HashKey
from pipeline.words import counted
from tasks import blocks, results
from tasks.failures import RETRY_IF_TRANSIENT, clean_failures
from tasks.progress import progress

# A table of this many chunks is large: its tasks are tagged, so that their number can be limited.
_MANY_CHUNKS = 4


def _cache_key(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """The cache key: table, batch and chunk. How a chunk was read is left out, as its rows are the same."""
    chunk: Chunk = parameters["chunk"]
    full = "-whole" if chunk.full else ""
    return results.key("extract", chunk.folder, f"part-{chunk.number}-of-{chunk.of}{full}")


@task(
    name="extract",
    task_run_name="extract {chunk.name}",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=_cache_key),
    result_serializer=results.Json(),
    persist_result=True,
    **RETRY_IF_TRANSIENT,
)
@clean_failures
def extract(chunk: Chunk, spec: ReadSpec | ReadChunk, environment: str) -> ReadChunk:
    """Stream one chunk of a table into the raw bucket; of a sealed batch, return the chunk's reference.

    A sealed batch needs no source: its chunks come from Prefect's cache, or else from its manifest.
    """
    if isinstance(spec, ReadChunk):
        return spec
    raw = blocks.bucket(blocks.RAW, environment)
    url = blocks.database_url(blocks.SOURCE, environment)
    key = _key(spec.columns, environment)
    read = engine.read_chunk(url, chunk, spec, raw, progress(chunk.name, spec.expected_rows), key)
    get_run_logger().info("%s: %s", chunk.name, counted(sum(file.rows for file in read.files), "row"))
    return read


def _key(columns: Sequence[Column], environment: str) -> HashKey | None:
    """The key for hashing, if one of the columns is hashed."""
    return blocks.hash_key(environment) if any(column.hashed_by for column in columns) else None


def extracting(
    chunk: Chunk, spec: ReadSpec | ReadChunk, environment: str
) -> Task[[Chunk, ReadSpec | ReadChunk, str], ReadChunk]:
    """The extract task, with results in the raw bucket, and tagged ``source`` for tables of many chunks.

    A Prefect concurrency limit on that tag limits the load on the source. Prefect checks each tag of each
    task run with its server, which takes up to two seconds on a busy SQLite server, so only large tables are
    tagged.
    """
    is_new = isinstance(spec, ReadSpec)
    much = is_new and chunk.of >= _MANY_CHUNKS
    kept = results.Results(bucket=blocks.RAW, environment=environment, of_new_batch=is_new)
    return extract.with_options(result_storage=kept, tags=["source"] if much else [])


@task(
    name="find-deleted",
    task_run_name="find deleted rows of {check.table.table}",
    cache_policy=NO_CACHE,
    **RETRY_IF_TRANSIENT,
)
@clean_failures
def find_deleted(check: DeletionCheck, schema: str, environment: str) -> Files | None:
    """Find the keys of a table's deleted rows; None if the table has to be read in full."""
    raw = blocks.bucket(blocks.RAW, environment)
    key = _key(check.table.columns, environment)
    deleted = engine.find_deleted(blocks.database_url(blocks.SOURCE, environment), schema, check, raw, key)
    if deleted is None:
        get_run_logger().warning(
            "%s: its changes do not explain its number of rows; reading it in full", check.table.table
        )
    elif deleted:
        get_run_logger().info("%s: %s deleted", check.table.table, counted(deleted[0].rows, "row"))
    return deleted


@task(name="compact", task_run_name="compact {table.table}", cache_policy=NO_CACHE, **RETRY_IF_TRANSIENT)
@clean_failures
def compact(table: TableBatch, batch_id: str, environment: str) -> TableBatch:
    """Merge the newest deltas of a table's state, so that their number stays small."""
    return compacted(table, batch_id, blocks.bucket(blocks.RAW, environment))


def readers(schema: str, environment: str) -> Readers:
    """Readers that run as Prefect tasks, concurrently."""

    def read(chunks: Sequence[tuple[Chunk, ReadSpec]]) -> list[ReadChunk]:
        running = [
            extracting(chunk, spec, environment).submit(chunk, spec, environment) for chunk, spec in chunks
        ]
        return [future.result() for future in running]

    def find(checks: Sequence[DeletionCheck]) -> list[Files | None]:
        running = [find_deleted.submit(each, schema, environment) for each in checks]
        return [future.result() for future in running]

    def shorten(tables: Sequence[TableBatch], batch_id: str) -> list[TableBatch]:
        running = [compact.submit(table, batch_id, environment) for table in tables]
        return [future.result() for future in running]

    def keep(seed: Seed, batch_id: str) -> Files:
        return engine.write_seed(seed, batch_id, blocks.bucket(blocks.RAW, environment))

    return Readers(read, find, shorten, keep)
