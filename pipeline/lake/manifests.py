"""Batches: what one moment of the source left in the raw bucket, sealed by a manifest.

A batch is planned from the one before it, read, and sealed. A manifest lies below the
name of the batch that it follows, so the next one is found by one short listing, and
only what a manifest lists is ever read.
"""

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt, ValidationError, model_validator

from pipeline.columns import Column, Frozen
from pipeline.errors import BucketError, ObjectMissing
from pipeline.lake.buckets import Bucket, File, batch_folder
from pipeline.lake.checksums import damaged
from pipeline.lake.erasures import Erased
from pipeline.lake.formats import sealed, unsealed
from pipeline.lake.paths import BatchId, is_manifest
from pipeline.source.changes import Slice
from pipeline.source.cursors import Reached
from pipeline.source.definition import Definition
from pipeline.source.snapshots import Identity, Snapshot
from pipeline.source.witnesses import Continuity

_logger = logging.getLogger(__name__)

MANIFESTS = "_manifests"
# Not below the others, so that nothing takes a batch for the one that follows.
RESUMED = "_resumed"
# How a batch's name begins: its moment, in UTC.
TIME = "%Y%m%dT%H%M%S%fZ"

Run = tuple[File, ...]


class StateRun(Frozen):
    """What one batch, or several merged, brought to a table: rows written, and keys of rows that went."""

    files: Run = ()
    gone: Run = ()

    @property
    def all_files(self) -> Run:
        """Every object that it names."""
        return (*self.files, *self.gone)

    @property
    def rows(self) -> int:
        """How much there is to read of it."""
        return sum(file.rows for file in self.all_files)


State = tuple[StateRun, ...]


class Watermark(Frozen):
    """What the warehouse has: its last batch, and how far the source is known."""

    batch_id: str
    manifest: str
    snapshot_at: datetime
    source_xmin: int


class TableBatch(Frozen):
    """What a batch holds of one table.

    ``files`` are the rows read now, ``gone`` the keys of rows that the source has no more. ``state`` is
    the present state in runs from the oldest to the newest, of which the newest row of a key counts; it
    is None where it cannot be known. ``source_rows`` is how many rows the table has. With
    ``has_commit_times`` the rows read now have commits.COMMITTED, too. ``seed`` is the digest of the file
    that it comes from, where it is not a table of the source.
    """

    table: str
    mode: Literal["full", "changes", "unchanged"]
    reason: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    heaps: str
    definition: Definition | None = None
    reached: Reached | None = None
    files: Run = ()
    gone: Run = ()
    state: State | None = None
    source_rows: NonNegativeInt | None = None
    has_commit_times: bool = False
    seed: str | None = None

    @property
    def all_files(self) -> Run:
        """Every object that it names."""
        runs = (StateRun(files=self.files, gone=self.gone), *(self.state or ()))
        return tuple(file for run in runs for file in run.all_files)

    @property
    def changed(self) -> bool:
        """Whether anything is other than at the batch before."""
        return self.mode == "full" or bool(self.files or self.gone)

    @property
    def rows(self) -> int:
        """Rows read in this batch."""
        return sum(file.rows for file in self.files)


class Part(Frozen):
    """A piece of a batch that one task reads: a table, or one of its ranges of pages."""

    batch_id: BatchId
    table: str
    number: NonNegativeInt
    of: PositiveInt
    whole: bool = False

    @property
    def name(self) -> str:
        """What people see: the table, and which of its parts where there are several."""
        return self.table if self.of == 1 else f"{self.table} {self.number + 1} of {self.of}"

    @property
    def folder(self) -> str:
        """Where its rows go in the raw bucket."""
        return batch_folder(self.table, self.batch_id)


class Reading(Frozen):
    """How a part is read, for as long as its snapshot lasts; ``erased`` is what is hidden of its rows."""

    snapshot: str
    schema_name: str
    slice: Slice
    columns: tuple[Column, ...]
    expected_rows: int
    erased: Erased | None = None


