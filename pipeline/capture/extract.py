"""Read what a plan asks for: changed rows first, then the keys of tables that lost rows, then the rest.

What reads, in which threads or on which machines, is the caller's: see ``Readers``.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass

import pyarrow as pa

from pipeline.capture import deletions
from pipeline.capture.batch import BatchPlan
from pipeline.capture.deletions import RowsDoNotAddUp, Suspicion
from pipeline.capture.tables import PAGES_A_PART
from pipeline.columns import schema_of
from pipeline.lake.buckets import Bucket, batch_folder
from pipeline.lake.erasures import erase
from pipeline.lake.manifests import Landed, Manifest, Part, Reading, Run, TableBatch, needs_merging
from pipeline.models.seeds import Seed
from pipeline.postgres import Connection
from pipeline.source import snapshots
from pipeline.source.hashing import HashKey
from pipeline.source.read import read_rows


@dataclass(frozen=True)
class Readers:
    """How parts are read, keys of deleted rows are found, and states are compacted: many at a time.

    Where a table has to be read whole because its changes do not explain its rows, ``find_gone`` gives None.
    ``keep_seed`` writes a seed into the raw bucket.
    """

    read: Callable[[Sequence[tuple[Part, Reading]]], Sequence[Landed]]
    find_gone: Callable[[Sequence[Suspicion]], Sequence[Run | None]]
    compact: Callable[[Sequence[TableBatch], str], Sequence[TableBatch]]
    keep_seed: Callable[[Seed, str], Run]


def extract(
    connection: Connection,
    planned: BatchPlan,
    schema: str,
    readers: Readers,
    pages_a_part: int = PAGES_A_PART,
) -> Manifest:
    """Read a planned batch while its snapshot lasts; what comes of it is yet to be sealed.

    ``connection`` holds the snapshot, and scans tables for what later batches need beside those who read.
    """
    with ThreadPoolExecutor(1) as beside:
        surveyed = beside.submit(copy_context().run, planned.surveyed, connection, schema)
        landed = list(readers.read(planned.parts(schema, pages_a_part)))
        planned = surveyed.result()
    suspicions = planned.suspicions(landed)
    gone = {
        each.table.table: run for each, run in zip(suspicions, readers.find_gone(suspicions), strict=True)
    }
    unexplained = [name for name, run in gone.items() if run is None]
    if unexplained:
        landed = [piece for piece in landed if piece.part.table not in unexplained]
        landed += readers.read([part for name in unexplained for part in planned.whole(name, schema)])
    seeds = {name: readers.keep_seed(seed, planned.batch_id) for name, seed in planned.new_seeds.items()}
    manifest = planned.manifest(landed, {name: run for name, run in gone.items() if run}, seeds)
    long = [table for table in manifest.tables.values() if needs_merging(table)]
    short = {table.table: table for table in readers.compact(long, manifest.batch_id)}
    return manifest.model_copy(update={"tables": manifest.tables | short})


def keep_seed(seed: Seed, batch_id: str, raw: Bucket) -> Run:
    """Write a seed's rows into the raw bucket, so that a rebuild has what the batch had."""
    folder = batch_folder(seed.name, batch_id)
    file = raw.write_rows(folder, schema_of(seed.columns), seed.rows.to_batches())
    return (file,) if file else ()


def read_part(
    url: str,
    part: Part,
    how: Reading,
    raw: Bucket,
    progress: Callable[[int], None] = lambda _: None,
    key: HashKey | None = None,
) -> Landed:
    """Stream one part of a table into the raw bucket; ``progress`` is told how many rows have come so far."""
    with (
        snapshots.adopt(url, how.snapshot, key) as connection,
        # Closed before its connection is: a COPY left half-way holds the connection's lock.
        closing(read_rows(connection, how.schema_name, part.table, how.columns, how.slice)) as rows,
    ):
        shown = erase(rows, how.erased) if how.erased else rows
        file = raw.write_rows(part.folder, schema_of(how.columns), _counted(shown, progress))
    return Landed(part=part, files=(file,) if file else ())


def _counted(batches: Iterator[pa.RecordBatch], progress: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches:
        yield batch
        rows += batch.num_rows
        progress(rows)


def find_gone(
    url: str, schema: str, suspicion: Suspicion, raw: Bucket, key: HashKey | None = None
) -> Run | None:
    """Find the keys of a table's deleted rows; None where the table has to be read whole."""
    with snapshots.adopt(url, suspicion.snapshot, key) as connection:
        try:
            return deletions.find(
                suspicion, raw, lambda: deletions.read_keys(connection, schema, suspicion.table)
            )
        except RowsDoNotAddUp:
            return None
