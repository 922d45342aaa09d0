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
from tasks.failures import ON_TRANSIENT_FAULTS, clean_failures
from tasks.progress import progress

_MANY_PARTS = 4


def _by_part(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cached by table and batch alone: how a part was read does not change what it is."""
    part: Chunk = parameters["part"]
    whole = "-whole" if part.whole else ""
    return results.key("extract", part.folder, f"part-{part.number}-of-{part.of}{whole}")


@task(
    name="extract",
    task_run_name="extract {part.name}",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=_by_part),
    result_serializer=results.Json(),
    persist_result=True,
    **ON_TRANSIENT_FAULTS,
)
@clean_failures
def extract(part: Chunk, how: ReadSpec | ReadChunk, environment: str) -> ReadChunk:
    """Stream one part of a table into the raw bucket, or return what a sealed batch has of it."""
    if isinstance(how, ReadChunk):
        return how
    raw = blocks.bucket(blocks.RAW, environment)
    url = blocks.database_url(blocks.SOURCE, environment)
    key = _key(how.columns, environment)
    done = engine.read_chunk(url, part, how, raw, progress(part.name, how.expected_rows), key)
    get_run_logger().info("%s: %s", part.name, counted(sum(file.rows for file in done.files), "row"))
    return done


def _key(columns: Sequence[Column], environment: str) -> HashKey | None:
    """The key where one of the columns is read as hashes."""
    return blocks.hash_key(environment) if any(column.hashed_by for column in columns) else None


def extracting(
    part: Chunk, how: ReadSpec | ReadChunk, environment: str
) -> Task[[Chunk, ReadSpec | ReadChunk, str], ReadChunk]:
    """The task with its results kept in the raw bucket, and with the tag ``source`` on tables of many parts.

    A concurrency limit on that tag spares the source. Prefect asks its server about every tag
    of every task run, one after the other; a server on SQLite that is busy answers two seconds
    later. So only those have one that are worth it.
    """
    much = isinstance(how, ReadSpec) and part.of >= _MANY_PARTS
    kept = results.Results(bucket=blocks.RAW, environment=environment)
    return extract.with_options(result_storage=kept, tags=["source"] if much else [])


@task(
    name="find-deleted",
    task_run_name="find deleted rows of {suspicion.table.table}",
    cache_policy=NO_CACHE,
    **ON_TRANSIENT_FAULTS,
)
@clean_failures
def find_deleted(suspicion: DeletionCheck, schema: str, environment: str) -> Files | None:
    """Find the keys of a table's deleted rows; None where the table has to be read whole."""
    raw = blocks.bucket(blocks.RAW, environment)
    key = _key(suspicion.table.columns, environment)
    gone = engine.find_deleted(blocks.database_url(blocks.SOURCE, environment), schema, suspicion, raw, key)
    if gone is None:
        get_run_logger().warning(
            "%s: its changes do not explain its rows: reading all", suspicion.table.table
        )
    elif gone:
        get_run_logger().info("%s: %s deleted", suspicion.table.table, counted(gone[0].rows, "row"))
    return gone


@task(
    name="compact",
    task_run_name="compact {table.table}",
    cache_policy=NO_CACHE,
    **ON_TRANSIENT_FAULTS,
)
@clean_failures
def compact(table: TableBatch, batch_id: str, environment: str) -> TableBatch:
    """Merge the newest runs of a table's present state, so that their number stays small."""
    return compacted(table, batch_id, blocks.bucket(blocks.RAW, environment))


def readers(schema: str, environment: str) -> Readers:
    """What reads a batch, as tasks side by side."""

    def read(parts: Sequence[tuple[Chunk, ReadSpec]]) -> list[ReadChunk]:
        running = [extracting(part, how, environment).submit(part, how, environment) for part, how in parts]
        return [future.result() for future in running]

    def find(suspicions: Sequence[DeletionCheck]) -> list[Files | None]:
        running = [find_deleted.submit(each, schema, environment) for each in suspicions]
        return [future.result() for future in running]

    def shorten(tables: Sequence[TableBatch], batch_id: str) -> list[TableBatch]:
        running = [compact.submit(table, batch_id, environment) for table in tables]
        return [future.result() for future in running]

    def keep(seed: Seed, batch_id: str) -> Files:
        return engine.write_seed(seed, batch_id, blocks.bucket(blocks.RAW, environment))

    return Readers(read, find, shorten, keep)
