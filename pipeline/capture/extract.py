"""Read a planned batch: changed rows, then keys of tables that lost rows, then tables that need a full read.

The caller decides in which threads or on which machines the work runs (``Readers``).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass

import pyarrow as pa

from pipeline.capture import deletions
from pipeline.capture.batch_plan import BatchPlan
from pipeline.capture.deletions import DeletionCheck, RowsDoNotAddUp
from pipeline.columns import schema_of
from pipeline.lake.buckets import Bucket
from pipeline.lake.erasures import erase
from pipeline.lake.manifest import Chunk, Files, Manifest, ReadChunk, ReadSpec, TableBatch, needs_merging
from pipeline.lake.paths import batch_folder
from pipeline.models.seeds import Seed
from pipeline.postgres import Connection
from pipeline.source import snapshots
from pipeline.source.hashing import HashKey
from pipeline.source.read import read_rows


@dataclass(frozen=True)
class Readers:
    """The work of a batch, which the caller runs concurrently.

    ``find_deleted`` returns None for a table that has to be read in full. ``write_seed`` writes a seed into
    the raw bucket.
    """

    read: Callable[[Sequence[tuple[Chunk, ReadSpec]]], Sequence[ReadChunk]]
    find_deleted: Callable[[Sequence[DeletionCheck]], Sequence[Files | None]]
    compact: Callable[[Sequence[TableBatch], str], Sequence[TableBatch]]
    write_seed: Callable[[Seed, str], Files]


def extract(
    connection: Connection, planned: BatchPlan, schema: str, readers: Readers, pages_per_chunk: int
) -> Manifest:
    """Read a planned batch while its snapshot is open, and return its manifest, which is not sealed yet.

    ``connection`` holds the snapshot and probes tables while the readers read them.
    """
    with ThreadPoolExecutor(1) as threads:
        probing = threads.submit(copy_context().run, planned.with_probes, connection, schema)
        read = list(readers.read(planned.chunks(schema, pages_per_chunk)))
        planned = probing.result()
    checks = planned.deletion_checks(read)
    deleted = {
        each.table.table: files for each, files in zip(checks, readers.find_deleted(checks), strict=True)
    }
    unexplained = [name for name, files in deleted.items() if files is None]
    if unexplained:
        read = [each for each in read if each.chunk.table not in unexplained]
        read += readers.read(
            [
                chunk
                for name in unexplained
                for chunk in planned.chunks_of_full_read(name, schema, pages_per_chunk)
            ]
        )
    seeds = {name: readers.write_seed(seed, planned.batch_id) for name, seed in planned.new_seeds.items()}
    manifest = planned.manifest(read, {name: files for name, files in deleted.items() if files}, seeds)
    to_compact = [table for table in manifest.tables.values() if needs_merging(table)]
    compacted = {table.table: table for table in readers.compact(to_compact, manifest.batch_id)}
    return manifest.model_copy(update={"tables": manifest.tables | compacted})


def write_seed(seed: Seed, batch_id: str, raw: Bucket) -> Files:
    """Write a seed's rows into the raw bucket, so that a rebuild uses the same rows."""
    folder = batch_folder(seed.name, batch_id)
    return raw.write_rows(folder, schema_of(seed.columns), seed.rows.to_batches())


def read_chunk(
    url: str,
    chunk: Chunk,
    spec: ReadSpec,
    raw: Bucket,
    progress: Callable[[int], None] = lambda _: None,
    key: HashKey | None = None,
) -> ReadChunk:
    """Stream one chunk of a table into the raw bucket; ``progress`` is called with the rows read so far."""
    with (
        snapshots.adopt(url, spec.snapshot, key) as connection,
        # Close it before the connection: an unfinished COPY holds the connection's lock.
        closing(read_rows(connection, spec.schema_name, chunk.table, spec.columns, spec.slice)) as rows,
    ):
        rows_to_write = erase(rows, spec.erasure) if spec.erasure else rows
        files = raw.write_rows(chunk.folder, schema_of(spec.columns), _with_progress(rows_to_write, progress))
    return ReadChunk(chunk=chunk, files=files)


def _with_progress(
    batches: Iterator[pa.RecordBatch], progress: Callable[[int], None]
) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches:
        yield batch
        rows += batch.num_rows
        progress(rows)


def find_deleted(
    url: str, schema: str, check: DeletionCheck, raw: Bucket, key: HashKey | None = None
) -> Files | None:
    """The keys of a table's deleted rows; None where the table has to be read in full."""
    with snapshots.adopt(url, check.snapshot, key) as connection:
        try:
            return deletions.find(check, raw, lambda: deletions.read_keys(connection, schema, check))
        except RowsDoNotAddUp:
            return None