class Landed(Frozen):
    """What came of a part: its file, or none where it has no rows."""

    part: Part
    files: Run


class Home(Frozen):
    """Where batches go: a warehouse, by the id that its etl keeps and its place, and a schema there."""

    id: str
    system: str
    database: str
    schema_name: str

    def is_same_warehouse(self, other: "Home") -> bool:
        """Whether both are in one warehouse: by its id, which goes with its dumps, or else by its place."""
        return self.id == other.id or (self.system, self.database) == (other.system, other.database)

    def is_same(self, other: "Home") -> bool:
        """Whether both are one schema of one warehouse."""
        return self.is_same_warehouse(other) and self.schema_name == other.schema_name

    def __str__(self) -> str:
        return f"{self.database}.{self.schema_name} ({self.id})"


class Manifest(Frozen):
    """The seal of a batch: everything that later steps may read.

    ``warehouse`` is the one that the batch was read for; earlier releases did not say.
    ``quiet`` are models of which an ordinary run would have seen no change: what reconciling finds there,
    ordinary runs had missed. One that is ``resumed`` was sealed after another batch; a rebuild goes on there
    without those between.
    """

    format: Literal[3] = 3
    batch_id: BatchId
    previous: BatchId | None
    snapshot_at: datetime
    source_xmin: NonNegativeInt
    identity: Identity
    warehouse: Home | None = None
    continuity: Continuity | None = None
    reconcile: bool
    resumed: bool = False
    quiet: tuple[str, ...] = ()
    landed: tuple[Landed, ...]
    tables: dict[str, TableBatch]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Manifest":
        if self.previous is not None and self.previous >= self.batch_id:
            raise ValueError(f"batch {self.batch_id} is no later than {self.previous}, which it follows")
        for landed in self.landed:
            if landed.part.batch_id != self.batch_id:
                raise ValueError(f"part {landed.part.name} is of batch {landed.part.batch_id}")
        for name, table in self.tables.items():
            folder = batch_folder(name, "")
            if table.table != name or not all(file.path.startswith(folder) for file in table.all_files):
                raise ValueError(f"table {name} is another one, or has objects of another one")
        return self

    @property
    def all_files(self) -> Run:
        """Every object that it names."""
        landed = (file for each in self.landed for file in each.files)
        return (*landed, *(file for table in self.tables.values() for file in table.all_files))

    @property
    def path(self) -> str:
        """Where it lies in the raw bucket."""
        folder = RESUMED if self.resumed else MANIFESTS
        return f"{folder}/after={self.previous or 'nothing'}/{self.batch_id}.json"

    @property
    def rows(self) -> int:
        """Rows read from the source."""
        return sum(table.rows for table in self.tables.values() if table.seed is None)

    def read_for(self, home: Home) -> "Manifest":
        """The same, read for that warehouse."""
        return self.model_copy(update={"warehouse": home})

    def is_of(self, home: Home | None) -> bool:
        """Whether it may have been read for that warehouse, as far as either is known."""
        return home is None or self.warehouse is None or home.is_same_warehouse(self.warehouse)


def _after(previous: str | None) -> str:
    return f"{MANIFESTS}/after={previous or 'nothing'}"


def needs_merging(table: TableBatch) -> bool:
    """Whether a table's state has newest runs that are worth merging into one."""
    return len(mergeable_runs(table.state or ())[1]) > 1


def batch_time(snapshot: Snapshot, watermark: Watermark | None) -> datetime:
    """The batch's moment: the source's clock, but never at or before the last batch's."""
    if watermark is None:
        return snapshot.taken_at
    return max(snapshot.taken_at, watermark.snapshot_at + timedelta(microseconds=1))


def batch_id(moment: datetime, snapshot: Snapshot) -> str:
    """A name that sorts by time and ends in the snapshot's own."""
    return f"{moment.astimezone(UTC):{TIME}}-{snapshot.name}"


