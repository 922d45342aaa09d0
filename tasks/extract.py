"""Read the source: one task for each table, or for each range of a large one's pages."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa
from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE, CacheKeyFnPolicy
from prefect.context import TaskRunContext

from pipeline import source
from pipeline.batches import Landed, Part, Reading, TableBatch
from pipeline.transform import compacted
from pipeline.words import counted
from tasks import blocks, results
from tasks.failures import ON_TRANSIENT_FAULTS, clean_failures
from tasks.progress import progress

_MANY_PARTS = 4


def _by_part(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cached by table and batch alone: how a part was read does not change what it is."""
    part: Part = parameters["part"]
    return results.key("extract", part.folder, f"part-{part.number}-of-{part.of}")


@task(
    name="extract",
    task_run_name="extract {part.name}",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=_by_part),
    result_serializer=results.Json(),
    persist_result=True,
    **ON_TRANSIENT_FAULTS,
)
@clean_failures
def extract(part: Part, how: Reading | Landed, environment: str) -> Landed:
    """Stream one part of a table into the raw bucket, or return what a sealed batch has of it."""
    if isinstance(how, Landed):
        return how
    raw = blocks.bucket(blocks.RAW, environment)
    with (
        source.adopt(blocks.database_url(blocks.SOURCE, environment), how.snapshot) as connection,
        # Closed before its connection is: a COPY left half-way holds the connection's lock.
        closing(source.read(connection, how.schema_name, part.table, how.columns, how.slice)) as rows,
    ):
        shown = _shown(rows, part.name, how.expected_rows)
        file = raw.write_rows(part.folder, source.schema_of(how.columns), shown)
    get_run_logger().info("%s: %s", part.name, counted(file.rows if file else 0, "row"))
    return Landed(part=part, files=(file,) if file else ())


def extracting(
    part: Part, how: Reading | Landed, environment: str
) -> Task[[Part, Reading | Landed, str], Landed]:
    """The task with its results kept in the raw bucket, and with the tag ``source`` on tables of many parts.

    A concurrency limit on that tag spares the source. Prefect asks its server about every tag
    of every task run, one after the other; a server on SQLite that is busy answers two seconds
    later. So only those have one that are worth it.
    """
    much = isinstance(how, Reading) and part.of >= _MANY_PARTS
    kept = results.Results(bucket=blocks.RAW, environment=environment)
    return extract.with_options(result_storage=kept, tags=["source"] if much else [])


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


def _shown(batches: Iterator[pa.RecordBatch], name: str, expected: int) -> Iterator[pa.RecordBatch]:
    news = progress(name, expected)
    rows = 0
    for batch in batches:
        yield batch
        rows += batch.num_rows
        news(rows)