def mergeable_runs(state: State) -> tuple[State, State]:
    """Split a state into the runs to keep and the newest ones to merge, of which there may be one.

    A run is merged with those after it once they hold half as many rows as it does, so
    there are never more than about log2(rows) runs, and a row is rewritten as often.
    """
    sizes = [run.rows for run in state]
    first = len(state) - 1
    while first > 0 and 2 * sum(sizes[first:]) >= sizes[first - 1]:
        first -= 1
    return state[:first], state[first:]


def seal(bucket: Bucket, manifest: Manifest) -> None:
    """Write the manifest: from here on the batch will be finished, whatever happens."""
    bucket.write_text(manifest.path, sealed(manifest.model_dump_json(indent=1)))


def last_manifest(bucket: Bucket, watermark: Watermark | None) -> Manifest | None:
    """The manifest of the warehouse's last batch; None before the first, or where it is lost."""
    if watermark is None:
        return None
    try:
        return read_manifest(bucket, watermark.manifest)
    except ObjectMissing as lost:
        _logger.warning("%s", lost)
        return None


def sealed_after(bucket: Bucket, previous: str | None, home: Home | None = None) -> Manifest | None:
    """The sealed batch of a warehouse that follows ``previous`` and waits to be loaded, if any.

    There may be several: two runs that each believed to be alone, or one that the models
    cannot work on and its successor. Only one can have been loaded, the one that others
    follow; as long as none do, the newest is as good as any and the most useful.
    """
    found = [path for path in bucket.list(_after(previous)) if path.endswith(".json")]
    followed = [path for path in found if bucket.list(_after(batch_at(path)))]
    for path in reversed(followed):
        if (manifest := read_manifest(bucket, path)).is_of(home):
            return manifest
    lost: ObjectMissing | None = None
    for path in reversed([path for path in found if path not in followed]):
        try:
            manifest = read_manifest(bucket, path)
        except ObjectMissing as error:
            _logger.warning("%s", error)
            lost = error
        else:
            if manifest.is_of(home):
                return manifest
    if lost:
        raise lost
    return None


def batch_at(path: str) -> str:
    """The batch that a manifest seals, as its name says."""
    return path.rpartition("/")[2].removesuffix(".json")


def previous_at(path: str) -> str | None:
    """The batch that a manifest's follows, as its folder says; None for a first one."""
    previous = path.split("/")[-2].removeprefix("after=")
    return None if previous == "nothing" else previous


def is_followed(bucket: Bucket, manifest: Manifest) -> bool:
    """Whether a batch follows this one, which only one that was loaded has."""
    return bool(bucket.list(_after(manifest.batch_id)))


def readable(bucket: Bucket, paths: Iterable[str]) -> Iterator[Manifest]:
    """The manifests at these paths, without those that are lost or damaged, which are named in the log."""
    for path in paths:
        try:
            yield read_manifest(bucket, path)
        except ObjectMissing as lost:
            _logger.warning("%s", lost)


def read_manifest(bucket: Bucket, path: str) -> Manifest:
    """Read a sealed batch's manifest back; raises ObjectDamaged where it is not what was written."""
    where = f"{bucket.uri}: {path}"
    if not is_manifest(path):
        raise BucketError(f"{bucket.uri}: {path!r} is no place of a manifest")
    try:
        manifest = Manifest.model_validate(unsealed(bucket.read_text(path), where))
        if manifest.path != path:
            raise ValueError(f"it is the manifest that belongs to {manifest.path}")  # noqa: TRY301
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged(where, f"it is no manifest of this version: {_words(error)}") from None
    return manifest


def _words(error: Exception) -> str:
    """The first thing that is wrong with a manifest, and in which field."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])) + f": {first['msg']}" if first["loc"] else first["msg"]


def manifest_paths(raw: Bucket) -> list[str]:
    """The paths of all manifests of a lake."""
    return [
        path
        for folder in (MANIFESTS, RESUMED)
        for path in raw.list(folder, deep=True)
        if path.endswith(".json")
    ]
